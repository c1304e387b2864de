import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from contracts.digests import of_bundle
from contracts.errors import InputError
from contracts.params import Promote, load
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, write_json
from tasks import gate, promote, registry, rollback
from tasks.registry import Registry
from tests.workspaces import sample_night

PARAMS = load(PROJECT / "params.yaml")
FIRST, SECOND, THIRD = date(2026, 3, 12), date(2026, 3, 13), date(2026, 3, 14)


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database for all tests here: making it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def model(home: Path, tracking: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered model of the test's own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    monkeypatch.setenv("UNDERCURRENT_MODEL", request.node.name)


def a_night(
    tmp_path: Path,
    day: date,
    champion: str | None,
    seed: int | None = None,
    better: bool = True,
    incumbent: str | None = None,
) -> Night:
    """A judged night; each seed is another bundle."""
    folder = tmp_path / f"night-{day}-{seed}-{champion}-{incumbent}"
    night = sample_night(folder, day, champion, seed=seed or day.day, incumbent=incumbent)
    if not better:
        path = night.workspace / "evaluate/metrics.json"
        metrics = json.loads(path.read_text())
        metrics["differences"]["incumbent" if incumbent else "champion"]["ndcg@10"] |= {"low": -0.01}
        write_json(path, metrics)
    gate.run(PARAMS.gate, night)
    return night


def run(night: Night) -> dict[str, Any]:
    return dict(promote.run(PARAMS.promote, night).facts)


def aliases() -> dict[str, str | None]:
    models = Registry()
    held = {name: models.holder(name) for name in ("champion", "challenger", "previous")}
    return {name: version.number if version else None for name, version in held.items()}


def test_the_first_promoted_challenger_is_the_champion_and_carries_its_origin(tmp_path):
    night = a_night(tmp_path, FIRST, None)
    facts = run(night)
    assert aliases() == {"champion": "1", "challenger": "1", "previous": None}
    assert facts["outcome"] == "is the champion now, after none"
    tags = Registry().versions()[0].tags
    assert tags["night"] == str(FIRST)
    assert tags["verdict"] == "promote"
    assert tags["bundle"] == of_bundle(night.workspace / "train")
    assert tags["index"] == facts["index"] == promote.index_digest(night)
    assert tags["encoder.audio"] == "audio-f1"
    assert tags["commit"]


@pytest.mark.parametrize(
    "file", ["train/model.safetensors", "snapshot/catalogue.parquet", "snapshot/features.safetensors"]
)
def test_an_index_is_known_by_its_model_and_by_the_videos_it_holds(tmp_path, file):
    night = sample_night(tmp_path / "night")
    before = promote.index_digest(night)
    (night.workspace / file).write_bytes(b"another")
    assert promote.index_digest(night) != before


def test_a_night_that_is_promoted_again_changes_nothing(tmp_path):
    night = a_night(tmp_path, FIRST, None)
    run(night)
    before = Registry().versions(), aliases()
    facts = run(night)
    assert (Registry().versions(), aliases()) == before
    assert not facts["registered"]
    assert facts["outcome"] == "is the champion already"


def test_a_refused_challenger_is_registered_and_the_champion_stays(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    facts = run(a_night(tmp_path, SECOND, "1", better=False))
    assert aliases() == {"champion": "1", "challenger": "2", "previous": None}
    assert "the gate refused it" in facts["outcome"]
    assert Registry().versions()[1].tags["verdict"] == "refuse"


def test_an_old_night_run_again_undoes_no_newer_champion(tmp_path):
    first = a_night(tmp_path, FIRST, None)
    run(first)
    run(a_night(tmp_path, SECOND, "1"))
    now = {"champion": "2", "challenger": "2", "previous": "1"}
    assert aliases() == now
    run(first)
    assert aliases() == now


def test_a_verdict_against_a_champion_that_has_left_moves_nothing(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    slow = a_night(tmp_path, SECOND, "1")
    run(a_night(tmp_path, THIRD, "1"))
    assert "compared with champion 1, but the champion is 2 now" in run(slow)["outcome"]
    assert aliases() == {"champion": "2", "challenger": "2", "previous": "1"}


def test_a_night_trained_anew_does_not_replace_a_champion_that_it_was_not_compared_with(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    run(a_night(tmp_path, SECOND, "1"))
    outcome = run(a_night(tmp_path, SECOND, "1", seed=77))["outcome"]
    assert "compared with champion 1, but the champion is 2 now" in outcome
    assert aliases() == {"champion": "2", "challenger": "3", "previous": "1"}


def test_a_night_trained_anew_replaces_the_champion_that_it_made_only_by_beating_it(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    run(a_night(tmp_path, SECOND, "1"))
    worse = a_night(tmp_path, SECOND, "1", seed=76, better=False, incumbent="2")
    assert "the gate refused it" in run(worse)["outcome"]
    assert aliases() == {"champion": "2", "challenger": "3", "previous": "1"}
    facts = run(a_night(tmp_path, SECOND, "1", seed=77, incumbent="2"))
    assert facts["outcome"] == "is the champion now, after 2"
    assert aliases() == {"champion": "4", "challenger": "4", "previous": "2"}
    assert Registry().champion_of(SECOND).number == "1"


def test_no_version_is_lost_to_a_rollback_after_a_night_replaced_its_own_champion(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    run(a_night(tmp_path, SECOND, "1"))
    run(a_night(tmp_path, SECOND, "1", seed=77, incumbent="2"))
    assert rollback.rollback() == ("3", "2")
    for number in ("1", "2", "3", "1"):
        assert rollback.rollback(number)[1] == number
        assert aliases()["champion"] == number
    assert [Registry().champion_of(day).number for day in (SECOND, THIRD)] == ["1", "1"]


def test_a_champion_of_a_later_night_is_not_replaced_by_a_night_that_beats_its_own(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    run(a_night(tmp_path, SECOND, "1"))
    slow = a_night(tmp_path, SECOND, "1", seed=77, incumbent="2")
    run(a_night(tmp_path, THIRD, "2"))
    assert "but the champion is 3 now" in run(slow)["outcome"]


def test_a_verdict_that_met_no_champion_of_its_night_allows_nothing_where_there_is_none_now(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    slow = a_night(tmp_path, SECOND, "1")
    models = Registry()
    models.mlflow.delete_registered_model_alias(models.name, "champion")
    assert "but the champion is None now" in run(slow)["outcome"]


def test_a_bundle_that_changed_after_it_was_judged_is_refused_with_the_remedy(tmp_path):
    night = a_night(tmp_path, FIRST, None)
    path = night.workspace / "train/model.json"
    path.write_text(path.read_text().replace('"dropout": 0.0', '"dropout": 0.5'))
    with pytest.raises(InputError, match=r"train: .* is not the model that the gate judged .*tasks.evaluate"):
        run(night)
    assert Registry().versions() == []


def test_an_evaluation_that_changed_after_it_was_judged_is_refused_with_the_remedy(tmp_path):
    night = a_night(tmp_path, FIRST, None)
    path = night.workspace / "evaluate/metrics.json"
    write_json(path, json.loads(path.read_text()) | {"users": 1})
    with pytest.raises(InputError, match=r"metrics.json: .* changed after the gate judged .*tasks.gate"):
        run(night)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("promote", "no", "promote must be of type bool, got 'no'"),
        ("promote", 1, "promote must be of type bool, got 1"),
        ("promote", None, "promote must be of type bool, got None"),
        ("champion", 4, "champion must be of type str, got 4"),
        ("bundle", "", "is not the model that the gate judged"),
        ("promoted", True, "unknown key 'promoted'; did you mean 'promote'"),
    ],
    ids=range(6),
)
def test_a_verdict_is_read_strictly(tmp_path, key, value, told):
    night = a_night(tmp_path, FIRST, None)
    path = night.workspace / "gate/verdict.json"
    write_json(path, json.loads(path.read_text()) | {key: value})
    with pytest.raises(InputError, match=told) as refused:
        run(night)
    assert "tasks.gate --night 2026-03-12" in str(refused.value)
    assert Registry().versions() == []


def test_a_verdict_without_a_decision_is_refused(tmp_path):
    night = a_night(tmp_path, FIRST, None)
    path = night.workspace / "gate/verdict.json"
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key != "promote"}
    write_json(path, kept)
    with pytest.raises(InputError, match=r"verdict\.json: key 'promote' is missing"):
        run(night)


def test_freeze_leaves_the_champion_where_it_is(tmp_path):
    facts = promote.run(Promote(freeze=True), a_night(tmp_path, FIRST, None)).facts
    assert "promote.freeze is true" in facts["outcome"]
    assert aliases() == {"champion": None, "challenger": "1", "previous": None}


def test_the_champions_bundle_comes_back_byte_for_byte(tmp_path):
    folder = tmp_path / "champion"
    assert registry.pin(tmp_path, SECOND) == {"champion": None, "incumbent": None}
    assert not folder.exists()
    night = a_night(tmp_path, FIRST, None)
    run(night)
    assert registry.pin(tmp_path, SECOND) == {"champion": "1", "incumbent": None}
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.json",
        "model.safetensors",
        "version.txt",
    ]
    assert of_bundle(folder) == of_bundle(night.workspace / "train")


def test_a_night_meets_the_champion_of_then_and_a_stale_folder_is_emptied(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    run(a_night(tmp_path, SECOND, "1"))
    assert registry.pin(tmp_path, SECOND) == {"champion": "1", "incumbent": "2"}
    for name, day in (("champion", FIRST), ("incumbent", SECOND)):
        (made,) = tmp_path.glob(f"night-{day}-*/train")
        assert of_bundle(tmp_path / name) == of_bundle(made)
    assert registry.pin(tmp_path, THIRD) == {"champion": "2", "incumbent": None}
    assert not (tmp_path / "incumbent").exists()
    assert registry.pin(tmp_path, FIRST) == {"champion": None, "incumbent": None}
    assert not (tmp_path / "champion").exists()


def test_a_rollback_swaps_the_champion_and_survives_the_nights_own_retry(tmp_path):
    run(a_night(tmp_path, FIRST, None))
    second = a_night(tmp_path, SECOND, "1")
    run(second)
    assert rollback.rollback() == ("2", "1")
    assert aliases() == {"champion": "1", "challenger": "2", "previous": "2"}
    assert "rolled back" in run(second)["outcome"]
    assert aliases()["champion"] == "1"
    assert rollback.main(["--to", "2"]) == 0
    assert aliases() == {"champion": "2", "challenger": "2", "previous": "1"}


def test_a_rollback_to_nowhere_is_refused(tmp_path, capsys):
    assert rollback.main([]) == 2
    assert "there are: none" in capsys.readouterr().err
    run(a_night(tmp_path, FIRST, None))
    assert rollback.main(["--to", "1"]) == 2
    assert "is the champion already" in capsys.readouterr().err


def test_two_promotions_take_turns(tmp_path):
    night, held = a_night(tmp_path, FIRST, None), []
    other = Thread(target=lambda: held.append(run(night)))
    with registry.alone():
        other.start()
        other.join(timeout=1.5)
        assert other.is_alive()
    other.join(timeout=60)
    assert held[0]["champion"] == "1"


def test_a_verdict_of_another_night_is_refused_input(tmp_path):
    night = a_night(tmp_path, FIRST, None)
    with pytest.raises(InputError, match="night is 2026-03-12"):
        promote.run(PARAMS.promote, Night(SECOND, night.workspace))


ANSWER = """
import mlflow, pandas, sys
model = mlflow.pyfunc.load_model("models:/" + sys.argv[1] + "@champion")
assert "/artifacts/code/" in sys.modules["models"].__file__, sys.modules["models"].__file__
people = pandas.DataFrame({"video_ids": [["v001", "v002", "gone"], []], "age_band": ["25-34", None]})
answer = model.predict(people, params={"k": 3})
assert model.metadata.signature.outputs.input_names() == list(answer.columns), answer.columns
print(answer.to_json(orient="records"))
"""


def test_the_registered_model_answers_far_from_the_project_and_without_pickle(tmp_path, tracking, request):
    run(a_night(tmp_path, FIRST, None))
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, request.node.name],
        cwd=tmp_path,
        env={"MLFLOW_TRACKING_URI": tracking, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    known, newcomer = json.loads(done.stdout)
    assert len(known["video_ids"]) == len(newcomer["scores"]) == 3
    assert not {"v001", "v002"} & set(known["video_ids"])
    assert known["scores"] == sorted(known["scores"], reverse=True)
    weights = [known[f"alpha_{m}"] for m in ("visual", "text", "audio")]
    assert all(sum(of_one) == pytest.approx(1.0) or not any(of_one) for of_one in zip(*weights, strict=True))


def test_the_receipt_tells_what_moved(tmp_path):
    receipt = promote.run(PARAMS.promote, a_night(tmp_path, FIRST, None))
    assert isinstance(receipt, Receipt)
    assert receipt.facts["champion"] == "1"
    assert receipt.facts["registered"]
    assert set(receipt.digests) == {"bundle"}
