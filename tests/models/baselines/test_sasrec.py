"""SASRec sees no future."""

import torch

from models.baselines.sasrec import SASRec
from tests.models.baselines.planted import small


def test_no_state_knows_what_came_later() -> None:
    torch.manual_seed(0)
    model = SASRec(small("sasrec")).eval()
    row_BT = torch.randint(40, (3, 8))
    for i in range(8):
        changed_BT = row_BT.clone()
        changed_BT[:, i] = (changed_BT[:, i] + 1) % 40
        before, after = model.states(row_BT), model.states(changed_BT)
        assert torch.allclose(before[:, : i + 1], after[:, : i + 1], atol=1e-5)
        assert not torch.allclose(before[:, i + 1], after[:, i + 1], atol=1e-3)


def test_the_order_counts() -> None:
    torch.manual_seed(0)
    model, mask_BT = SASRec(small("sasrec")).eval(), torch.ones(1, 3, dtype=torch.bool)
    there, back = (model.read(torch.tensor([rows]), mask_BT) for rows in ([1, 2, 3], [2, 1, 3]))
    assert not torch.allclose(there, back, atol=1e-4)
