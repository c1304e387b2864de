"""Engagement and its residuals."""

import pytest
import torch

from models.sources.engagement import PRIOR_COUNT, EngagementResidual, engagement
from tests.support.model_inputs import BEHAVIOURS, all_users, make_sequences

ROW_V = torch.where(torch.arange(12) < 9, torch.arange(12), -1)


def test_likes_raise_engagement_and_an_unknown_ratio_is_neutral() -> None:
    sequences = make_sequences((1,) * 4)
    sequences.behaviour_EA[:] = False
    sequences.behaviour_EA[1, BEHAVIOURS.index("liked")] = True
    sequences.behaviour_EA[2, BEHAVIOURS.index("disliked")] = True
    watch_ratio_E, known_E = torch.full((4,), 0.6), torch.tensor([True, True, True, False])
    usual, liked, disliked, unknown = engagement(
        watch_ratio_E, known_E, sequences.behaviour_EA, BEHAVIOURS
    ).tolist()
    assert liked > usual > disliked
    assert unknown == pytest.approx(usual, abs=1e-6)


def test_residuals_subtract_the_smoothed_item_mean() -> None:
    sequences, layer = make_sequences((8, 8, 8)), EngagementResidual(BEHAVIOURS, 9)
    batch = sequences.padded_batch(all_users(sequences), 8)
    raw_BT = layer(batch, ROW_V)
    layer.init_from_statistics(sequences, ROW_V)
    average = float(raw_BT.double().mean())
    for video in range(12):
        is_video_BT = batch.video_BT == video
        if not is_video_BT.any():
            continue
        count, total = int(is_video_BT.sum()), float(raw_BT[is_video_BT].double().sum())
        usual = (total + PRIOR_COUNT * average) / (count + PRIOR_COUNT) if video < 9 else average
        assert torch.allclose(layer(batch, ROW_V)[is_video_BT], raw_BT[is_video_BT] - usual, atol=1e-5)


def test_unwatched_videos_have_the_global_mean() -> None:
    layer = EngagementResidual(BEHAVIOURS, 9)
    layer.init_from_statistics(make_sequences((0, 0)), ROW_V)
    assert layer.item_mean.eq(0).all()
    layer.init_from_statistics(make_sequences((8,), videos=2), ROW_V)
    assert torch.allclose(layer.item_mean[2:], layer.item_mean[-1].expand(8))
