"""Places by counting against plain sorting, and places by screening against the dense form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from models import ranks as module
from models.histories import Seen
from models.ranks import At, Score, first_places, ranks, top

VIDEOS = 7
scores = hnp.arrays(
    np.float32, (3, VIDEOS), elements=st.sampled_from([-2.0, -0.0, 0.0, 0.5, 0.5000001, 3.0, -np.inf])
)


def by_sorting(score_V: np.ndarray) -> list[int]:
    """The rows from best to worst, ties by row."""
    return sorted(range(len(score_V)), key=lambda row: (-score_V[row], row))


@settings(max_examples=60)
@given(scores)
def test_counting_ranks_equals_sorting(score_BV: np.ndarray) -> None:
    user_P, row_P = np.nonzero(np.isfinite(score_BV))
    if len(user_P):
        found = ranks(torch.from_numpy(score_BV), torch.from_numpy(user_P), torch.from_numpy(row_P))
        expected = [by_sorting(score_BV[u]).index(v) + 1 for u, v in zip(user_P, row_P, strict=True)]
        assert found.tolist() == expected


@settings(max_examples=60)
@given(scores, st.integers(1, VIDEOS + 2))
def test_the_top_equals_sorting_with_ties_by_row(score_BV: np.ndarray, k: int) -> None:
    found = top(torch.from_numpy(score_BV), k)
    assert found.tolist() == [by_sorting(score_V)[:k] for score_V in score_BV]


def test_a_masked_target_and_a_broken_score_are_refused() -> None:
    zero = torch.tensor([0])
    with pytest.raises(ValueError, match="a target is among the masked videos"):
        ranks(torch.tensor([[-torch.inf, 1.0]]), zero, zero)
    with pytest.raises(ValueError, match="not a number"):
        ranks(torch.tensor([[1.0, torch.nan]]), zero, zero)


def inner_products(z_UD: Tensor, x_VD: Tensor, log: list[int] | None = None) -> module.Read:
    """A reader of inner products; the log tells how many scores each call gave."""

    def read(users_B: Tensor) -> Score:
        def score(at: At, rows: At) -> Tensor:
            found = z_UD[users_B][at] @ x_VD[rows].T
            if log is not None:
                log.append(found.numel())
            return found

        return score

    return read


def world(seed: int, users: int, videos: int) -> tuple[Tensor, Tensor, Seen, Tensor, Tensor]:
    """Vectors with many equal ones, what was seen, and targets among the rest."""
    draw = torch.Generator().manual_seed(seed)
    z_UD = torch.randint(-2, 3, (users, 4), generator=draw).float()
    x_VD = torch.randint(-2, 3, (videos, 4), generator=draw).float()
    seen_UV = torch.rand(users, videos, generator=draw) < 0.2
    seen_UV[:, 0] = False
    offsets = torch.nn.functional.pad(seen_UV.sum(1).cumsum(0), (1, 0))
    target_UV = (torch.rand(users, videos, generator=draw) < 0.1) & ~seen_UV
    target_UV[1:, 0] = True  # the first user may have none
    user_P, row_P = target_UV.nonzero().unbind(1)
    return z_UD, x_VD, Seen(offsets, seen_UV.nonzero()[:, 1]), user_P, row_P


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(2, 30), st.integers(2, 60), st.integers(1, 12), st.integers(1, 4000)
)
def test_screening_gives_the_places_of_the_dense_form(
    seed: int, users: int, videos: int, stop: int, chunk: int
) -> None:
    z_UD, x_VD, seen, user_P, row_P = world(seed, users, videos)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_SCORES", chunk)
        found = list(first_places(inner_products(z_UD, x_VD), seen, user_P, row_P, videos, stop))
    dense_UV = (z_UD @ x_VD.T).masked_fill(seen.mask(torch.arange(users), videos), -torch.inf)
    assert torch.equal(torch.cat([user for user, _ in found]), user_P)
    expected = ranks(dense_UV, user_P, row_P).clamp(max=stop + 1)
    assert torch.equal(torch.cat([rank for _, rank in found]), expected)


def test_screening_scores_a_fraction_of_the_catalogue_and_holds_no_more_than_it_may() -> None:
    draw = torch.Generator().manual_seed(1)
    users, videos = 200, 20_000
    z_UD, x_VD = torch.randn(users, 8, generator=draw), torch.randn(videos, 8, generator=draw)
    user_P, row_P = torch.arange(users), torch.randint(videos, (users,), generator=draw)
    nothing = Seen(torch.zeros(users + 1, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    scored: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_SCORES", 100_000)
        list(first_places(inner_products(z_UD, x_VD, scored), nothing, user_P, row_P, videos, 10))
    assert max(scored) <= 100_000
    sample = module.SAMPLE * videos
    assert sum(scored) - sample < 0.25 * users * videos
