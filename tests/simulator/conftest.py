import pytest

from simulator.writer import write_simulation
from tests.support.simulated_platforms import CLEAN, SimulatedPlatform, small_calendar


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlatform:
    """Simulate the tiny platform once. Tests must not change it."""
    out = tmp_path_factory.mktemp("simulator")
    return SimulatedPlatform(
        out / "landing",
        out / "ground_truth",
        write_simulation(small_calendar(), CLEAN, out / "landing", out / "ground_truth", workers=1),
    )
