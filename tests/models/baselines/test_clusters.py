"""Clusters of content: found, seeded, and with fewer videos than clusters."""

import torch

from models.baselines.clusters import fit_centres, nearest_centre


def test_planted_clusters_are_found() -> None:
    torch.manual_seed(0)
    center_KF = 10 * torch.randn(4, 3)
    group_N = torch.arange(80) % 4
    x_NF = center_KF[group_N] + 0.1 * torch.randn(80, 3)
    cluster_N = nearest_centre(x_NF, fit_centres(x_NF, 4))
    pairs = torch.stack([group_N, cluster_N], 1).unique(dim=0)
    assert len(pairs) == len(cluster_N.unique()) == 4


def test_the_same_videos_give_the_same_centres() -> None:
    x_NF = torch.randn(50, 3)
    assert torch.equal(fit_centres(x_NF, 8), fit_centres(x_NF.clone(), 8))


def test_fewer_videos_than_clusters_repeat_a_centre() -> None:
    x_NF = torch.tensor([[0.0, 1.0], [5.0, 5.0], [5.0, 5.0]])
    centres_KF = fit_centres(x_NF, 5)
    assert centres_KF.shape == (5, 2)
    assert len(centres_KF.unique(dim=0)) == 2
    first, second, third = nearest_centre(x_NF, centres_KF).tolist()
    assert first != second == third
