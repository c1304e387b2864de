import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from core import paths
from core.errors import InputError
from core.run_manifests import write_json
from ops.operators import CommandOperator, EmbedShardOperator, StepOperator, count_gpus, night_of

STARTED = datetime.now(UTC) + timedelta(hours=1)  # of the run, after all files that a test writes


def context(night: str | None = None, key: str | None = None, **params: Any) -> dict[str, Any]:
    run = SimpleNamespace(partition_key=key, clear_number=0, run_type="manual", start_date=STARTED, conf={})
    return {"params": {"night": night, **params}, "dag_run": run, "dag": SimpleNamespace(params={})}


def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> StepOperator:
    """Return an operator whose step runs this code by the usual command."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").touch()
    (tmp_path / "tasks" / "probe.py").write_text(code)
    monkeypatch.setattr(paths, "PROJECT_ROOT", tmp_path)
    return StepOperator(task_id="probe")


def test_the_night_comes_from_the_form_or_the_partition_key() -> None:
    assert night_of(context(night="2026-03-09")) == date(2026, 3, 9)
    assert night_of(context(key="2026-03-10")) == date(2026, 3, 10)


def test_a_night_in_the_form_of_a_backfill_is_refused() -> None:
    with pytest.raises(
        InputError, match="night is '2026-03-09', but the run's partition key is '2026-03-10'"
    ):
        night_of(context(night="2026-03-09", key="2026-03-10"))


@pytest.mark.parametrize(
    "empty_context", [context(), context(night=""), context(night="None"), context(key="today")]
)
def test_a_missing_night_is_refused(empty_context: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="YYYY-MM-DD"):
        night_of(empty_context)


def test_a_run_without_a_night_is_not_retried() -> None:
    with pytest.raises(AirflowFailException, match="ingest: refused: the run has no night"):
        StepOperator(task_id="ingest").execute(context())


@pytest.mark.parametrize(("code", "word"), [(2, "refused"), (3, "blocked")])
def test_refused_input_and_blocked_checks_are_not_retried(
    code: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = step(tmp_path, monkeypatch, f"print('probe: {word}: the reason'); raise SystemExit({code})")
    with pytest.raises(AirflowFailException, match=f"^probe: {word}: the reason$"):
        probe.execute(context("2026-03-09"))


def test_the_reason_of_a_failure_is_logged_in_lines_that_the_log_page_shows_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "probe: refused: " + " ".join(f"word{number}" for number in range(60)) + "; repair it"
    probe = step(tmp_path, monkeypatch, f"print({sentence!r}); raise SystemExit(2)")
    lines: list[str] = []
    monkeypatch.setattr(probe.log, "error", lines.append)
    with pytest.raises(AirflowFailException):
        probe.execute(context("2026-03-09"))
    assert " ".join(lines) == sentence
    assert max(map(len, lines)) <= 100


def test_the_reason_is_the_message_of_a_json_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"step": "probe", "message": "probe: refused: the reason"})
    probe = step(tmp_path, monkeypatch, f"print({line!r}); raise SystemExit(2)")
    with pytest.raises(AirflowFailException, match=r"^probe: refused: the reason$"):
        probe.execute(context("2026-03-09"))


def test_other_failures_are_retried_and_report_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = step(tmp_path, monkeypatch, "raise OSError('disk full')")
    with pytest.raises(RuntimeError, match="exit code 1; last line of its output: OSError: disk full"):
        probe.execute(context("2026-03-09"))


def test_passwords_in_the_step_output_are_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "postgresql://ann:s3cret@db/x"
    probe = step(tmp_path, monkeypatch, f"print('retrying {address}'); raise OSError('{address} is away')")
    lines: list[str] = []
    monkeypatch.setattr(probe.log, "info", lines.append)
    with pytest.raises(RuntimeError, match=r"OSError: postgresql://\*\*\*@db/x is away"):
        probe.execute(context("2026-03-09"))
    assert "retrying postgresql://***@db/x" in lines
    assert "s3cret" not in "".join(lines)


def test_the_output_of_a_step_is_not_passed_on_in_xcom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = step(tmp_path, monkeypatch, "print('a secret')")
    # Airflow stores what a task returns, and what it pushes through its instance, which is not here.
    assert probe.execute(context("2026-03-09")) is None


def test_the_step_gets_the_night_the_workspace_and_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    link = home.parent / "link"
    link.symlink_to(home)
    monkeypatch.setenv("UNDERCURRENT_HOME", str(link))
    output = tmp_path / "output"
    expression = "repr((sys.argv[1:], os.environ['UNDERCURRENT_HOME']))"
    code = f"import os, sys; open({str(output)!r}, 'w').write({expression})"
    step(tmp_path, monkeypatch, code).execute(context("2026-03-09"))
    arguments = ["--night", "2026-03-09", "--workspace", str(home / "nights" / "2026-03-09")]
    assert output.read_text() == repr((arguments, str(home)))


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"steps": ["ingest"]}, "the param `steps` leaves it out"),
        ({"model_half_from": "2026-03-10"}, "the model half runs from night 2026-03-10 on"),
        ({"dry_run": True}, "dry run of: python -m tasks.train --night 2026-03-09 --workspace "),
    ],
)
def test_a_step_that_the_params_leave_out_is_skipped(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(AirflowSkipException, match=reason):
        StepOperator(task_id="train").execute(context("2026-03-09", **params))


def test_the_lake_half_runs_before_the_first_night_of_the_model_half() -> None:
    arguments = StepOperator(task_id="check").arguments(context("2026-03-09", model_half_from="2026-03-10"))
    assert arguments[0] == "tasks.check"


@pytest.fixture
def recorded(home: Path) -> None:
    """The night 2026-03-09 is recorded."""
    manifest = home / "nights" / "2026-03-09" / "run_manifests" / "record.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")


@pytest.mark.usefixtures("recorded")
def test_a_recorded_night_runs_again_only_by_force() -> None:
    again, train = context("2026-03-09"), StepOperator(task_id="train")
    with pytest.raises(AirflowFailException, match="night 2026-03-09 is recorded already; set `force`"):
        train.execute(again)
    again["dag_run"].run_type = "backfill"
    with pytest.raises(AirflowSkipException, match="is recorded already, and `force` is off"):
        train.execute(again)
    assert train.arguments(context("2026-03-09", force=True))


@pytest.mark.usefixtures("recorded")
def test_a_cleared_run_and_the_run_that_recorded_the_night_go_on() -> None:
    cleared, recording = context("2026-03-09"), context("2026-03-09")
    cleared["dag_run"].clear_number = 1
    recording["dag_run"].start_date = STARTED - timedelta(days=1)
    for run in (cleared, recording):
        assert StepOperator(task_id="report").arguments(run)


@pytest.mark.parametrize(("visible", "gpus"), [("", 0), ("0", 1), ("0,2", 2)])
def test_torchrun_shares_training_between_several_gpus(
    visible: str, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == gpus
    arguments = StepOperator(task_id="train").arguments(context("2026-03-09"))
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tasks.train"]
    assert arguments[:5] == torchrun if gpus == 2 else arguments[0] == "tasks.train"
    assert StepOperator(task_id="gate").arguments(context("2026-03-09"))[0] == "tasks.gate"


def test_spark_steps_get_the_master_of_an_airflow_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert StepOperator(task_id="clean").variables() == {}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", '{"conn_type": "spark", "host": "spark://head", "port": 7077}')
    monkeypatch.setenv("UNDERCURRENT_SPARK_CONNECTION", "cluster")
    assert StepOperator(task_id="clean").variables() == {"UNDERCURRENT_SPARK_MASTER": "spark://head:7077"}
    assert StepOperator(task_id="train").variables() == {}


def test_a_shard_of_the_backlog_runs_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    step(tmp_path, monkeypatch, "")
    output = tmp_path / "output"
    code = f"import os; open({str(output)!r}, 'w').write(os.environ['UNDERCURRENT_EMBED_SHARD'])"
    (tmp_path / "tasks" / "embed.py").write_text(code)
    operator = EmbedShardOperator(task_id="embed", shard="2/8")
    operator.execute(context("2026-03-09"))
    assert output.read_text() == "2/8"
    assert operator.arguments(context("2026-03-09"))[-1] == str(home / "embed_backlog" / "2-of-8")


def test_the_parameter_file_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCURRENT_PARAMS", "mine.yaml")
    assert StepOperator(task_id="train").arguments(context("2026-03-09"))[-2:] == ["--params", "mine.yaml"]


@pytest.mark.parametrize(("champion", "announced"), [("2", ["undercurrent_model"]), ("1", []), (None, [])])
def test_only_a_new_champion_is_announced(
    champion: str | None,
    announced: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
) -> None:
    step(tmp_path, monkeypatch, "")
    manifest = home / "nights" / "2026-03-09" / "run_manifests" / "promote.json"
    write_json(manifest, {"facts": {"champion": champion, "version": "2"}})
    (tmp_path / "tasks" / "promote.py").write_text("")
    model, events = AssetAlias("undercurrent_model"), OutletEventAccessors()
    StepOperator(task_id="promote", outlets=[model]).execute(
        context("2026-03-09") | {"outlet_events": events}
    )
    assert [event.dest_asset_key.name for event in events[model].asset_alias_events] == announced


def test_a_command_gets_its_options_and_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    output = tmp_path / "output"
    expression = "repr((sys.argv[1:], os.environ['UNDERCURRENT_HOME']))"
    code = f"import os, sys; open({str(output)!r}, 'w').write({expression})"
    (tmp_path / "undercurrent.py").write_text(code)
    monkeypatch.setattr(paths, "PROJECT_ROOT", tmp_path)
    CommandOperator(task_id="forget", options=["--user-ids", "ids.txt"]).execute(context())
    assert output.read_text() == repr((["forget", "--user-ids", "ids.txt"], str(home)))
