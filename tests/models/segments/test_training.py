from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.segmm import segment_labels
from models.data.interaction_log import InteractionLog
from models.seeding import seed_everything
from models.segments.segment_interest import WATCHED_TO_END, SegmentInterest, SegmentTable
from models.segments.training import (
    MIN_INTERACTIONS,
    build_segment_interactions,
    evaluate_skips,
    exit_segment,
    fit,
)

SEGMENT = 5000


@given(st.integers(1, 60_000), st.integers(1000, 60_000))
def test_exit_segment_agrees_with_the_labels_of_segmm(watch_ms, duration_ms):
    label = segment_labels(watch_ms, duration_ms)
    left = int(exit_segment(np.array([watch_ms]), np.array([duration_ms]), SEGMENT)[0])
    assert left == (label.index(0) if 0 in label else WATCHED_TO_END)


logs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 30_000)), max_size=12)


def _make_log(interactions: list[tuple[int, int, int]]) -> InteractionLog:
    user, video, ended = np.array(interactions, np.int64).reshape(-1, 3).T
    return InteractionLog(user, video, ended, np.full(len(interactions), 20_000))


@given(logs)
def test_the_history_holds_earlier_interactions_of_the_same_user(interactions):
    segment_interactions = build_segment_interactions(
        _make_log(interactions), SEGMENT, max_segments=4, history_length=5, num_train=len(interactions)
    )
    for i, (user, _, _) in enumerate(interactions):
        before = [
            (video, segment, ended < 20_000 and segment == max(-(-ended // SEGMENT) - 1, 0))
            for other, video, ended in interactions[:i]
            if other == user
            for segment in range(min(-(-ended // SEGMENT), 4))
        ]
        mask_M = segment_interactions.history_mask_BO[i]
        pairs, ended = (
            segment_interactions.history_BO2[i][mask_M].tolist(),
            segment_interactions.history_exit_BO[i][mask_M].tolist(),
        )
        known = [(video, segment, left) for (video, segment), left in zip(pairs, ended, strict=True)]
        assert known == before[::-1][:5]


@given(logs, st.integers(0, 12))
def test_users_and_rare_videos_outside_training_are_unknown(interactions, num_train):
    segment_interactions = build_segment_interactions(
        _make_log(interactions), SEGMENT, max_segments=4, history_length=5, num_train=num_train
    )
    users, videos = {u for u, _, _ in interactions[:num_train]}, [v for _, v, _ in interactions[:num_train]]
    assert segment_interactions.user_B.tolist() == [u + 1 if u in users else 0 for u, _, _ in interactions]
    assert segment_interactions.id_row_B.tolist() == [
        v + 1 if videos.count(v) >= MIN_INTERACTIONS else 0 for _, v, _ in interactions
    ]


def _planted_log(interactions: int) -> tuple[InteractionLog, SegmentTable]:
    """Half of the users leave at the red segment, the others at the blue one."""
    generator = np.random.default_rng(5)
    videos, N = 40, 4
    color_VN = np.stack([generator.permutation([1.0, -1.0, 0.0, 0.0]) for _ in range(videos)])
    user_E, video_E = generator.integers(20, size=interactions), generator.integers(videos, size=interactions)
    disliked_E = np.where(user_E % 2 == 0, 1.0, -1.0)
    exit_segment_E = (color_VN[video_E] == disliked_E[:, None]).argmax(1)
    features = {"visual": torch.tensor(color_VN, dtype=torch.float32).unsqueeze(2)}
    segment_table = SegmentTable(features, {"visual": torch.ones(videos, N).bool()}, torch.full((videos,), N))
    return InteractionLog(
        user_E, video_E, exit_segment_E * SEGMENT + 1000, np.full(interactions, N * SEGMENT)
    ), segment_table


def test_planted_preferences_are_learned_deterministically():
    interaction_log, segment_table = _planted_log(1500)
    interactions = build_segment_interactions(
        interaction_log, SEGMENT, max_segments=4, history_length=20, num_train=1200
    )
    train, valid = (interactions.select(rows) for rows in torch.arange(1500).split(1200))
    results = []
    for _ in range(2):
        seed_everything(1)
        model = SegmentInterest(
            {"visual": 1}, num_users=20, num_videos=40, max_segments=4, width=16, dropout=0.0
        )
        fit(model, segment_table, train, valid, seed=1, epochs=4)
        results.append(evaluate_skips(model, segment_table, valid))
    assert results[0]["hr@1"].mean() > 0.6  # positions alone: 0.25
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_without_exits_in_validation_the_last_epoch_is_kept():
    interaction_log, segment_table = _planted_log(300)
    interactions = build_segment_interactions(
        interaction_log, SEGMENT, max_segments=4, history_length=20, num_train=300
    )
    stayed = replace(interactions.select(torch.arange(50)), exit_segment_B=torch.full((50,), WATCHED_TO_END))
    kept = []
    for epochs in (1, 3):
        seed_everything(1)
        model = SegmentInterest(
            {"visual": 1}, num_users=20, num_videos=40, max_segments=4, width=16, dropout=0.0
        )
        assert (
            len(fit(model, segment_table, interactions, stayed, seed=1, epochs=epochs, patience=1)) == epochs
        )
        kept.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert not torch.equal(*kept)
