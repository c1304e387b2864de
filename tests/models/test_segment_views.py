from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.determinism import settle
from models.segment_views import FEWEST_VIEWS, Log, fit, make_views, measure, segment_left
from models.segments import FINISHED, SegmentCatalogue, SegmentInterest
from tasks.importers.segmm import labels

SEGMENT = 5000


@given(st.integers(1, 60_000), st.integers(1000, 60_000))
def test_the_segment_left_is_where_the_releases_label_is_zero(watch_ms, duration_ms):
    label = labels(watch_ms, duration_ms)
    left = int(segment_left(np.array([watch_ms]), np.array([duration_ms]), SEGMENT)[0])
    assert left == (label.index(0) if 0 in label else FINISHED)


logs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 30_000)), max_size=12)


def _log(views: list[tuple[int, int, int]]) -> Log:
    user, video, ended = np.array(views, np.int64).reshape(-1, 3).T
    return Log(user, video, ended, np.full(len(views), 20_000))


@given(logs)
def test_a_view_knows_only_what_the_same_person_watched_before_it(views):
    made = make_views(_log(views), SEGMENT, max_segments=4, history=5, trained=len(views))
    for i, (user, _, _) in enumerate(views):
        before = [
            (video, segment, ended < 20_000 and segment == max(-(-ended // SEGMENT) - 1, 0))
            for other, video, ended in views[:i]
            if other == user
            for segment in range(min(-(-ended // SEGMENT), 4))
        ]
        mask_M = made.mask_BM[i]
        pairs, ended = made.watched_BM2[i][mask_M].tolist(), made.ended_BM[i][mask_M].tolist()
        known = [(video, segment, left) for (video, segment), left in zip(pairs, ended, strict=True)]
        assert known == before[::-1][:5]


@given(logs, st.integers(0, 12))
def test_who_training_never_saw_and_what_it_hardly_saw_is_unknown(views, trained):
    made = make_views(_log(views), SEGMENT, max_segments=4, history=5, trained=trained)
    users, videos = {u for u, _, _ in views[:trained]}, [v for _, v, _ in views[:trained]]
    assert made.user_B.tolist() == [u + 1 if u in users else 0 for u, _, _ in views]
    assert made.id_B.tolist() == [v + 1 if videos.count(v) >= FEWEST_VIEWS else 0 for _, v, _ in views]


def _planted(views: int) -> tuple[Log, SegmentCatalogue]:
    """Half of the people leave where it turns red, the others where it turns blue."""
    random = np.random.default_rng(5)
    videos, N = 40, 4
    color_VN = np.stack([random.permutation([1.0, -1.0, 0.0, 0.0]) for _ in range(videos)])
    user_E, video_E = random.integers(20, size=views), random.integers(videos, size=views)
    hated_E = np.where(user_E % 2 == 0, 1.0, -1.0)
    left_E = (color_VN[video_E] == hated_E[:, None]).argmax(1)
    features = {"visual": torch.tensor(color_VN, dtype=torch.float32).unsqueeze(2)}
    catalogue = SegmentCatalogue(features, {"visual": torch.ones(videos, N).bool()}, torch.full((videos,), N))
    return Log(user_E, video_E, left_E * SEGMENT + 1000, np.full(views, N * SEGMENT)), catalogue


def test_planted_tastes_are_learned_and_the_same_seed_gives_the_same_bits():
    log, catalogue = _planted(1500)
    views = make_views(log, SEGMENT, max_segments=4, history=20, trained=1200)
    train, valid = (views.take(rows) for rows in torch.arange(1500).split(1200))
    found = []
    for _ in range(2):
        settle(1)
        model = SegmentInterest({"visual": 1}, users=20, videos=40, max_segments=4, width=16, dropout=0.0)
        fit(model, catalogue, train, valid, seed=1, epochs=4)
        found.append(measure(model, catalogue, valid))
    assert found[0]["hr@1"].mean() > 0.6  # positions alone: 0.25
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_where_nobody_left_early_on_validation_the_last_epoch_is_kept():
    log, catalogue = _planted(300)
    views = make_views(log, SEGMENT, max_segments=4, history=20, trained=300)
    stayed = replace(views.take(torch.arange(50)), left_B=torch.full((50,), FINISHED))
    kept = []
    for epochs in (1, 3):
        settle(1)
        model = SegmentInterest({"visual": 1}, users=20, videos=40, max_segments=4, width=16, dropout=0.0)
        assert len(fit(model, catalogue, views, stayed, seed=1, epochs=epochs, patience=1)) == epochs
        kept.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert not torch.equal(*kept)
