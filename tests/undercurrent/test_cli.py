import json
import os
import subprocess
import sys

import pytest
from typer.main import get_group

from core.errors import DONE, FAILED, REFUSED_INPUT
from core.paths import PROJECT_ROOT
from tests.support.command_line import undercurrent
from undercurrent.cli import app


def test_the_help_lists_every_command_with_its_summary_by_section(capsys):
    assert undercurrent("--help") == DONE
    output = capsys.readouterr().out
    nights, rest = output.split("Models:")
    assert "Nights:" in nights
    assert "night   Run the steps of a night one after another." in nights
    assert "Data:" in rest
    for name, command in get_group(app).commands.items():
        assert f"\n  {name} " in output
        assert command.get_short_help_str()[:20] in output


def _completions(words: str) -> list[str]:
    """Return what bash offers for the last of the words."""
    environment = os.environ | {
        "_UNDERCURRENT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    code = "from undercurrent.cli import app; app(prog_name='undercurrent')"
    completed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    return completed.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("undercurrent ro", ["rollback"]),
        ("undercurrent run se", ["sequences"]),
        ("undercurrent night --from pro", ["promote"]),
        ("undercurrent night --dr", ["--dry-run"]),
    ],
)
def test_the_shell_completes_commands_steps_and_options(words, offered):
    assert _completions(words) == offered


@pytest.mark.parametrize("option", [("run", "tonight"), ("night", "--from", "tonight")])
def test_an_unknown_step_is_refused_with_the_steps(capsys, option):
    assert undercurrent(*option, "--night", "2026-03-05") == REFUSED_INPUT
    assert "'ingest', 'clean'" in capsys.readouterr().err


def test_a_step_runs_as_its_own_command_does(tmp_path, home, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert undercurrent("run", "gate", "--night", "2026-03-05") == REFUSED_INPUT
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"gate: refused: {home}/nights/2026-03-05/")
    assert list(tmp_path.iterdir()) == [home]


def test_a_dry_run_of_a_step_runs_nothing(home, capsys):
    assert undercurrent("run", "gate", "--night", "2026-03-05", "--dry-run") == DONE
    assert "snapshot/, evaluate/  gate/   to run: not run" in capsys.readouterr().out
    assert not home.exists()


def test_missing_rights_are_one_sentence(home, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(home))

    monkeypatch.setattr("lake.client.create_folder", refuse)
    assert undercurrent("migrate") == FAILED
    assert "the system refuses access" in capsys.readouterr().err


def test_json_goes_to_stdout_alone(capsys):
    assert undercurrent("steps", "--json") == DONE
    output = capsys.readouterr()
    assert [step["name"] for step in json.loads(output.out)][:2] == ["ingest", "clean"]
    assert output.err == ""


def test_the_errors_of_a_command_follow_the_log_format(home):
    environment = os.environ | {"UNDERCURRENT_LOG_FORMAT": "json", "PYTHONPATH": str(PROJECT_ROOT)}
    command = [sys.executable, "-m", "undercurrent", "night", "--date", "tomorrow"]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True)
    record = json.loads(completed.stderr)
    assert (completed.returncode, record["level"], record["step"]) == (REFUSED_INPUT, "ERROR", "night")
    assert record["message"] == "night: refused: night: 'tomorrow' is not a date; write it as YYYY-MM-DD"
