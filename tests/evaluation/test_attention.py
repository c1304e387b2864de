"""The deletion test: it finds attention that matters, and refuses attention that does not."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.config.model_half import EvaluateConfig
from evaluation import attention
from evaluation.attention import DeletionTest, deletion_mask, event_attention, measure_attention
from evaluation.sampled_users import restrict_to_users
from models.evaluation.scoring import Scorer
from models.layers.sequence_encoders import AttentionEncoder
from tests.support.model_inputs import make_item_table, make_model, make_user_data

LENGTHS = (5, 6, 8, 7, 12, 5, 6, 8) * 5
PARAMS = EvaluateConfig(
    k=1, cutoffs=(1,), cold_events=5, recency_half_life_days=1.0, bootstrap_samples=200, seed=1
)


def make_scorer(**changes: object) -> Scorer:
    """A scorer of random weights whose users have at most as many events as the model reads."""
    model, data = make_model(**changes), make_user_data(LENGTHS)
    unseen = replace(data.seen, offsets=torch.zeros_like(data.seen.offsets), row_E=data.seen.row_E[:0])
    scorer = Scorer(model, make_item_table(), replace(data, seen=unseen))
    return restrict_to_users(scorer, torch.arange(len(LENGTHS)))


def drops_without_one_event(scorer: Scorer) -> Tensor:
    """The drop of the log-probability of each user's best video without each single event, [B, T]."""
    test, sequences = DeletionTest(scorer), scorer.user_data.sequences
    drop_BT = torch.zeros(test.batch.mask_BT.shape)
    for event in range(drop_BT.shape[1]):
        is_event_BT = (torch.arange(drop_BT.shape[1]) == event) & test.batch.mask_BT
        kept = sequences.keep(~is_event_BT[test.batch.mask_BT])
        changed = replace(scorer, user_data=replace(scorer.user_data, sequences=kept))
        drop_BT[:, event] = test.log_p_B - test._log_probability(changed, test.best_B)[0]
    return drop_BT


@pytest.mark.parametrize(("sign", "is_faithful"), [(1, True), (-1, False)])
def test_attention_is_faithful_if_the_best_video_depends_on_what_it_reads(
    sign: int, is_faithful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = make_scorer()
    importance_BT = sign * drops_without_one_event(scorer)
    monkeypatch.setattr(attention, "event_attention", lambda *_: importance_BT)
    measured = measure_attention(scorer, PARAMS)
    assert measured["is_faithful"] is is_faithful
    assert (measured["difference"]["random"]["low"] > 0) is is_faithful
    drop = measured["drop"]
    assert (drop["most_attended"] > drop["random"] > drop["least_attended"]) is is_faithful
    assert measured["difference"]["random"]["num_users"] == measured["num_users"] == len(LENGTHS)


def test_uniform_attention_is_not_faithful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a preference, the oldest events are deleted: nothing says that they matter more."""
    scorer = make_scorer(encoder="mean", positions=False)
    monkeypatch.setattr(attention, "event_attention", lambda *_: torch.ones(len(LENGTHS), 8))
    assert measure_attention(scorer, PARAMS)["is_faithful"] is False


@pytest.mark.parametrize("encoder", ["lstm", "mean"])
def test_an_encoder_without_attention_has_none(encoder: str) -> None:
    measured = measure_attention(make_scorer(encoder=encoder), PARAMS)
    assert measured["model"] == encoder
    assert not measured["has_attention"]
    assert not measured["is_faithful"]


@pytest.mark.parametrize("fusion", ["user", "late"])
@pytest.mark.parametrize("encoder", ["transformer", "ligr", "hstu"])
def test_attention_is_a_share_of_the_events_that_are_read(encoder: str, fusion: str) -> None:
    scorer = make_scorer(encoder=encoder, fusion=fusion)
    attention_BT = event_attention(scorer, torch.arange(len(LENGTHS)))
    assert attention_BT is not None
    mask_BT = scorer.batch(torch.arange(len(LENGTHS))).mask_BT
    assert (attention_BT[mask_BT] > 0).all()
    assert not attention_BT[~mask_BT].any()
    assert (attention_BT.sum(1) < 1).all()  # the start token has the rest
    assert attention_BT.std() > 0.01


def test_attention_of_long_sequences_is_read_a_few_users_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, users_B = make_scorer(), torch.arange(len(LENGTHS))
    together_BT = event_attention(scorer, users_B)
    sizes: list[int] = []
    rollout = AttentionEncoder.attention_rollout

    def counted_rollout(encoder: AttentionEncoder, x_BSD: Tensor) -> Tensor:
        sizes.append(len(x_BSD))
        return rollout(encoder, x_BSD)

    monkeypatch.setattr(AttentionEncoder, "attention_rollout", counted_rollout)
    monkeypatch.setattr(attention, "CHUNK_WEIGHTS", 3 * scorer.model.config.heads * 9**2)
    torch.testing.assert_close(event_attention(scorer, users_B), together_BT)
    assert max(sizes) == 3
    assert sum(sizes) == len(LENGTHS)


def test_the_events_of_highest_priority_are_deleted() -> None:
    batch = make_scorer().batch(torch.tensor([0, 2]))  # 5 and 8 events
    priority_BT = torch.tensor([[0.1, 0.9, 0.3, 0.2, 0.4, 9, 9, 9], [0.1, 0.2, 0.9, 0.3, 0.1, 0.1, 0.8, 0.0]])
    expected = [[1], [2, 6]]
    assert [row.nonzero().flatten().tolist() for row in deletion_mask(priority_BT, batch)] == expected
