"""SASRec does not see the future."""

import torch

from models.baselines.sasrec import SASRec
from tests.support.planted_preferences import small_config


def test_later_videos_do_not_change_an_earlier_state() -> None:
    torch.manual_seed(0)
    model = SASRec(small_config("sasrec")).eval()
    row_BT = torch.randint(40, (3, 8))
    for i in range(8):
        changed_BT = row_BT.clone()
        changed_BT[:, i] = (changed_BT[:, i] + 1) % 40
        before, after = model.hidden_states(row_BT), model.hidden_states(changed_BT)
        assert torch.allclose(before[:, : i + 1], after[:, : i + 1], atol=1e-5)
        assert not torch.allclose(before[:, i + 1], after[:, i + 1], atol=1e-3)


def test_order_changes_the_state() -> None:
    torch.manual_seed(0)
    model, mask_BT = SASRec(small_config("sasrec")).eval(), torch.ones(1, 3, dtype=torch.bool)
    forward, backward = (
        model.encode_sequence(torch.tensor([rows]), mask_BT) for rows in ([1, 2, 3], [2, 1, 3])
    )
    assert not torch.allclose(forward, backward, atol=1e-4)
