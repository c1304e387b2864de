"""MF-BPR: sampling of triples, and the fold-in."""

import torch

from models.baselines.mf_bpr import MFBPR, RIDGE_WEIGHT, UNOBSERVED_WEIGHT, sample_bpr_triples
from models.data.sequences import SeenItems
from tests.support.planted_preferences import small_config, train_baseline


def test_positives_are_never_sampled_as_negatives() -> None:
    torch.manual_seed(0)
    positives = SeenItems(torch.tensor([0, 6, 9]), torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 2]))
    row_BT = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 0, 0]])
    mask_BT = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    pairs = set()
    for _ in range(50):
        user_N, positive_N, negative_N = sample_bpr_triples(
            positives, row_BT, mask_BT, torch.tensor([0, 1]), 8
        )
        assert (negative_N[user_N == 0] >= 6).all()
        assert (negative_N[user_N == 1] >= 3).all()
        pairs |= set(zip(user_N.tolist(), positive_N.tolist(), strict=True))
    assert pairs == {(0, i) for i in range(6)} | {(1, i) for i in range(3)}


def test_folding_in_gives_the_least_squares_vector() -> None:
    torch.manual_seed(0)
    model = MFBPR(small_config("mf_bpr"))
    q_ID, rows = model.item_embedding.weight.detach(), torch.tensor([[3, 4, 9]])
    p = model.encode_sequence(rows, torch.ones(1, 3, dtype=torch.bool)).detach().requires_grad_()
    loss = (
        ((1 - q_ID[rows[0]] @ p[0]) ** 2).sum()
        + UNOBSERVED_WEIGHT * ((q_ID @ p[0]) ** 2).sum()
        + RIDGE_WEIGHT * (p**2).sum()
    )
    loss.backward()
    assert torch.allclose(p.grad, torch.zeros_like(p), atol=1e-4)


def test_folding_in_approximates_the_trained_user() -> None:
    scorer, _ = train_baseline("mf_bpr", 20)
    model, batch = scorer.model, scorer.user_data.sequences.padded_batch(torch.arange(200), 12)
    learned = model.score_vocabulary(model.encode_training_user(torch.arange(200)))
    folded = model.score_vocabulary(
        model.encode_user(batch, scorer.user_data.profiles, model.encode_items(scorer.item_table))
    )
    correlation = torch.corrcoef(torch.stack([learned.flatten(), folded.flatten()]))[0, 1]
    assert correlation > 0.8
