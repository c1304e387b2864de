"""Group preference: a ridge regression with decay, by user segment and day."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.data.sequences import SECONDS_PER_DAY, Sequences
from research.modality_evidence import group_preference
from research.modality_evidence.gaussian_process import KERNEL_SHARPNESS
from research.modality_evidence.group_preference import (
    DAILY_DECAY,
    NUM_DAYS,
    NUM_LANDMARKS,
    RIDGE_PENALTY,
    GroupPreference,
)
from tests.support.model_inputs import all_users, make_sequences

M, D, VIDEOS = 3, 6, 12
CATEGORY_BC = torch.arange(40).unsqueeze(1) % 3  # 0: unknown


def aligned_vectors(seed: int = 0) -> Tensor:
    """Return aligned_VMD with one missing modality."""
    x_VMD = torch.randn(VIDEOS, M, D, generator=torch.Generator().manual_seed(seed))
    x_VMD[3, 1] = 0.0
    return x_VMD


def daily_sequences(num_users: int = 40, events: int = 12, num_days: int = 4) -> Sequences:
    """Return sequences in which each user watches videos on each of a few days."""
    sequences = make_sequences((events,) * num_users, videos=VIDEOS)
    day_E = (torch.arange(events) * num_days // events).repeat(num_users)
    return replace(sequences, timestamp_E=day_E * SECONDS_PER_DAY + 3600)


def fit_layer(sequences: Sequences, residual_E: Tensor, sizes: tuple[int, ...] = (2,)) -> GroupPreference:
    """Return a fitted layer. All users have equal modality weights."""
    layer, num_users = GroupPreference(sizes, D), len(sequences.lengths)
    layer.init_from_statistics(
        CATEGORY_BC[:num_users], torch.full((num_users, M), 1 / M), aligned_vectors(), sequences, residual_E
    )
    return layer


def predict(layer: GroupPreference, sequences: Sequences) -> Tensor:
    """Return predictions [B, T] for the events of each user, with equal modality weights."""
    batch = sequences.padded_batch(all_users(sequences), 99)
    return layer(CATEGORY_BC[: len(sequences.lengths)], batch, aligned_vectors()).mean(2)


def test_kernel_features_reproduce_the_kernel() -> None:
    layer = fit_layer(daily_sequences(), torch.zeros(480))
    feature_PH = layer.kernel_features(aligned_vectors()).flatten(0, 1)
    unit_ND = torch.nn.functional.normalize(aligned_vectors().flatten(0, 1), dim=1)
    present_P = unit_ND.any(1)
    expected_PP = torch.exp(KERNEL_SHARPNESS * (unit_ND @ unit_ND.T - 1)) * present_P[:, None] * present_P
    assert torch.allclose(feature_PH @ feature_PH.T, expected_PP, atol=1e-4)


def test_coefficients_equal_a_decayed_ridge_regression() -> None:
    sequences, generator = daily_sequences(), torch.Generator().manual_seed(1)
    residual_E = torch.randn(480, generator=generator)
    layer = fit_layer(sequences, residual_E, sizes=())
    f_EH = layer.kernel_features(aligned_vectors())[sequences.video_E].mean(1).double()
    for last in range(4):
        age_E = last - sequences.timestamp_E // SECONDS_PER_DAY
        weight_E = torch.where(age_E >= 0, DAILY_DECAY**age_E, 0.0).double()
        gram_HH = (f_EH * weight_E[:, None]).T @ f_EH + RIDGE_PENALTY * torch.eye(f_EH.shape[1])
        expected_H = torch.linalg.solve(gram_HH, f_EH.T @ (weight_E * residual_E))
        assert torch.allclose(layer.coefficients_YZF[NUM_DAYS - 4 + last, 0].double(), expected_H, atol=1e-5)


def test_segments_with_different_preferences_are_separated() -> None:
    sequences = daily_sequences(num_users=40, events=12, num_days=1)
    segment_E = CATEGORY_BC[:, 0].repeat_interleave(12)
    residual_E = torch.where(sequences.video_E % 3 == segment_E, 1.0, -0.5)
    layer = fit_layer(sequences, residual_E)
    batch = sequences.padded_batch(all_users(sequences), 99)
    predicted_BT = predict(layer, sequences)
    preferred_BT = batch.video_BT % 3 == CATEGORY_BC
    assert predicted_BT[preferred_BT].mean() > predicted_BT[~preferred_BT].mean() + 0.05
    for segment in range(3):
        member_BT = (segment == CATEGORY_BC).expand_as(preferred_BT)
        assert predicted_BT[preferred_BT & member_BT].mean() > predicted_BT[~preferred_BT & member_BT].mean()


def test_a_changed_preference_is_known_before_and_after() -> None:
    sequences = daily_sequences(num_days=2)
    even_E, later_E = sequences.video_E % 2 == 0, sequences.timestamp_E >= SECONDS_PER_DAY
    layer = fit_layer(sequences, torch.where(even_E ^ later_E, 1.0, -1.0))
    batch, predicted_BT = sequences.padded_batch(all_users(sequences), 99), predict(layer, sequences)
    even_BT, later_BT = batch.video_BT % 2 == 0, batch.day_BT > 0
    assert predicted_BT[even_BT & ~later_BT].mean() > predicted_BT[~even_BT & ~later_BT].mean()
    assert predicted_BT[even_BT & later_BT].mean() < predicted_BT[~even_BT & later_BT].mean()


@settings(max_examples=20, deadline=None)
@given(day=st.integers(0, 2))
def test_later_days_do_not_change_earlier_coefficients(
    day: int,
) -> None:
    sequences, generator = daily_sequences(), torch.Generator().manual_seed(2)
    residual_E = torch.randn(480, generator=generator)
    later_E = sequences.timestamp_E // SECONDS_PER_DAY > day
    other_residual_E = torch.where(later_E, torch.randn(480, generator=generator), residual_E)
    before, after = fit_layer(sequences, residual_E), fit_layer(sequences, other_residual_E)
    known = NUM_DAYS - 4 + day + 1
    assert torch.equal(before.coefficients_YZF[:known], after.coefficients_YZF[:known])
    assert not torch.equal(before.coefficients_YZF[known], after.coefficients_YZF[known])


def test_days_after_training_use_the_last_coefficients() -> None:
    sequences = daily_sequences()
    layer = fit_layer(sequences, torch.where(sequences.video_E % 2 == 0, 1.0, -1.0))
    last, later, old = (
        replace(sequences, timestamp_E=sequences.timestamp_E + by * SECONDS_PER_DAY) for by in (3, 30, -90)
    )
    assert torch.equal(predict(layer, last), predict(layer, later))
    assert predict(layer, last).any()
    assert not predict(layer, old).any()


def test_the_first_day_includes_all_earlier_days() -> None:
    sequences = daily_sequences(num_users=4, events=40, num_days=40)
    residual_E = torch.randn(160, generator=torch.Generator().manual_seed(5))
    layer = fit_layer(sequences, residual_E, sizes=())
    f_EH = layer.kernel_features(aligned_vectors())[sequences.video_E].mean(1).double()
    age_E = 39 - (NUM_DAYS - 1) - sequences.timestamp_E // SECONDS_PER_DAY
    assert (age_E > 0).any()
    weight_E = torch.where(age_E >= 0, DAILY_DECAY**age_E, 0.0).double()
    gram_HH = (f_EH * weight_E[:, None]).T @ f_EH + RIDGE_PENALTY * torch.eye(f_EH.shape[1])
    expected_H = torch.linalg.solve(gram_HH, f_EH.T @ (weight_E * residual_E))
    assert torch.allclose(layer.coefficients_YZF[0, 0].double(), expected_H, atol=1e-5)


def test_chunks_of_events_do_not_change_the_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = daily_sequences()
    residual_E = torch.randn(480, generator=torch.Generator().manual_seed(6))
    whole = fit_layer(sequences, residual_E).coefficients_YZF
    monkeypatch.setattr(group_preference, "CHUNK_EVENTS", 7)
    assert torch.allclose(fit_layer(sequences, residual_E).coefficients_YZF, whole, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(videos=st.integers(100, 700))
def test_landmarks_are_spread_over_the_modalities(videos: int) -> None:
    x_VMD = torch.zeros(videos, M, D)
    x_VMD[:, torch.arange(M), torch.arange(M)] = 1.0  # each modality points in its own direction
    layer = GroupPreference((), D)
    layer._fit_kernel_pca(x_VMD)
    num_landmarks_M = layer.landmark_LD.sum(0)[:M]
    assert num_landmarks_M.sum() == min(NUM_LANDMARKS, videos * M)
    assert num_landmarks_M.max() - num_landmarks_M.min() <= 2


def test_without_columns_profiles_change_nothing() -> None:
    sequences = daily_sequences()
    layer = fit_layer(sequences, torch.randn(480, generator=torch.Generator().manual_seed(3)), sizes=())
    batch = sequences.padded_batch(all_users(sequences), 99)
    assert torch.equal(
        layer(CATEGORY_BC, batch, aligned_vectors()), layer(CATEGORY_BC.flip(0), batch, aligned_vectors())
    )
    empty_sequences = make_sequences((0, 0))
    fresh = fit_layer(empty_sequences, torch.zeros(0))
    assert fresh.coefficients_YZF.eq(0).all()
    assert not predict(fresh, sequences).any()
