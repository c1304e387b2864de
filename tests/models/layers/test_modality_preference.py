"""The modality preference: agreement by its definition, and recovery of the preferred modality."""

import pytest
import torch
from torch import Tensor

from models.layers.modality_preference import PRIOR_EVENTS, ModalityPreference, modality_agreement
from tests.support.model_inputs import all_users, make_item_table, make_model, make_profiles, make_sequences

B, T, M, D = 4, 8, 3, 6
LENGTHS = (0, 1, 5, 8)
MASK_BT = torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def events(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return x_BTMD with a missing modality, and liked_BT."""
    generator = torch.Generator().manual_seed(seed)
    x_BTMD = torch.randn(B, T, M, D, generator=generator)
    x_BTMD[3, 2, 1] = 0.0
    return x_BTMD, (torch.rand(B, T, generator=generator) < 0.5) * MASK_BT.float()


def test_agreement_is_the_shrunk_mean_of_predicted_outcomes() -> None:
    x_BTMD, liked_BT = events()
    agreement_BSM = modality_agreement(x_BTMD, liked_BT, MASK_BT)
    for user, length in enumerate(LENGTHS):
        residuals = [
            float(liked_BT[user, t] - (liked_BT[user, :t].sum() + 1) / (t + 2)) for t in range(length)
        ]
        for modality in range(M):
            x_TD = torch.nn.functional.normalize(x_BTMD[user, :, modality], dim=1)
            total = 0.0
            for t in range(length):
                expected = 10 * total / (t + PRIOR_EVENTS)
                assert agreement_BSM[user, t, modality].item() == pytest.approx(expected, abs=1e-5)
                taste_D = sum((residuals[s] * x_TD[s] for s in range(t)), torch.zeros(D))
                total += float(torch.cosine_similarity(taste_D, x_TD[t], dim=0)) * residuals[t]
            expected = 10 * total / (length + PRIOR_EVENTS)
            assert agreement_BSM[user, length, modality].item() == pytest.approx(expected, abs=1e-5)


def test_agreement_is_largest_for_the_modality_that_decides_what_is_liked() -> None:
    generator = torch.Generator().manual_seed(5)
    x_BTMD = torch.randn(30, 60, M, D, generator=generator)
    taste_BD, modality_B = torch.randn(30, D, generator=generator), torch.arange(30) % M
    score_BT = (x_BTMD[torch.arange(30), :, modality_B] * taste_BD[:, None]).sum(2)
    agreement_BSM = modality_agreement(x_BTMD, (score_BT > 0).float(), torch.ones(30, 60).bool())
    assert (agreement_BSM[:, -1].argmax(1) == modality_B).float().mean() > 0.9


@pytest.mark.parametrize("uses_content", [True, False])
def test_all_modalities_have_the_same_weight_before_training(uses_content: bool) -> None:
    sequences = make_sequences(LENGTHS)
    model = make_model(fusion="attention" if uses_content else "user")
    preference = ModalityPreference(M, 8, uses_content)
    batch, items = sequences.padded_batch(all_users(sequences), T), model.encode_items(make_item_table())
    u_BSW = preference(items, batch, torch.randn(B, 8))
    assert not u_BSW[..., -M:].any()
    assert u_BSW.shape[-1] == (8 + M if uses_content else M)
    assert bool(u_BSW[..., :-M].any()) is uses_content


def test_the_profile_and_the_liked_videos_change_the_preference() -> None:
    model, sequences = make_model(), make_sequences(LENGTHS)
    items, batch = model.encode_items(make_item_table()), sequences.padded_batch(all_users(sequences), T)
    before = model.encode_preferences(batch, make_profiles(), items)
    other_profiles = model.encode_preferences(
        batch, make_profiles().select(torch.tensor([1, 2, 3, 0])), items
    )
    assert not torch.allclose(before[0, 0], other_profiles[0, 0])
    sequences.positive_E[:] = ~sequences.positive_E
    flipped = model.encode_preferences(
        sequences.padded_batch(all_users(sequences), T), make_profiles(), items
    )
    assert torch.equal(flipped[:, 0], before[:, 0])
    assert not torch.allclose(flipped[3, 8], before[3, 8])
