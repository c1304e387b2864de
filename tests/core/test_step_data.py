import yaml

from core.paths import PROJECT_ROOT
from core.step_data import STEP_DATA, STORES
from core.step_graph import STEPS
from core.tables import TABLES


def test_every_step_has_data_and_every_name_has_a_meaning():
    assert list(STEP_DATA) == list(STEPS)
    names = {name for data in STEP_DATA.values() for name in (*data.reads, *data.writes)}
    assert {name for name in names if not name.endswith("/")} <= {*TABLES, *STORES}


def test_the_folders_are_those_of_dvc_yaml():
    stages = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for step, data in STEP_DATA.items():
        outputs = [*stages[step].get("outs", []), *stages[step].get("metrics", [])]
        assert _folders(outputs) == {name for name in data.writes if name.endswith("/")}, step
        if step != "record":  # DVC knows its inputs only as the run manifest of promote
            assert _folders(stages[step]["deps"]) == {name for name in data.reads if name.endswith("/")}, step


def _folders(listed: list) -> set[str]:
    """The folders of the night's workspace without the run manifests, such as `train/`."""
    names = [next(iter(item)) if isinstance(item, dict) else item for item in listed]
    parts = [name.split("/") for name in names if name.startswith("night/")]
    return {f"{part[1]}/" for part in parts} - {"run_manifests/"}
