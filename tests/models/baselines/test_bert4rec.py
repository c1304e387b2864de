"""BERT4Rec: masked videos cannot be read, and padding is never masked."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.baselines import bert4rec
from models.baselines.bert4rec import BERT4Rec, sample_masked_positions
from models.data.sequences import SequenceBatch
from tests.support.planted_preferences import make_item_table, planted_sequences, small_config


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(0, 1000))
def test_every_sequence_has_a_masked_position(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    mask_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    hidden_BT = sample_masked_positions(mask_BT)
    assert hidden_BT.any(1).all()
    assert not (hidden_BT & ~mask_BT).any()


def test_a_fifth_of_positions_or_only_the_last_is_masked() -> None:
    torch.manual_seed(0)
    hidden_BT = sample_masked_positions(torch.ones(4000, 40, dtype=torch.bool))
    only_last_B = (hidden_BT.sum(1) == 1) & hidden_BT[:, -1]
    assert 0.09 < only_last_B.float().mean() < 0.12
    assert abs(hidden_BT[~only_last_B].float().mean() - 0.2) < 0.01


def test_masked_videos_reach_the_loss_as_targets_only(monkeypatch) -> None:
    model = BERT4Rec(small_config("bert4rec")).eval()
    batch = planted_sequences()[0].padded_batch(torch.arange(6), 12)
    calls, real_loss = [], bert4rec.next_item_loss

    def spy(h_ND, item_ID, bias_I, target_N, config):
        calls.append((h_ND.detach(), target_N))
        return real_loss(h_ND, item_ID, bias_I, target_N, config)

    monkeypatch.setattr(bert4rec, "next_item_loss", spy)
    monkeypatch.setattr(
        bert4rec, "sample_masked_positions", lambda mask_BT: torch.arange(mask_BT.shape[1]).eq(2) & mask_BT
    )
    for shift in (0, 20):
        video_BT = batch.video_BT.clone()
        video_BT[:, 4] = (video_BT[:, 4] + shift) % 40  # the third positive; positives have even positions
        model.loss(SequenceBatch(**{**vars(batch), "video_BT": video_BT}), make_item_table().id_row_V)
    assert torch.equal(calls[0][0], calls[1][0])
    assert not torch.equal(calls[0][1], calls[1][1])
