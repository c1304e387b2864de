"""DIN: its activation, its attention, and that it learns related videos."""

import pytest
import torch

from models.baselines import BASELINES
from models.baselines.din import DIN, Dice
from models.evaluation.scoring import behaviour_logits
from models.training.baselines import BaselineTrainingConfig, fit_baseline, positive_auc
from tests.support.planted_preferences import (
    USERS,
    VIDEOS,
    make_item_table,
    make_scorer,
    planted_sequences,
    small_config,
)


def test_dice_equals_the_formula() -> None:
    torch.manual_seed(0)
    dice, s_ND = Dice(3), torch.randn(50, 3) * 4 + 1
    with torch.no_grad():
        dice.alpha.copy_(torch.tensor([0.0, 0.3, 1.0]))
    p = torch.sigmoid((s_ND - s_ND.mean(0)) / (s_ND.var(0, correction=0) + 1e-5).sqrt())
    assert torch.allclose(dice(s_ND), p * s_ND + (1 - p) * dice.alpha * s_ND, atol=1e-4)


def test_attention_weights_are_not_normalised() -> None:
    """A video liked twice is a stronger interest than one liked once. A softmax would not show this."""
    torch.manual_seed(0)
    model, rows_NT = DIN(small_config("din")).eval(), torch.tensor([[3, 3]])
    masks = ([True, False], [True, True])
    one_positive, two_positives = (model(rows_NT, torch.tensor([mask]), torch.tensor([5])) for mask in masks)
    assert not torch.allclose(one_positive, two_positives, atol=1e-5)


def test_din_predicts_positives_among_impressions() -> None:
    torch.manual_seed(1)
    sequences, targets = planted_sequences()
    scorer = make_scorer(BASELINES["din"](small_config("din")), sequences)
    generator = torch.Generator().manual_seed(9)
    group_B, user_N = targets.row_P // 10, torch.arange(USERS).repeat_interleave(6)
    row_N = torch.randint(VIDEOS, (len(user_N),), generator=generator)
    positive_N = row_N // 10 == group_B[user_N]
    validate = lambda: positive_auc(scorer, user_N, row_N, positive_N)  # noqa: E731
    curve = fit_baseline(
        scorer.model,
        sequences,
        make_item_table(),
        BaselineTrainingConfig(25, 25, 32, 0.01, 0.0, 5.0, 1),
        validate,
        "auc",
    )
    assert curve[-1]["auc"] > 0.9
    assert validate()["auc"] == pytest.approx(max(row["auc"] for row in curve))
    complete_N = torch.sigmoid(behaviour_logits(scorer, user_N, row_N)[:, 0])
    assert complete_N[positive_N].mean() > complete_N[~positive_N].mean() + 0.3


def test_later_events_do_not_change_an_earlier_prediction() -> None:
    torch.manual_seed(0)
    model, batch = DIN(small_config("din")).eval(), planted_sequences()[0].padded_batch(torch.arange(4), 12)
    rows_V, outputs = make_item_table().id_row_V, []
    real_forward = model.forward
    for shift in (0, 7):
        batch.video_BT[:, 8:] = (batch.video_BT[:, 8:] + shift) % VIDEOS
        model.forward = lambda *args: outputs.append(real_forward(*args)) or outputs[-1]
        model.loss(batch, rows_V)
    first, second = (logit_NH.unflatten(0, (4, 12)) for logit_NH in outputs)
    assert torch.allclose(first[:, :8], second[:, :8], atol=1e-5)
    assert not torch.allclose(first[:, 9:], second[:, 9:], atol=1e-3)
