"""The rules of the house that a program can hold: import directions, graphs, names, sizes."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from graphlib import TopologicalSorter
from pathlib import Path

import pyspark
import pytest
import yaml

from core.config import Params
from core.paths import PROJECT_ROOT
from core.step_graph import STEPS
from tasks.promote import REQUIREMENTS

# package -> the packages of ours that it may import
STEP_LIBRARIES = {"checks", "evaluation", "features", "lake", "media", "registry", "reporting", "spark_jobs"}
MODEL_HALF = {"models", "snapshots", "training"}
MAY_IMPORT = {
    "core": set[str](),
    "models": set[str](),
    "lake": {"core"},
    "checks": {"core"},
    "media": {"core"},
    "reporting": {"core"},
    "simulator": {"core"},
    "spark_jobs": {"core", "lake"},
    "features": {"core", "lake", "media", "models"},
    "snapshots": {"core", "models"},
    "training": {"core", "models", "snapshots"},
    "evaluation": {"core", "models", "snapshots"},
    "registry": {"core", "models"},
    "datasets": {"core", "models"},
    "tasks": {"core", *STEP_LIBRARIES, *MODEL_HALF},
    "undercurrent": {"core", "datasets", "ops", "tasks", *STEP_LIBRARIES, *MODEL_HALF},
    "benchmarks": {
        "core",
        "datasets",
        "ops",
        "simulator",
        "tasks",
        "undercurrent",
        *STEP_LIBRARIES,
        *MODEL_HALF,
    },
    "research": {"benchmarks", "core", "datasets", "simulator", "tasks", *STEP_LIBRARIES, *MODEL_HALF},
    "ops": {"core"},
    "dags": {"core", "ops"},
}
OURS = {*MAY_IMPORT, "tests", "serving"}
HEAVY = {"torch", "pyspark"}
MAX_FUNCTION_LINES = 63


def sources(package: str) -> list[Path]:
    return sorted((PROJECT_ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level name of every import in a file, inside functions too, and its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = path.parent.relative_to(PROJECT_ROOT).parts[0] if node.level else str(node.module)
            yield name.split(".")[0], node.lineno


def order(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """step -> everything that must have ended before it, however far back."""

    def before(step: str) -> set[str]:
        return edges[step].union(*map(before, edges[step]))

    return {step: before(step) for step in edges}


def dvc_edges() -> dict[str, set[str]]:
    """stage -> the stages whose outputs it depends on."""
    stages = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
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
        f"{path.relative_to(PROJECT_ROOT)}:{line} imports {name}"
        for path in sources(package)
        for name, line in imported(path)
        if name in OURS - MAY_IMPORT[package] - {package}
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["core", "lake", "ops", "dags"])
def test_packages_of_the_scheduler_name_neither_torch_nor_pyspark_at_import(package: str) -> None:
    wrong = [
        f"{path.relative_to(PROJECT_ROOT)} imports {name}"
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
    sections = {field.name for field in fields(Params)} - {"night", "simulator", "privacy"}
    stages = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert sections == set(STEPS)
    assert set(stages) == set(STEPS)
    assert [step for step in STEPS if not (PROJECT_ROOT / "tasks" / f"{step}.py").exists()] == []


def test_a_stage_depends_on_all_code_that_its_step_imports() -> None:
    """`core` and `lake` stand at the first stage; what a step reports to MLflow is no output."""
    stages = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    reported = (PROJECT_ROOT / "registry" / name for name in ("system_metrics.py", "tracking.py"))
    not_listed = (PROJECT_ROOT / "core", PROJECT_ROOT / "lake", *reported)
    for step, stage in stages.items():
        listed = tuple(PROJECT_ROOT / dep for dep in stage["deps"])
        missing = [
            str(path.relative_to(PROJECT_ROOT))
            for path in reachable(PROJECT_ROOT / "tasks" / f"{step}.py")
            if path.name != "__init__.py" and not _is_below(path, (*listed, *not_listed))
        ]
        assert not missing, step


def _is_below(path: Path, places: Sequence[Path]) -> bool:
    return any(place == path or place in path.parents for place in places)


def reachable(path: Path) -> set[Path]:
    """A file of ours and all files of ours that it imports, directly or not."""
    reached, left = set[Path](), {path}
    while left:
        reached |= left
        left = {target for source in left for target in our_imports(source)} - reached
    return reached


def our_imports(path: Path) -> set[Path]:
    """The files of ours that a file imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {file for name in names if (file := _file_of(name))}


def _file_of(name: str) -> Path | None:
    base = PROJECT_ROOT.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def test_no_modules_import_one_another_in_a_circle() -> None:
    paths = [path for package in MAY_IMPORT for path in sources(package) if path.name != "__init__.py"]
    graph = {path: our_imports(path) & set(paths) - {path} for path in paths}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_the_sub_packages_of_models_form_no_circle() -> None:
    room = {path: path.relative_to(PROJECT_ROOT / "models").parts[0] for path in sources("models")}
    graph: dict[str, set[str]] = {name: set() for name in room.values()}
    for path, name in room.items():
        graph[name] |= {room[target] for target in our_imports(path) if target in room} - {name}
    graph["__init__.py"] = set()
    assert list(TopologicalSorter(graph).static_order())


def test_data_sets_know_only_the_tensors_of_models() -> None:
    wrong = [
        f"{path.relative_to(PROJECT_ROOT)} imports {target.relative_to(PROJECT_ROOT)}"
        for path in sources("datasets")
        for target in our_imports(path)
        if target.is_relative_to(PROJECT_ROOT / "models") and target.name != "__init__.py"
        if not target.is_relative_to(PROJECT_ROOT / "models" / "data")
    ]
    assert not wrong


def test_every_stage_runs_its_step_and_tracks_its_section_of_params() -> None:
    stages = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        assert stage["cmd"] == f"python -m tasks.{name} --night ${{night}}"
        assert name in stage["params"]


def test_dvc_runs_the_steps_in_the_order_of_the_dag() -> None:
    assert order(dvc_edges()) == order({step: set(upstream) for step, upstream in STEPS.items()})


def test_every_step_is_listed_after_what_it_waits_for() -> None:
    listed = list(STEPS)
    assert all(listed.index(b) < listed.index(step) for step, before in STEPS.items() for b in before)


def test_no_file_in_dags_is_named_like_a_package() -> None:
    names = {path.stem for path in (PROJECT_ROOT / "dags").iterdir()}
    taken = OURS | {name.split(".")[0] for name in sys.stdlib_module_names} | {"airflow", *HEAVY}
    assert not names & taken


def test_no_source_names_a_path_of_somebody_s_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    machine = re.compile(r"(?<![\w.{}$)])/(home|root|Users|work)/\w+")
    kinds = {".py", ".sh", ".yaml", ".toml", ".json", ".md", ".j2", ""}
    wrong = [
        f"{name}: {found.group()}"
        for name in listed
        if name and Path(name).suffix in kinds and (PROJECT_ROOT / name).is_file()
        if (found := machine.search((PROJECT_ROOT / name).read_text(encoding="utf-8", errors="replace")))
    ]
    assert not wrong


def test_pyspark_is_of_the_version_of_its_jars() -> None:
    """A provider once overwrote pyspark's Python files with those of another version."""
    jars = list((Path(pyspark.__file__).parent / "jars").glob("spark-core_*.jar"))
    assert [jar.stem.rpartition("-")[2] for jar in jars] == [pyspark.__version__]


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    paths = [path for package in MAY_IMPORT for path in sources(package)]
    assert [str(p) for p in paths if p.stem in ("utils", "helpers", "common", "misc")] == []


def test_functions_fit_on_a_screen() -> None:
    wrong = [
        f"{path.relative_to(PROJECT_ROOT)}:{node.lineno} {node.name}"
        for package in MAY_IMPORT
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno
        if node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not wrong


def test_an_installed_project_has_every_package_and_the_encoders_weights() -> None:
    tool = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent for name in MAY_IMPORT for path in sources(name)} - {PROJECT_ROOT / "dags"}
    assert sorted(".".join(folder.relative_to(PROJECT_ROOT).parts) for folder in folders) == sorted(
        tool["packages"]
    )
    kept = {
        path.name for glob in tool["package-data"]["models"] for path in (PROJECT_ROOT / "models").glob(glob)
    }
    assert {"clip.safetensors", "clap.safetensors", "card.json"} <= kept


def test_nothing_swallows_every_exception() -> None:
    """`except Exception` (bare, or one of several) raises again; `suppress(Exception)` is never used."""
    wrong = [
        f"{path.relative_to(PROJECT_ROOT)}:{node.lineno}"
        for package in MAY_IMPORT
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ExceptHandler) and _catches_all(node) and not _raises(node))
        or (isinstance(node, ast.Call) and _suppresses_all(node))
    ]
    assert not wrong


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(inner, ast.Raise) for inner in ast.walk(handler))


def _catches_all(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(error is None or _is_broad(error) for error in caught)


def _suppresses_all(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "suppress" and any(_is_broad(error) for error in call.args)


def _is_broad(error: ast.expr) -> bool:
    return isinstance(error, ast.Name) and error.id in ("Exception", "BaseException")


def test_the_rules_see_what_they_forbid() -> None:
    broad = ast.parse("try: f()\nexcept (Exception, KeyError): pass").body[0].handlers[0]  # type: ignore[attr-defined]
    assert _catches_all(broad)
    assert not _raises(broad)
    assert _suppresses_all(ast.parse("contextlib.suppress(Exception)").body[0].value)  # type: ignore[attr-defined]


def test_the_serve_extra_installs_what_a_registered_model_asks_for():
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    installed = {re.match(r"[\w-]+", requirement)[0] for requirement in listed}
    assert set(REQUIREMENTS) <= installed


# Words that this project once used in a meaning of its own -> the standard term.
BANNED_IN_PROSE = {
    r"beside": "compared with, next to",
    r"told|tells": "given, reports",
    r"goes by|go by": "prefers, weights",
    r"by lot": "at random, by hash bucket",
    r"foretell\w*|foretold": "predict",
    r"what becomes of|what became of|what comes of|what came of": "result",
    r"but for": "except",
    r"those of whom": "rephrase",
    r"wished for|aimed at": "target",
    r"worth nothing|is worth": "improves by, has no effect",
    r"says which": "identifies",
    r"nobody|everybody": "no user, all users",
    r"likeness": "similarity",
    r"goes away": "is deleted",
    r"speaks against": "blocks",
    r"no chance": "significant",
    r"as it came": "unchanged",
    r"mended": "repaired",
    r"twins?": "near duplicates",
    r"viewings": "interactions",
    r"receipts?": "run manifests",
}
BANNED_IN_NAMES = {
    "answer", "answers", "audience", "dirt", "everybody", "findings", "found", "histories", "kinds",
    "likeness", "lots", "nobody", "people", "person", "pinned", "receipt", "receipts", "settle", "told",
    "twins", "viewing", "viewings", "world",
}  # fmt: skip


def prose_of(path: Path) -> str:
    """The docstrings and comments of a Python file."""
    text = path.read_text(encoding="utf-8")
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    docs = [
        ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join([*docs, *(token.string for token in tokens if token.type == tokenize.COMMENT)])


@pytest.mark.parametrize("package", [*MAY_IMPORT, "docs"])
def test_prose_uses_standard_words(package: str) -> None:
    pattern = re.compile(rf"\b({'|'.join(BANNED_IN_PROSE)})\b", re.IGNORECASE)
    if package == "docs":
        pages = [*sorted((PROJECT_ROOT / "docs").rglob("*.md")), *PROJECT_ROOT.glob("*.md")]
        texts = {page: page.read_text(encoding="utf-8") for page in pages}
    else:
        texts = {path: prose_of(path) for path in sources(package)}
    wrong = [
        f"{path.relative_to(PROJECT_ROOT)}: …{text[max(0, match.start() - 30) : match.end() + 20]!r}…"
        for path, text in texts.items()
        for match in pattern.finditer(text)
    ]
    assert not wrong


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_names_use_standard_words(package: str) -> None:
    wrong = [
        f"{path.relative_to(PROJECT_ROOT)}:{token.start[0]} {token.string}"
        for path in sources(package)
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        if token.type == tokenize.NAME and _without_shape(token.string) in BANNED_IN_NAMES
    ]
    assert not wrong


def _without_shape(name: str) -> str:
    """`told_BT` -> `told`, `_answers` -> `answers`."""
    return re.sub(r"_[A-Z0-9]+$", "", name).strip("_").lower()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_docstrings_name_real_parameters_and_attributes(package: str) -> None:
    wrong = [
        f"{path.relative_to(PROJECT_ROOT)}:{node.lineno} {node.name}: {name}"
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        for section, known in (("Args", _parameters(node)), ("Attributes", _attributes(node)))
        for name in _documented(section, ast.get_docstring(node) or "")
        if name not in known
    ]
    assert not wrong


def _documented(section: str, doc: str) -> list[str]:
    """The names before the colons of a section of a docstring."""
    match = re.search(rf"(?m)^{section}:\n((?:    .*\n?|\n)+)", doc)
    heads = re.findall(r"(?m)^ {4}(\w[\w, ]*):", match[1]) if match else []
    return [name.strip() for head in heads for name in head.split(",")]


def _parameters(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """The parameters of a function, or of the constructor of a class."""
    if isinstance(node, ast.FunctionDef):
        return {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}
    inits = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    return _parameters(inits[0]) if inits else _attributes(node)


def _attributes(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """The fields, properties and instance attributes of a class."""
    parts = list(ast.walk(node))
    targets = [n.target for n in parts if isinstance(n, ast.AnnAssign)]
    targets += [target for n in parts if isinstance(n, ast.Assign) for target in n.targets]
    fields_ = {target.id for target in targets if isinstance(target, ast.Name)}
    methods = {n.name for n in parts if isinstance(n, ast.FunctionDef)}
    return fields_ | methods | {n.attr for n in parts if isinstance(n, ast.Attribute)}


def test_a_stale_name_in_a_docstring_is_seen() -> None:
    doc = "Train.\n\nArgs:\n    model: The model.\n    old, seed: Two more.\n        Indented: no name.\n"
    assert _documented("Args", doc) == ["model", "old", "seed"]
    assert _parameters(ast.parse("def train(model, *, seed): ...").body[0]) == {"model", "seed"}  # type: ignore[arg-type]
