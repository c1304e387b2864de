"""Which heavy packages a command loads before it does anything. Seconds differ by machine, modules do not."""

import subprocess
import sys
from itertools import groupby

import pytest

from core.paths import PROJECT_ROOT
from core.step_graph import STEPS

DATA_FRAMES = {"numpy", "pandas", "polars", "pyarrow", "pyiceberg"}
HEAVY = {
    "airflow",
    "great_expectations",
    "matplotlib",
    "mlflow",
    "pandas",
    "pyspark",
    "scipy",
    "torch",
    "transformers",
}
MODEL = {"scipy", "torch"}
MLFLOW = {"mlflow", "pandas", "pyspark", "scipy"}  # mlflow loads the others
# Heavy packages that a step may load at its start, because every run of it needs them.
MAY_LOAD: dict[str, set[str]] = {
    "ingest": set(),
    "clean": {"pyspark"},
    "embed": {*MODEL, "transformers"},
    "check": {"great_expectations", "pandas", "pyspark", "scipy"},
    "sequences": {"pyspark"},
    "snapshot": set(),
    "align": MODEL,
    "train": {*MODEL, *MLFLOW},
    "evaluate": MODEL,
    "gate": set(),
    "promote": {*MODEL, *MLFLOW},
    "record": set(),
    "report": {"matplotlib"},
}


def loaded_by(*modules: str) -> set[str]:
    """Return the top-level packages that are loaded after modules were imported."""
    packages = "{name.partition('.')[0] for name in sys.modules}"
    # PySpark exits if the main module has no file.
    code = f"__file__ = 'a script'; import sys, {', '.join(modules)}; print(*{packages})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True).stdout.split())


# Steps that may load the same packages share a process, because each process loads them anew.
BY_PACKAGES = sorted(MAY_LOAD, key=lambda step: sorted(MAY_LOAD[step]))
SAME_PACKAGES = [list(steps) for _, steps in groupby(BY_PACKAGES, MAY_LOAD.__getitem__)]


@pytest.mark.parametrize("steps", SAME_PACKAGES, ids="-".join)
def test_a_step_starts_without_heavy_packages_that_it_does_not_need(steps: list[str]) -> None:
    loaded = loaded_by(*(f"tasks.{step}" for step in steps))
    assert "core" in loaded, "it was not imported"
    assert loaded & HEAVY <= MAY_LOAD[steps[0]]


def test_the_list_has_every_step() -> None:
    assert list(MAY_LOAD) == list(STEPS)


def test_the_help_of_the_command_line_loads_no_heavy_package() -> None:
    loaded = loaded_by("undercurrent.cli")
    assert "typer" in loaded
    assert not loaded & (HEAVY | DATA_FRAMES)


def test_commands_about_nights_start_without_heavy_packages() -> None:
    loaded = loaded_by(*(f"undercurrent.{name}" for name in ("steps", "night", "doctor", "status")))
    assert "core" in loaded
    assert not loaded & HEAVY
