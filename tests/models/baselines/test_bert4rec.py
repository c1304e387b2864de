"""BERT4Rec: what is hidden cannot be read, and padding is never hidden."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.baselines import bert4rec
from models.baselines.bert4rec import BERT4Rec, hide
from models.histories import Batch
from tests.models.baselines.planted import catalogue, small, world


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(0, 1000))
def test_of_everybody_at_least_one_real_place_is_hidden(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    mask_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    hidden_BT = hide(mask_BT)
    assert hidden_BT.any(1).all()
    assert not (hidden_BT & ~mask_BT).any()


def test_a_fifth_is_hidden_and_sometimes_only_the_newest() -> None:
    torch.manual_seed(0)
    hidden_BT = hide(torch.ones(4000, 40, dtype=torch.bool))
    only_last_B = (hidden_BT.sum(1) == 1) & hidden_BT[:, -1]
    assert 0.09 < only_last_B.float().mean() < 0.12
    assert abs(hidden_BT[~only_last_B].float().mean() - 0.2) < 0.01


def test_what_is_hidden_reaches_the_loss_as_a_target_only(monkeypatch) -> None:
    model, batch = BERT4Rec(small("bert4rec")).eval(), world()[0].batch(torch.arange(6), 12)
    found, real = [], bert4rec.next_video_loss

    def spy(h_ND, table_ID, bias_I, target_N):
        found.append((h_ND.detach(), target_N))
        return real(h_ND, table_ID, bias_I, target_N)

    monkeypatch.setattr(bert4rec, "next_video_loss", spy)
    monkeypatch.setattr(bert4rec, "hide", lambda mask_BT: torch.arange(mask_BT.shape[1]).eq(2) & mask_BT)
    for shift in (0, 20):
        hidden = batch.video_BT.clone()
        hidden[:, 4] = (hidden[:, 4] + shift) % 40  # the third like: likes stand at even places
        model.loss(Batch(**{**vars(batch), "video_BT": hidden}), catalogue().id_row_V)
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][1], found[1][1])
