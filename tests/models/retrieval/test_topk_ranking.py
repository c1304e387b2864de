"""Top-k ranking with pruning equals the full ranking."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.data.sequences import SeenItems
from models.retrieval import full_ranking as memory
from models.retrieval import topk_ranking as module
from models.retrieval.full_ranking import target_ranks
from models.retrieval.topk_ranking import Index, ScoreFn, topk_ranks


def inner_products(z_UD: Tensor, x_VD: Tensor, scored_counts: list[int] | None = None) -> module.EncodeFn:
    """Return scores by inner products. `scored_counts` collects the number of scores of each call."""

    def encode(users_B: Tensor) -> ScoreFn:
        def score(index: Index, rows: Index) -> Tensor:
            results = z_UD[users_B][index] @ x_VD[rows].T
            if scored_counts is not None:
                scored_counts.append(results.numel())
            return results

        return score

    return encode


def random_data(seed: int, users: int, videos: int) -> tuple[Tensor, Tensor, SeenItems, Tensor, Tensor]:
    """Return vectors with many equal ones, seen videos, and targets among the others."""
    generator = torch.Generator().manual_seed(seed)
    z_UD = torch.randint(-2, 3, (users, 4), generator=generator).float()
    x_VD = torch.randint(-2, 3, (videos, 4), generator=generator).float()
    seen_UV = torch.rand(users, videos, generator=generator) < 0.2
    seen_UV[:, 0] = False
    offsets = torch.nn.functional.pad(seen_UV.sum(1).cumsum(0), (1, 0))
    target_UV = (torch.rand(users, videos, generator=generator) < 0.1) & ~seen_UV
    target_UV[1:, 0] = True  # the first user may have no target
    user_P, row_P = target_UV.nonzero().unbind(1)
    return z_UD, x_VD, SeenItems(offsets, seen_UV.nonzero()[:, 1]), user_P, row_P


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(2, 30), st.integers(2, 60), st.integers(1, 12), st.integers(1, 4000)
)
def test_pruning_gives_the_ranks_of_the_full_ranking(
    seed: int, users: int, videos: int, k: int, chunk: int
) -> None:
    z_UD, x_VD, seen, user_P, row_P = random_data(seed, users, videos)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "CHUNK_SCORES", chunk)
        results = list(topk_ranks(inner_products(z_UD, x_VD), seen, user_P, row_P, videos, k))
    dense_UV = (z_UD @ x_VD.T).masked_fill(seen.mask(torch.arange(users), videos), -torch.inf)
    assert torch.equal(torch.cat([user for user, _ in results]), user_P)
    expected = target_ranks(dense_UV, user_P, row_P).clamp(max=k + 1)
    assert torch.equal(torch.cat([rank for _, rank in results]), expected)


def test_pruning_scores_a_fraction_of_the_catalogue() -> None:
    generator = torch.Generator().manual_seed(1)
    users, videos = 200, 20_000
    z_UD, x_VD = torch.randn(users, 8, generator=generator), torch.randn(videos, 8, generator=generator)
    user_P, row_P = torch.arange(users), torch.randint(videos, (users,), generator=generator)
    nothing = SeenItems(torch.zeros(users + 1, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    scored: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "CHUNK_SCORES", 100_000)
        list(topk_ranks(inner_products(z_UD, x_VD, scored), nothing, user_P, row_P, videos, 10))
    assert max(scored) <= 100_000
    sample = module.MAX_SAMPLE_USERS * videos
    assert sum(scored) - sample < 0.25 * users * videos
