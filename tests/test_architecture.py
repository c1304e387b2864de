"""The rules of the house that a program can hold: import directions, graphs, names, sizes."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pyspark
import pytest
import yaml

from contracts.params import Params
from contracts.place import PROJECT
from contracts.steps import STEPS
from tasks.promote import REQUIREMENTS

# package -> the packages of ours that it may import
MAY_IMPORT = {
    "contracts": set[str](),
    "models": set[str](),
    "spark_jobs": {"contracts"},
    "media": {"contracts"},
    "checks": {"contracts"},
    "world": {"contracts"},
    "tasks": {"contracts", "models", "spark_jobs", "media", "checks"},
    "ops": {"contracts"},
    "dags": {"contracts", "ops"},
}
OURS = {*MAY_IMPORT, "benchmarks", "tests", "serving"}
HEAVY = {"torch", "pyspark"}


def sources(package: str) -> list[Path]:
    return sorted((PROJECT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level name of every import in a file, inside functions too, and its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = path.parent.relative_to(PROJECT).parts[0] if node.level else str(node.module)
            yield name.split(".")[0], node.lineno


def order(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """step -> everything that must have ended before it, however far back."""

    def before(step: str) -> set[str]:
        return edges[step].union(*map(before, edges[step]))

    return {step: before(step) for step in edges}


def dvc_edges() -> dict[str, set[str]]:
    """stage -> the stages whose outputs it depends on."""
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    made = {Path(out): name for name, stage in stages.items() for out in _outputs(stage)}

    def makers(path: Path) -> set[str]:
        return {made[p] for p in made if p == path or p in path.parents or path in p.parents}

    return {name: set[str]().union(*(makers(Path(d)) for d in s["deps"])) for name, s in stages.items()}


def _outputs(stage: dict) -> list[str]:
    listed = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in listed]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    assert sources(package), f"{package}/ has no files"
    wrong = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in sources(package)
        for name, line in imported(path)
        if name in OURS - MAY_IMPORT[package] - {package}
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["contracts", "ops", "dags"])
def test_packages_of_the_scheduler_name_neither_torch_nor_pyspark_at_import(package: str) -> None:
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in sources(package)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for name in _names(node)
        if name in HEAVY
    ]
    assert not wrong


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [str(node.module).split(".")[0]] if isinstance(node, ast.ImportFrom) else []


def test_every_step_is_a_task_a_section_of_params_and_a_dvc_stage() -> None:
    sections = {field.name for field in fields(Params)} - {"night", "world"}
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert sections == set(STEPS)
    assert set(stages) == set(STEPS)
    assert [step for step in STEPS if not (PROJECT / "tasks" / f"{step}.py").exists()] == []


def test_a_stage_depends_on_every_file_of_tasks_that_its_step_imports() -> None:
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    changes_nothing = {"tracking"}  # what it tells MLflow is no output of a stage
    for step, stage in stages.items():
        held = {Path(dep).stem for dep in stage["deps"] if str(dep).startswith("tasks/")}
        assert of_tasks(step) - held - changes_nothing == set(), step


def of_tasks(name: str) -> set[str]:
    """A module of tasks and all that it imports of tasks, however far down."""
    reached, left = set[str](), {name}
    while left:
        reached |= left
        found = {module for one in left for module in _of_tasks(PROJECT / "tasks" / f"{one}.py")}
        left = found - reached
    return reached


def _of_tasks(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "tasks":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("tasks."):
            yield str(node.module).split(".")[1]


def test_every_stage_runs_its_step_and_tracks_its_section_of_params() -> None:
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        assert stage["cmd"] == f"python -m tasks.{name} --night ${{night}}"
        assert name in stage["params"]


def test_dvc_runs_the_steps_in_the_order_of_the_dag() -> None:
    assert order(dvc_edges()) == order({step: set(upstream) for step, upstream in STEPS.items()})


def test_every_step_is_listed_after_what_it_waits_for() -> None:
    listed = list(STEPS)
    assert all(listed.index(b) < listed.index(step) for step, before in STEPS.items() for b in before)


def test_no_file_in_dags_is_named_like_a_package() -> None:
    names = {path.stem for path in (PROJECT / "dags").iterdir()}
    taken = OURS | {name.split(".")[0] for name in sys.stdlib_module_names} | {"airflow", *HEAVY}
    assert not names & taken


def test_no_source_names_a_path_of_somebody_s_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    machine = re.compile(r"(?<![\w.{}$)])/(home|root|Users|work)/\w+")
    kinds = {".py", ".sh", ".yaml", ".toml", ".json", ".md", ".j2", ""}
    wrong = [
        f"{name}: {found.group()}"
        for name in listed
        if name and Path(name).suffix in kinds and (PROJECT / name).is_file()
        if (found := machine.search((PROJECT / name).read_text(encoding="utf-8", errors="replace")))
    ]
    assert not wrong


def test_pyspark_is_of_the_version_of_its_jars() -> None:
    """A provider once overwrote pyspark's Python files with those of another version."""
    jars = list((Path(pyspark.__file__).parent / "jars").glob("spark-core_*.jar"))
    assert [jar.stem.rpartition("-")[2] for jar in jars] == [pyspark.__version__]


def test_files_are_short_and_none_is_a_drawer_for_odds_and_ends() -> None:
    paths = [path for package in MAY_IMPORT for path in sources(package)]
    assert [str(p) for p in paths if p.stem in ("utils", "helpers", "common", "misc")] == []
    assert [str(p) for p in paths if len(p.read_text(encoding="utf-8").splitlines()) >= 300] == []


def test_an_installed_project_has_every_package_and_the_encoders_weights() -> None:
    tool = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent for name in (*MAY_IMPORT, "benchmarks") for path in sources(name)} - {
        PROJECT / "dags"
    }
    assert sorted(".".join(folder.relative_to(PROJECT).parts) for folder in folders) == sorted(
        tool["packages"]
    )
    kept = {path.name for glob in tool["package-data"]["models"] for path in (PROJECT / "models").glob(glob)}
    assert {"clip.safetensors", "clap.safetensors", "card.json"} <= kept


def test_nothing_swallows_every_exception() -> None:
    """`except Exception` (or a bare one) must raise again."""
    wrong = [
        f"{path.relative_to(PROJECT)}:{node.lineno}"
        for package in MAY_IMPORT
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and _catches_all(node)
        if not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]
    assert not wrong


def _catches_all(handler: ast.ExceptHandler) -> bool:
    broad = ("Exception", "BaseException")
    return handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id in broad)


def test_the_serve_extra_installs_what_a_registered_model_asks_for():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    installed = {re.match(r"[\w-]+", requirement)[0] for requirement in listed}
    assert set(REQUIREMENTS) <= installed
