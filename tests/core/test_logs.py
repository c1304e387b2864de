import io
import json
import logging
import os
import pty
import subprocess
import sys

import pytest

from core import logs
from core.errors import InputError
from core.logs import JsonLines
from core.paths import PROJECT_ROOT

STEP = """
import logging, sys, warnings
from core import step_cli
from core.run_manifests import RunManifest
def run(params, night):
    {body}
    return RunManifest()
sys.exit(step_cli.main("record", run, None, ["--night", "2026-03-05"]))
"""


def _run_step(body: str, **settings: str) -> list[str]:
    """Return the lines on stderr of a step whose function has this body."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT), logs.FORMAT_VARIABLE: "json"} | settings
    completed = subprocess.run(
        [sys.executable, "-c", STEP.format(body=body)], capture_output=True, text=True, env=environment
    )
    return completed.stderr.splitlines()


def test_every_line_of_a_step_is_a_json_object_with_night_step_and_attempt():
    body = (
        "print('embedded 3 videos', file=sys.stderr);"
        "logging.getLogger('a library').warning('slow'); warnings.warn('old', stacklevel=1)"
    )
    records = [json.loads(line) for line in _run_step(body, AIRFLOW_CTX_TRY_NUMBER="2")]
    assert [(r["level"], r["message"].partition(" in ")[0]) for r in records] == [
        ("INFO", "record: night 2026-03-05"),
        ("INFO", "embedded 3 videos"),
        ("WARNING", "slow"),
        ("WARNING", "UserWarning: old"),
        ("INFO", "record: done"),
    ]
    for record in records:
        assert list(record) == ["time", "level", "night", "step", "attempt", "message"]
        assert (record["night"], record["step"], record["attempt"]) == ("2026-03-05", "record", 2)


def test_a_traceback_is_one_object_and_an_expected_error_another():
    *_, traceback = map(json.loads, _run_step("raise KeyError('bug')"))
    assert traceback["level"] == "ERROR"
    assert traceback["message"].startswith("Traceback")
    assert traceback["message"].endswith("KeyError: 'bug'")
    body = "from core.errors import InputError; raise InputError('no such file')"
    *_, refusal = map(json.loads, _run_step(body))
    assert (refusal["level"], refusal["message"]) == ("ERROR", "record: refused: no such file")


def test_no_secret_reaches_a_line():
    body = "print('postgresql://ann:s3cret@db and an0ther-secret', file=sys.stderr)"
    text = "\n".join(_run_step(body, AWS_SECRET_ACCESS_KEY="an0ther-secret"))
    assert "postgresql://***@db and ***" in text
    assert "s3cret" not in text
    assert "an0ther" not in text


def test_lines_are_text_by_default():
    assert _run_step("pass", UNDERCURRENT_LOG_FORMAT="")[0] == "record: night 2026-03-05"


def test_lines_on_a_terminal_are_text():
    terminal, child = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT), logs.FORMAT_VARIABLE: "json"}
    subprocess.run([sys.executable, "-c", STEP.format(body="pass")], stderr=child, env=environment)
    assert os.read(terminal, 1000).startswith(b"record: night 2026-03-05")
    os.close(terminal)
    os.close(child)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (logs.FORMAT_VARIABLE, "yaml", "UNDERCURRENT_LOG_FORMAT is 'yaml'; write text or json"),
        (logs.ATTEMPT_VARIABLE, "first", "AIRFLOW_CTX_TRY_NUMBER is 'first'; write the number"),
    ],
)
def test_an_unusable_setting_is_refused(monkeypatch, variable, value, message):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv(logs.FORMAT_VARIABLE, "json")
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=message):
        logs.start("record")


def test_a_progress_bar_writes_a_line_now_and_then(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    output = io.StringIO()
    stream = JsonLines(output, {"step": "embed"})
    for percent in (0, 10, 20, 30):
        stream.write(f"\rembed: {percent}%")
        clock[0] += 6
    stream.write("\rembed: 100%\n")
    messages = [json.loads(line)["message"] for line in output.getvalue().splitlines()]
    assert messages == ["embed: 0%", "embed: 20%", "embed: 100%"]


def test_a_step_within_a_command_names_itself(monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setenv(logs.FORMAT_VARIABLE, "json")
    handlers = logging.getLogger().handlers[:]
    logs.start("run")
    logs.start("ingest", "2026-03-05")
    logs.write("ingest: done")
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    record = json.loads(output.getvalue())
    assert (record["step"], record["night"]) == ("ingest", "2026-03-05")
