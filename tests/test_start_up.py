"""Which heavy packages a command loads before it does anything. Seconds differ by machine, modules do not."""

import subprocess
import sys

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


def loaded_by(module: str) -> set[str]:
    """Return the top-level packages that are loaded after a module was imported."""
    packages = "{name.partition('.')[0] for name in sys.modules}"
    # PySpark exits if the main module has no file.
    code = f"__file__ = 'a script'; import sys, {module}; print(*{packages})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("step", MAY_LOAD)
def test_a_step_starts_without_heavy_packages_that_it_does_not_need(step: str) -> None:
    loaded = loaded_by(f"tasks.{step}")
    assert "core" in loaded, "it was not imported"
    assert loaded & HEAVY <= MAY_LOAD[step]


def test_the_list_has_every_step() -> None:
    assert list(MAY_LOAD) == list(STEPS)


def test_the_help_of_the_command_line_loads_no_heavy_package() -> None:
    loaded = loaded_by("undercurrent.cli")
    assert "typer" in loaded
    assert not loaded & (HEAVY | DATA_FRAMES)


@pytest.mark.parametrize("module", ["steps", "night", "doctor", "status"])
def test_commands_about_nights_start_without_heavy_packages(module: str) -> None:
    loaded = loaded_by(f"undercurrent.{module}")
    assert "core" in loaded
    assert not loaded & HEAVY
