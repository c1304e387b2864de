"""ComiRec: one trend is a plain model, the best trend scores, and two tastes get two trends."""

from dataclasses import replace

import torch

from models.baselines.comirec import ComiRec
from models.baselines.next_item_loss import next_item_loss
from models.baselines.sasrec import SASRec
from models.data.positives import positive_id_rows
from models.data.sequences import Sequences
from models.data.user_state import UserState
from models.training.baselines import BaselineTrainingConfig, fit_baseline
from tests.support.planted_preferences import (
    GROUPS,
    SIZE,
    VIDEOS,
    make_item_table,
    planted_sequences,
    small_config,
)

ROWS_V = torch.arange(VIDEOS)
EVENTS = 12  # of a user with two tastes


def make_model(trends: int, **changes: object) -> ComiRec:
    """A model with random weights everywhere."""
    torch.manual_seed(0)
    model = ComiRec(small_config("comirec", trends=trends, **changes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_one_trend_scores_like_a_plain_model() -> None:
    model, plain = make_model(1), SASRec(small_config("sasrec"))
    plain.load_state_dict(
        {"item_embedding.weight": model.item_embedding.weight, "bias": model.bias}, strict=False
    )
    z_ND = torch.randn(5, 32)
    state = UserState(z_ND, z_ND)
    assert torch.allclose(model.score_vocabulary(state), plain.score_vocabulary(state), atol=1e-5)


def test_one_trend_has_the_loss_of_a_plain_model() -> None:
    model, batch = make_model(1), planted_sequences()[0].padded_batch(torch.arange(9), 12)
    row_BT, mask_BT = positive_id_rows(batch, ROWS_V)
    h_ND = model.trend_states(row_BT[:, :-1])[mask_BT][:, 0]
    expected = next_item_loss(h_ND, model.item_embedding.weight, model.bias, row_BT[mask_BT], model.config)
    assert torch.allclose(model.loss(batch, ROWS_V), expected)


def test_a_video_has_the_score_of_its_best_trend() -> None:
    model = make_model(3)
    z_NF = torch.randn(4, 3 * 32)
    score_NXI = z_NF.view(4, 3, 32) @ model.item_embedding.weight.T + model.bias
    expected = score_NXI.max(1).values
    assert torch.allclose(model.score_vocabulary(UserState(z_NF, z_NF)), expected, atol=1e-5)
    assert len(score_NXI.argmax(1).unique()) == 3


def test_a_trend_equals_the_formula() -> None:
    model, row_T = make_model(2), torch.tensor([3, 1, 7])
    e_SD = torch.cat([model.start_token[None], model.item_embedding(row_T)]) * 32**0.5
    e_SD[0] = model.start_token * 32**0.5
    first, _, last = model.attention
    for trend in range(2):
        logits = [
            (last.weight[trend] * torch.tanh(first.weight @ e_SD[s])).sum()
            + model.distance_bias.weight[3 - s, trend]
            for s in range(4)
        ]
        expected = (torch.stack(logits).softmax(0)[:, None] * e_SD).sum(0)
        assert torch.allclose(model.trend_states(row_T[None])[0, 3, trend], expected, atol=1e-4)


def test_later_videos_do_not_change_earlier_trends() -> None:
    model, row_BT = make_model(2), torch.randint(VIDEOS, (3, 8))
    changed_BT = row_BT.clone()
    changed_BT[:, 5] = (changed_BT[:, 5] + 1) % VIDEOS
    before, after = model.trend_states(row_BT), model.trend_states(changed_BT)
    assert torch.allclose(before[:, :6], after[:, :6], atol=1e-5)
    assert not torch.allclose(before[:, 6], after[:, 6], atol=1e-3)


def test_the_best_trend_of_a_target_gets_the_gradient() -> None:
    """With three events of one user, at most three of 40 trends are trained through the distances."""
    model = make_model(40)
    sequences = planted_sequences()[0]
    batch = replace(sequences.padded_batch(torch.tensor([0]), 6))
    model.loss(batch, ROWS_V).backward()
    gradient = model.distance_bias.weight.grad
    assert gradient is not None
    assert 1 <= int((gradient.abs().sum(0) > 0).sum()) <= 3


def sequences_of_two_tastes(users: int) -> Sequences:
    """Users who like videos of two groups, one group now and the other group then."""
    generator = torch.Generator().manual_seed(0)
    first_U1 = torch.randint(GROUPS, (users, 1), generator=generator)
    other_U1 = (first_U1 + torch.randint(1, GROUPS, (users, 1), generator=generator)) % GROUPS
    is_first_UT = torch.rand(users, EVENTS, generator=generator) < 0.5
    is_first_UT[:, :2] = torch.tensor([True, False])  # every user shows both tastes
    group_UT = torch.where(is_first_UT, first_U1, other_U1)
    video_UT = group_UT * SIZE + torch.randint(SIZE, (users, EVENTS), generator=generator)
    plain, count = planted_sequences()[0], users * EVENTS
    return replace(
        plain,
        offsets=torch.arange(users + 1) * EVENTS,
        video_E=video_UT.flatten(),
        timestamp_E=torch.arange(count) * 60,
        hour_E=torch.zeros(count, dtype=torch.long),
        watch_ratio_E=torch.ones(count),
        behaviour_EA=plain.behaviour_EA[:1].expand(count, -1),
        sentiment_E=torch.full((count,), torch.nan),
        positive_E=torch.ones(count, dtype=torch.bool),
    )


def test_the_trends_of_a_user_with_two_tastes_point_to_both_groups() -> None:
    torch.manual_seed(1)
    model, sequences = ComiRec(small_config("comirec", trends=4)), sequences_of_two_tastes(150)
    settings = BaselineTrainingConfig(25, 25, 16, 0.003, 0.0, 5.0, 1)
    fit_baseline(model, sequences, make_item_table(), settings, dict, "")
    batch = sequences.padded_batch(torch.arange(150), EVENTS)
    with torch.no_grad():
        z_BF = model.eval().encode_sequence(*positive_id_rows(batch, ROWS_V))
        score_BXI = model.trends(UserState(z_BF, z_BF)) @ model.item_embedding.weight.T
    trend_group_BX = score_BXI.unflatten(2, (GROUPS, SIZE)).mean(3).argmax(2)
    taste_BG = torch.nn.functional.one_hot(batch.video_BT // SIZE, GROUPS).sum(1) > 0
    found_BG = torch.nn.functional.one_hot(trend_group_BX, GROUPS).sum(1) > 0
    assert (found_BG & taste_BG).sum() / taste_BG.sum() > 0.9
