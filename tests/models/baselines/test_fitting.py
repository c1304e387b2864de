"""The training loop of the baselines: order, best epoch, determinism."""

import torch

from models.scoring import mean_ndcg
from tests.models.baselines.planted import trained, world


def test_the_best_epoch_is_kept_and_the_same_seed_gives_the_same_bits() -> None:
    one, curve = trained("sasrec", 6)
    best = max(row["ndcg@10"] for row in curve)
    assert mean_ndcg(one, world()[1], 10) == best
    torch.rand(5)
    other, again = trained("sasrec", 6)
    assert again == curve
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert trained("sasrec", 6, seed=2)[1] != curve
