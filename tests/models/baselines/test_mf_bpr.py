"""MF-BPR: what is drawn, and the folding in."""

import torch

from models.baselines.mf_bpr import MFBPR, RIDGE, UNSEEN, triples
from models.histories import Seen
from tests.models.baselines.planted import small, trained


def test_what_a_user_liked_is_never_the_other_one() -> None:
    torch.manual_seed(0)
    likes = Seen(torch.tensor([0, 6, 9]), torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 2]))
    row_BT = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 0, 0]])
    mask_BT = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    pairs = set()
    for _ in range(50):
        user_N, liked_N, other_N = triples(likes, row_BT, mask_BT, torch.tensor([0, 1]), 8)
        assert (other_N[user_N == 0] >= 6).all()
        assert (other_N[user_N == 1] >= 3).all()
        pairs |= set(zip(user_N.tolist(), liked_N.tolist(), strict=True))
    assert pairs == {(0, i) for i in range(6)} | {(1, i) for i in range(3)}


def test_who_is_folded_in_has_the_least_squares_vector() -> None:
    torch.manual_seed(0)
    model = MFBPR(small("mf_bpr"))
    q_ID, rows = model.video.weight.detach(), torch.tensor([[3, 4, 9]])
    p = model.read(rows, torch.ones(1, 3, dtype=torch.bool)).detach().requires_grad_()
    fit = ((1 - q_ID[rows[0]] @ p[0]) ** 2).sum() + UNSEEN * ((q_ID @ p[0]) ** 2).sum() + RIDGE * (p**2).sum()
    fit.backward()
    assert torch.allclose(p.grad, torch.zeros_like(p), atol=1e-4)


def test_a_user_folded_in_is_like_the_one_that_was_learned() -> None:
    one, _ = trained("mf_bpr", 20)
    model, batch = one.model, one.people.histories.batch(torch.arange(200), 12)
    learned = model.score(model.known(torch.arange(200)))
    folded = model.score(model.newest(batch, one.people.profiles, model.items(one.catalogue)))
    found = torch.corrcoef(torch.stack([learned.flatten(), folded.flatten()]))[0, 1]
    assert found > 0.8
