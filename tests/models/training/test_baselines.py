"""Training of the baselines: best epoch, determinism, batches without positives."""

from dataclasses import replace

import pytest
import torch

from models.baselines import BASELINES
from models.data.positives import known_positives_by_user
from models.evaluation.scoring import mean_ndcg
from tests.support.planted_preferences import make_item_table, planted_sequences, small_config, train_baseline


def test_the_best_epoch_is_kept_and_training_is_deterministic() -> None:
    first, curve = train_baseline("sasrec", 6)
    best = max(row["ndcg@10"] for row in curve)
    assert mean_ndcg(first, planted_sequences()[1], 10) == best
    torch.rand(5)
    second, second_curve = train_baseline("sasrec", 6)
    assert second_curve == curve
    pairs = zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert train_baseline("sasrec", 6, seed=2)[1] != curve


@pytest.mark.parametrize("name", ["mf_bpr", "lightgcn", "sasrec", "bert4rec", "m3csr", "mmgcn", "bm3"])
def test_a_batch_without_positives_has_no_loss_and_no_gradient(name: str) -> None:
    sequences, model = planted_sequences()[0], BASELINES[name](small_config(name))
    model.init_from_statistics(known_positives_by_user(sequences, make_item_table().id_row_V))
    model.init_from_content(make_item_table())
    without_positives = replace(
        sequences.padded_batch(torch.arange(3), 12), positive_BT=torch.zeros(3, 12, dtype=torch.bool)
    )
    loss = model.loss(without_positives, make_item_table().id_row_V)
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or p.grad.eq(0).all() for p in model.parameters())
