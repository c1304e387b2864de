"""DIN: its activation, its attention, and that it learns what bears on what."""

import pytest
import torch

from models.baselines import BASELINES
from models.baselines.din import DIN, Dice
from models.baselines.fitting import Fitting, fit, liked_auc
from models.scoring import behaviour_logits
from tests.models.baselines.planted import USERS, VIDEOS, catalogue, scorer, small, world


def test_dice_is_the_formula() -> None:
    torch.manual_seed(0)
    dice, s_ND = Dice(3), torch.randn(50, 3) * 4 + 1
    with torch.no_grad():
        dice.alpha.copy_(torch.tensor([0.0, 0.3, 1.0]))
    p = torch.sigmoid((s_ND - s_ND.mean(0)) / (s_ND.var(0, correction=0) + 1e-5).sqrt())
    assert torch.allclose(dice(s_ND), p * s_ND + (1 - p) * dice.alpha * s_ND, atol=1e-4)


def test_the_weights_are_not_normalised() -> None:
    """The same video liked twice is a stronger interest than once; a softmax would not see it."""
    torch.manual_seed(0)
    model, once = DIN(small("din")).eval(), torch.tensor([[3, 3]])
    masks = ([True, False], [True, True])
    one, two = (model(once, torch.tensor([mask]), torch.tensor([5])) for mask in masks)
    assert not torch.allclose(one, two, atol=1e-5)


def test_it_finds_what_will_be_liked_among_what_is_shown() -> None:
    torch.manual_seed(1)
    events, targets = world()
    one = scorer(BASELINES["din"](small("din")), events)
    draw = torch.Generator().manual_seed(9)
    group_B, user_N = targets.row_P // 10, torch.arange(USERS).repeat_interleave(6)
    row_N = torch.randint(VIDEOS, (len(user_N),), generator=draw)
    liked_N = row_N // 10 == group_B[user_N]
    found = lambda: liked_auc(one, user_N, row_N, liked_N)  # noqa: E731
    curve = fit(one.model, events, catalogue().id_row_V, Fitting(25, 25, 32, 0.01, 0.0, 5.0, 1), found)
    assert curve[-1]["auc"] > 0.9
    assert found()["auc"] == pytest.approx(max(row["auc"] for row in curve))
    complete_N = torch.sigmoid(behaviour_logits(one, user_N, row_N)[:, 0])
    assert complete_N[liked_N].mean() > complete_N[~liked_N].mean() + 0.3


def test_what_is_done_later_cannot_reach_an_earlier_prediction() -> None:
    torch.manual_seed(0)
    model, batch = DIN(small("din")).eval(), world()[0].batch(torch.arange(4), 12)
    rows_V, found = catalogue().id_row_V, []
    real = model.forward
    for shift in (0, 7):
        batch.video_BT[:, 8:] = (batch.video_BT[:, 8:] + shift) % VIDEOS
        model.forward = lambda *args: found.append(real(*args)) or found[-1]
        model.loss(batch, rows_V)
    first, second = (logit_NH.unflatten(0, (4, 12)) for logit_NH in found)
    assert torch.allclose(first[:, :8], second[:, :8], atol=1e-5)
    assert not torch.allclose(first[:, 9:], second[:, 9:], atol=1e-3)
