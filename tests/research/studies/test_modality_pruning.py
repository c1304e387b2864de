"""Pruned modality weights: what is skipped, and that nothing else changes."""

import pytest
import torch

from models.data.items import ItemEmbeddings
from models.data.user_state import UserState
from models.evaluation.scoring import Scorer
from research.studies import modality_pruning
from research.studies.modality_pruning import (
    BATCH_SIZES,
    THRESHOLDS,
    ItemBlocks,
    encode,
    prune,
    pruned,
    skipped_share,
    time_products,
)
from tests.support.model_inputs import make_item_table, make_model, make_user_data

USERS = torch.tensor([1, 2, 3])


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    model = make_model(fusion="user")
    assert model.modality_preference is not None
    with torch.no_grad():  # far from equal, and different for the users
        model.modality_preference.from_profile.weight.normal_(std=2.0)
    return Scorer(model, make_item_table(), make_user_data())


@pytest.fixture(scope="module")
def encoded(scorer: Scorer) -> tuple[ItemEmbeddings, UserState]:
    return encode(scorer, USERS)


def test_weights_below_the_threshold_are_skipped_and_the_others_keep_their_proportions() -> None:
    alpha_NM = torch.tensor([[0.6, 0.3, 0.1], [0.34, 0.33, 0.33], [0.9, 0.1, 0.0]])
    assert torch.allclose(
        prune(alpha_NM, 0.2), torch.tensor([[2 / 3, 1 / 3, 0], [0.34, 0.33, 0.33], [1, 0, 0]])
    )
    assert torch.equal(prune(alpha_NM, 0.0), alpha_NM)
    assert (prune(alpha_NM, 0.7) > 0).sum(1).tolist() == [1, 1, 1], "the largest weight stays"


def test_without_a_threshold_the_scores_are_those_of_the_model(scorer: Scorer, encoded: tuple) -> None:
    items, state = encoded
    expected_NV, alpha_MNV = scorer.model.score_items(state, items)
    score_NV, kept_MNV = pruned(scorer, 0.0).model.score_items(state, items)
    assert torch.allclose(score_NV, expected_NV, atol=1e-5)
    assert torch.allclose(kept_MNV, alpha_MNV, atol=1e-6)
    assert skipped_share(state, items, 0.0) == 0.0


def test_products_by_modality_give_the_scores_of_the_pruned_model(scorer: Scorer, encoded: tuple) -> None:
    items, state = encoded
    is_full = items.has_VM.all(1)
    alpha_NM = state.u_NW.softmax(1)
    blocks = ItemBlocks.of(items)
    for threshold in (0.0, 0.3):
        expected_NV, _ = pruned(scorer, threshold).model.score_items(state, items)
        score_NV = blocks.pruned_scores(state.z_ND, prune(alpha_NM, threshold))
        assert torch.allclose(score_NV, expected_NV[:, is_full], atol=1e-4)
    assert torch.allclose(
        blocks.joint_scores(state.z_ND, alpha_NM), blocks.pruned_scores(state.z_ND, alpha_NM), atol=1e-4
    )


def test_the_skipped_share_counts_products(scorer: Scorer, encoded: tuple) -> None:
    items, state = encoded
    _, kept_MNV = pruned(scorer, 0.3).model.score_items(state, items)
    has_MNV = items.has_VM.T[:, None, :].expand_as(kept_MNV)
    expected = float((kept_MNV[has_MNV] == 0).float().mean())
    assert 0 < expected < 1
    assert skipped_share(state, items, 0.3) == pytest.approx(expected)


def test_each_threshold_and_the_one_product_are_timed(
    encoded: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, state = encoded
    monkeypatch.setattr(modality_pruning, "ROUNDS", 1)
    seconds = time_products(ItemBlocks.of(items), state)
    assert seconds.keys() == {(t, size) for t in (None, *THRESHOLDS) for size in BATCH_SIZES}
    assert min(seconds.values()) > 0
