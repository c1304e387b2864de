"""Training of segment interest on planted preferences."""

from dataclasses import replace

import numpy as np
import torch

from models.data.interaction_log import InteractionLog
from models.data.segments import WATCHED_TO_END, SegmentTable, SegmentViews, views_in_order_of_time
from models.seeding import seed_everything
from models.segments.segment_interest import (
    SegmentInterest,
    evaluate_skips,
    exit_loss,
    intra_video_loss,
    predict_interest,
    stay_probabilities,
)
from models.training.segments import MIN_VIEWS, fit, known_id_rows

SEGMENT_MS = 5000
NUM_VIDEOS, NUM_SEGMENTS = 40, 4


def test_rare_videos_have_no_id_row():
    video_E = torch.tensor([0] * MIN_VIEWS + [1] * (MIN_VIEWS - 1))
    assert known_id_rows(video_E, torch.tensor([1, 2, 3])).tolist() == [1, 0, 0]


def _planted_views(num_views: int) -> tuple[SegmentViews, SegmentTable]:
    """Half of the users leave in the red segment, the others in the blue one."""
    generator = np.random.default_rng(5)
    color_VT = np.stack([generator.permutation([1.0, -1.0, 0.0, 0.0]) for _ in range(NUM_VIDEOS)])
    user_E, video_E = (generator.integers(n, size=num_views) for n in (20, NUM_VIDEOS))
    disliked_E = np.where(user_E % 2 == 0, 1.0, -1.0)
    exit_segment_E = (color_VT[video_E] == disliked_E[:, None]).argmax(1)
    duration_V = torch.full((NUM_VIDEOS,), NUM_SEGMENTS * SEGMENT_MS)
    segment_table = SegmentTable(
        {"visual": torch.tensor(color_VT, dtype=torch.float32).view(-1, 1)},
        {"visual": torch.arange(NUM_VIDEOS * NUM_SEGMENTS).view(NUM_VIDEOS, NUM_SEGMENTS)},
        torch.full((NUM_VIDEOS,), NUM_SEGMENTS),
        duration_V,
        torch.arange(NUM_VIDEOS) + 1,
        SEGMENT_MS,
    )
    log = InteractionLog(user_E, video_E, exit_segment_E * SEGMENT_MS + 1000, duration_V.numpy()[video_E])
    return views_in_order_of_time(log, segment_table, history_length=20, num_train=1200), segment_table


def _make_model(num_users: int | None = 20) -> SegmentInterest:
    seed_everything(1)
    return SegmentInterest({"visual": 1}, num_users, NUM_VIDEOS, NUM_SEGMENTS, width=16, dropout=0.0)


def test_planted_preferences_are_learned_deterministically():
    views, segment_table = _planted_views(1500)
    train, valid = (views.select(rows) for rows in torch.arange(1500).split(1200))
    for num_users, loss in ((20, intra_video_loss), (None, exit_loss)):
        results = []
        for _ in range(2):
            model = _make_model(num_users)
            fit(model, segment_table, train, [valid], seed=1, loss=loss, epochs=4)
            results.append(evaluate_skips(model, segment_table, valid))
        assert results[0]["hr@1"].mean() > 0.6  # positions alone: 0.25
        assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_the_exit_loss_gives_calibrated_probabilities_to_stay():
    views, segment_table = _planted_views(1500)
    to_end_E = torch.arange(1500) % 3 == 0
    views = replace(views, exit_segment_E=torch.where(to_end_E, WATCHED_TO_END, views.exit_segment_E))
    model = _make_model()
    fit(model, segment_table, views, [], seed=1, loss=exit_loss, epochs=3)
    stay_ET = stay_probabilities(*predict_interest(model, segment_table, views))
    assert abs(float(stay_ET[:, -1].mean()) - 1 / 3) < 0.05


def test_without_exits_in_validation_the_last_epoch_is_kept():
    views, segment_table = _planted_views(300)
    stayed = replace(views.select(torch.arange(50)), exit_segment_E=torch.full((50,), WATCHED_TO_END))
    kept = []
    for epochs in (1, 3):
        model = _make_model()
        assert len(fit(model, segment_table, views, [stayed], seed=1, epochs=epochs, patience=1)) == epochs
        kept.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert not torch.equal(*kept)
