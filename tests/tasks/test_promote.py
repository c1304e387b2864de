import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from core.config import PromoteConfig, load_params
from core.errors import InputError
from core.hashing import hash_bundle, hash_file
from core.paths import APPROVAL_FILE, PROJECT_ROOT, Night
from core.run_manifests import RunManifest, write_json
from registry import model_registry
from registry.model_registry import ModelRegistry
from tasks import gate, promote
from tests.support.command_line import undercurrent
from tests.support.workspaces import sample_night
from undercurrent import rollback

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
FIRST, SECOND, THIRD = date(2026, 3, 12), date(2026, 3, 13), date(2026, 3, 14)


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database for all tests of this file, because creating one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def model(home: Path, tracking: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate registered model for each test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    monkeypatch.setenv("UNDERCURRENT_MODEL", request.node.name)


def judged_night(
    tmp_path: Path,
    day: date,
    champion: str | None,
    seed: int | None = None,
    better: bool = True,
    incumbent: str | None = None,
) -> Night:
    """A judged night. Each seed gives another bundle."""
    folder = tmp_path / f"night-{day}-{seed}-{champion}-{incumbent}"
    night = sample_night(folder, day, champion, seed=seed or day.day, incumbent=incumbent)
    if not better:
        path = night.workspace / "evaluate/details.json"
        metrics = json.loads(path.read_text())
        metrics["differences"]["incumbent" if incumbent else "champion"]["ndcg@10"] |= {"low": -0.01}
        write_json(path, metrics)
    gate.run(PARAMS.gate, night)
    return night


def run(night: Night) -> dict[str, Any]:
    return dict(promote.run(PARAMS.promote, night).facts)


def aliases() -> dict[str, str | None]:
    models = ModelRegistry()
    held = {name: models.get_by_alias(name) for name in ("champion", "challenger", "previous")}
    return {name: version.number if version else None for name, version in held.items()}


def test_the_first_promoted_challenger_is_the_champion(tmp_path):
    night = judged_night(tmp_path, FIRST, None)
    facts = run(night)
    assert aliases() == {"champion": "1", "challenger": "1", "previous": None}
    assert facts["outcome"] == "is now the champion; there was none before"
    tags = ModelRegistry().versions()[0].tags
    assert tags["night"] == str(FIRST)
    assert tags["gate_verdict"] == "promote"
    assert tags["bundle_digest"] == hash_bundle(night.workspace / "train")
    assert tags["index_digest"] == facts["index_digest"] == promote.index_digest(night)
    assert tags["encoder_fingerprint.audio"] == "audio-f1"
    assert tags["commit"]


def grey_night(tmp_path: Path) -> Night:
    """A night whose promotion a person must approve."""
    night = sample_night(tmp_path / "night", FIRST, None)
    gate.run(replace(PARAMS.gate, approval_margin=1.0), night)
    return night


def answer(night: Night, approved: bool) -> None:
    """Write what Airflow writes when ann has answered."""
    digest = hash_file(night.workspace / "gate/verdict.json")
    answer = {"approved": approved, "by": "ann", "verdict_digest": digest}
    write_json(night.workspace / APPROVAL_FILE, answer)


def test_a_challenger_without_an_approval_is_registered_only(tmp_path):
    night = grey_night(tmp_path)
    assert run(night)["outcome"].startswith("does not become champion: it has no approval; trigger `promote`")
    assert aliases() == {"champion": None, "challenger": "1", "previous": None}
    answer(night, approved=False)
    assert run(night)["outcome"] == "does not become champion: ann rejected it"
    answer(night, approved=True)
    assert run(night)["champion"] == "1"


def test_an_approval_of_another_verdict_does_not_count(tmp_path):
    night = grey_night(tmp_path)
    answer(night, approved=True)
    gate.run(replace(PARAMS.gate, approval_margin=2.0, min_gain=0.0001), night)
    assert "the approval is of another verdict" in run(night)["outcome"]
    assert aliases()["champion"] is None


@pytest.mark.parametrize(
    "file",
    [
        "train/model.safetensors",
        "snapshot/catalogue.parquet",
        "snapshot/item_statistics_test.parquet",
        "snapshot/features.safetensors",
    ],
)
def test_the_index_digest_depends_on_model_and_videos(tmp_path, file):
    night = sample_night(tmp_path / "night")
    before = promote.index_digest(night)
    (night.workspace / file).write_bytes(b"another")
    assert promote.index_digest(night) != before


def test_a_second_promotion_changes_nothing(tmp_path):
    night = judged_night(tmp_path, FIRST, None)
    run(night)
    before = ModelRegistry().versions(), aliases()
    facts = run(night)
    assert (ModelRegistry().versions(), aliases()) == before
    assert not facts["newly_registered"]
    assert facts["outcome"] == "is already the champion"


def test_a_refused_challenger_is_registered_and_the_champion_stays(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    facts = run(judged_night(tmp_path, SECOND, "1", better=False))
    assert aliases() == {"champion": "1", "challenger": "2", "previous": None}
    assert "the gate refused it" in facts["outcome"]
    assert ModelRegistry().versions()[1].tags["gate_verdict"] == "refuse"


def test_an_old_night_does_not_replace_a_newer_champion(tmp_path):
    first = judged_night(tmp_path, FIRST, None)
    run(first)
    run(judged_night(tmp_path, SECOND, "1"))
    now = {"champion": "2", "challenger": "2", "previous": "1"}
    assert aliases() == now
    run(first)
    assert aliases() == now


def test_a_verdict_against_a_former_champion_moves_nothing(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    slow = judged_night(tmp_path, SECOND, "1")
    run(judged_night(tmp_path, THIRD, "1"))
    assert "compared with champion 1, but the champion is now 2" in run(slow)["outcome"]
    assert aliases() == {"champion": "2", "challenger": "2", "previous": "1"}


def test_a_retrained_night_does_not_replace_an_uncompared_champion(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    run(judged_night(tmp_path, SECOND, "1"))
    outcome = run(judged_night(tmp_path, SECOND, "1", seed=77))["outcome"]
    assert "compared with champion 1, but the champion is now 2" in outcome
    assert aliases() == {"champion": "2", "challenger": "3", "previous": "1"}


def test_a_retrained_night_replaces_its_champion_only_by_beating_it(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    run(judged_night(tmp_path, SECOND, "1"))
    worse = judged_night(tmp_path, SECOND, "1", seed=76, better=False, incumbent="2")
    assert "the gate refused it" in run(worse)["outcome"]
    assert aliases() == {"champion": "2", "challenger": "3", "previous": "1"}
    facts = run(judged_night(tmp_path, SECOND, "1", seed=77, incumbent="2"))
    assert facts["outcome"] == "is now the champion and replaces version 2"
    assert aliases() == {"champion": "4", "challenger": "4", "previous": "2"}
    assert ModelRegistry().champion_for(SECOND).number == "1"


def test_rollback_reaches_every_version_after_a_retrained_night(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    run(judged_night(tmp_path, SECOND, "1"))
    run(judged_night(tmp_path, SECOND, "1", seed=77, incumbent="2"))
    assert rollback.roll_back() == ("3", "2")
    for number in ("1", "2", "3", "1"):
        assert rollback.roll_back(number)[1] == number
        assert aliases()["champion"] == number
    assert [ModelRegistry().champion_for(day).number for day in (SECOND, THIRD)] == ["1", "1"]


def test_a_retrained_night_does_not_replace_a_later_champion(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    run(judged_night(tmp_path, SECOND, "1"))
    slow = judged_night(tmp_path, SECOND, "1", seed=77, incumbent="2")
    run(judged_night(tmp_path, THIRD, "2"))
    assert "but the champion is now 3" in run(slow)["outcome"]


def test_a_verdict_moves_nothing_if_its_champion_is_gone(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    slow = judged_night(tmp_path, SECOND, "1")
    models = ModelRegistry()
    models.client.delete_registered_model_alias(models.name, "champion")
    assert "but the champion is now none" in run(slow)["outcome"]


def test_a_bundle_changed_after_the_gate_is_refused(tmp_path):
    night = judged_night(tmp_path, FIRST, None)
    path = night.workspace / "train/model.json"
    path.write_text(path.read_text().replace('"dropout": 0.0', '"dropout": 0.5'))
    with pytest.raises(InputError, match=r"train: .* is not the model that the gate judged .*tasks.evaluate"):
        run(night)
    assert ModelRegistry().versions() == []


def test_metrics_changed_after_the_gate_are_refused(tmp_path):
    night = judged_night(tmp_path, FIRST, None)
    path = night.workspace / "evaluate/details.json"
    write_json(path, json.loads(path.read_text()) | {"num_users": 1})
    with pytest.raises(InputError, match=r"details.json: .* changed after the gate judged .*tasks.gate"):
        run(night)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("promote", "no", "promote must be of type bool, got 'no'"),
        ("promote", 1, "promote must be of type bool, got 1"),
        ("promote", None, "promote must be of type bool, got None"),
        ("champion", 4, "champion must be of type str, got 4"),
        ("bundle_digest", "", "is not the model that the gate judged"),
        ("promoted", True, "unknown key 'promoted'; did you mean 'promote'"),
    ],
    ids=range(6),
)
def test_a_verdict_is_read_strictly(tmp_path, key, value, message):
    night = judged_night(tmp_path, FIRST, None)
    path = night.workspace / "gate/verdict.json"
    write_json(path, json.loads(path.read_text()) | {key: value})
    with pytest.raises(InputError, match=message) as error:
        run(night)
    assert "tasks.gate --night 2026-03-12" in str(error.value)
    assert ModelRegistry().versions() == []


def test_a_verdict_without_a_decision_is_refused(tmp_path):
    night = judged_night(tmp_path, FIRST, None)
    path = night.workspace / "gate/verdict.json"
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key != "promote"}
    write_json(path, kept)
    with pytest.raises(InputError, match=r"verdict\.json: key 'promote' is missing"):
        run(night)


def test_freeze_leaves_the_champion_where_it_is(tmp_path):
    facts = promote.run(PromoteConfig(freeze=True), judged_night(tmp_path, FIRST, None)).facts
    assert "promote.freeze is true" in facts["outcome"]
    assert aliases() == {"champion": None, "challenger": "1", "previous": None}


def test_the_champion_is_fetched_byte_for_byte(tmp_path):
    folder = tmp_path / "champion"
    assert model_registry.fetch_compared_models(tmp_path, SECOND) == {"champion": None, "incumbent": None}
    assert not folder.exists()
    night = judged_night(tmp_path, FIRST, None)
    run(night)
    assert model_registry.fetch_compared_models(tmp_path, SECOND) == {"champion": "1", "incumbent": None}
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.json",
        "model.safetensors",
        "version.txt",
    ]
    assert hash_bundle(folder) == hash_bundle(night.workspace / "train")


def test_a_repeated_night_fetches_its_former_champion(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    run(judged_night(tmp_path, SECOND, "1"))
    assert model_registry.fetch_compared_models(tmp_path, SECOND) == {"champion": "1", "incumbent": "2"}
    for name, day in (("champion", FIRST), ("incumbent", SECOND)):
        (made,) = tmp_path.glob(f"night-{day}-*/train")
        assert hash_bundle(tmp_path / name) == hash_bundle(made)
    assert model_registry.fetch_compared_models(tmp_path, THIRD) == {"champion": "2", "incumbent": None}
    assert not (tmp_path / "incumbent").exists()
    assert model_registry.fetch_compared_models(tmp_path, FIRST) == {"champion": None, "incumbent": None}
    assert not (tmp_path / "champion").exists()


def test_a_rollback_survives_a_retry_of_the_night(tmp_path):
    run(judged_night(tmp_path, FIRST, None))
    second = judged_night(tmp_path, SECOND, "1")
    run(second)
    assert rollback.roll_back() == ("2", "1")
    assert aliases() == {"champion": "1", "challenger": "2", "previous": "2"}
    assert "rolled back" in run(second)["outcome"]
    assert aliases()["champion"] == "1"
    assert undercurrent("rollback", "--to", "2") == 0
    assert aliases() == {"champion": "2", "challenger": "2", "previous": "1"}


def test_a_rollback_without_a_target_is_refused(tmp_path, capsys):
    assert undercurrent("rollback") == 2
    assert "there are: none" in capsys.readouterr().err
    run(judged_night(tmp_path, FIRST, None))
    assert undercurrent("rollback", "--to", "1") == 2
    assert "is the champion already" in capsys.readouterr().err


def test_two_promotions_take_turns(tmp_path):
    night, held = judged_night(tmp_path, FIRST, None), []
    other = Thread(target=lambda: held.append(run(night)))
    with model_registry.promotion_lock():
        other.start()
        other.join(timeout=1.5)
        assert other.is_alive()
    other.join(timeout=60)
    assert held[0]["champion"] == "1"


def test_a_verdict_of_another_night_is_refused(tmp_path):
    night = judged_night(tmp_path, FIRST, None)
    with pytest.raises(InputError, match="night is 2026-03-12"):
        promote.run(PARAMS.promote, Night(SECOND, night.workspace))


PREDICT = """
import mlflow, pandas, sys
model = mlflow.pyfunc.load_model("models:/" + sys.argv[1] + "@champion")
assert "/artifacts/code/" in sys.modules["models"].__file__, sys.modules["models"].__file__
users = pandas.DataFrame({"video_ids": [["v001", "v002", "gone"], []], "age_band": ["25-34", None]})
answer = model.predict(users, params={"k": 3, "day": "2026-03-12"})
assert not answer.empty and not model.predict(users).empty
assert model.metadata.signature.outputs.input_names() == list(answer.columns), answer.columns
print(answer.to_json(orient="records"))
"""


def test_the_registered_model_predicts_outside_the_project(tmp_path, tracking, request):
    run(judged_night(tmp_path, FIRST, None))
    completed = subprocess.run(
        [sys.executable, "-c", PREDICT, request.node.name],
        cwd=tmp_path,
        env={"MLFLOW_TRACKING_URI": tracking, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    known, newcomer = json.loads(completed.stdout)
    assert len(known["video_ids"]) == len(newcomer["scores"]) == 3
    assert not {"v001", "v002"} & set(known["video_ids"])
    assert known["scores"] == sorted(known["scores"], reverse=True)
    weights = [known[f"alpha_{m}"] for m in ("visual", "text", "audio")]
    assert all(
        sum(alpha_M) == pytest.approx(1.0) or not any(alpha_M) for alpha_M in zip(*weights, strict=True)
    )


def test_the_run_manifest_names_the_champion(tmp_path):
    run_manifest = promote.run(PARAMS.promote, judged_night(tmp_path, FIRST, None))
    assert isinstance(run_manifest, RunManifest)
    assert run_manifest.facts["champion"] == "1"
    assert run_manifest.facts["newly_registered"]
    assert set(run_manifest.digests) == {"bundle_digest"}
