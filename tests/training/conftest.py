"""A small night to train on, and training that is not reported to MLflow."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from core.config import load_params
from core.paths import PROJECT_ROOT, Night
from registry import tracking
from tasks import align
from tests.support.snapshots import plant


@pytest.fixture(scope="module", autouse=True)
def _no_tracking() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log_run", lambda *_: "not logged")
        yield


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """40 users and 50 videos, after align."""
    night = plant(tmp_path_factory.mktemp("night"), users=40, videos=50)
    align.run(replace(load_params(PROJECT_ROOT / "params.yaml").align, width=16, epochs=1), night)
    return night
