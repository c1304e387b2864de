"""Places up to a cut-off against the dense form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import first_places as module
from models import ranks as memory
from models.first_places import At, Score, first_places
from models.histories import Seen
from models.ranks import ranks


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
        patch.setattr(memory, "CHUNK_SCORES", chunk)
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
        patch.setattr(memory, "CHUNK_SCORES", 100_000)
        list(first_places(inner_products(z_UD, x_VD, scored), nothing, user_P, row_P, videos, 10))
    assert max(scored) <= 100_000
    sample = module.SAMPLE * videos
    assert sum(scored) - sample < 0.25 * users * videos
