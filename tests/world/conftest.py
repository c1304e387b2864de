from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.world.worlds import CLEAN, days
from world.deliver import make


@dataclass(frozen=True)
class Made:
    """A world on disk."""

    landing: Path
    truth: Path
    counts: dict[str, int]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The tiny world, made once; for reading only."""
    out = tmp_path_factory.mktemp("world")
    return Made(
        out / "landing", out / "truth", make(days(), CLEAN, out / "landing", out / "truth", workers=1)
    )
