import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import CHECKS_BLOCKED, DONE, FAILED, REFUSED_INPUT
from core.paths import PROJECT_ROOT
from core.step_graph import STEPS
from tests.support.command_line import undercurrent
from undercurrent import night as night_command

TASK = """
import os, sys, time
from core import step_cli
from core.errors import ChecksBlocked, InputError
from core.run_manifests import RunManifest

def run(params, night):
    with open({calls!r}, "a") as calls:
        calls.write("{step} ")
    {body}
    return RunManifest(facts=dict())

sys.exit(step_cli.main("{step}", run, None))
"""


class Project:
    """A project whose steps only note that they ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls.txt"
        (folder / "tasks").mkdir(parents=True)
        (folder / "tasks" / "__init__.py").touch()
        for step in STEPS:
            self.set(step, "pass")

    def set(self, step: str, body: str) -> None:
        """Give a step another body."""
        text = TASK.format(step=step, body=body, calls=str(self.calls))
        (self.folder / "tasks" / f"{step}.py").write_text(text)

    def steps_run(self) -> list[str]:
        """The steps that ran, in order."""
        return self.calls.read_text().split() if self.calls.exists() else []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path / "project")
    monkeypatch.setattr(night_command, "PROJECT_ROOT", project.folder)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return project


def _night(*options: str) -> int:
    return undercurrent("night", "--date", "2026-03-05", *options)


def test_the_steps_run_in_order_and_write_to_the_home_from_any_folder(project, home, tmp_path, capfd):
    assert _night("--until", "embed") == DONE
    assert project.steps_run() == ["ingest", "clean", "embed"]
    assert (home / "nights" / "2026-03-05" / "run_manifests" / "embed.json").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    output = capfd.readouterr()
    assert "night 2026-03-05: 2 of 3, clean: done" in output.err
    assert [line.split()[:2] for line in output.out.splitlines()[1:4]] == [
        ["ingest", "done"],
        ["clean", "done"],
        ["embed", "done"],
    ]


@pytest.mark.parametrize(
    ("body", "code", "outcome", "reason"),
    [
        ("raise ChecksBlocked('half is gone')", CHECKS_BLOCKED, "blocked", "half is gone"),
        ("raise InputError('no such file')", REFUSED_INPUT, "refused", "no such file"),
        ("raise KeyError('bug')", FAILED, "failed", "KeyError: 'bug'"),
        ("os.kill(os.getpid(), 9)", FAILED, "failed", "killed by signal 9; look for a lack of memory"),
        ("sys.exit(7)", FAILED, "failed", "exit code 7"),
    ],
)
def test_a_night_stops_at_a_step_that_does_not_complete(project, capfd, body, code, outcome, reason):
    project.set("check", body)
    assert _night("--from", "check", "--json") == code
    assert project.steps_run() == ["check"]
    result = json.loads(capfd.readouterr().out)
    assert (result["state"], result["step"], result["reason"]) == (outcome, "check", reason)
    (step,) = result["steps"]
    assert (step["outcome"], step["exit_code"], step["reason"]) == (outcome, code, reason)


def test_a_repaired_night_continues(project):
    project.set("check", "raise ChecksBlocked('half is gone')")
    assert _night("--until", "sequences") == CHECKS_BLOCKED
    project.set("check", "pass")
    assert _night("--from", "check", "--until", "sequences") == DONE
    assert project.steps_run() == ["ingest", "clean", "embed", "check", "check", "sequences"]


def test_a_dry_run_runs_nothing(project, home, capsys):
    assert _night("--dry-run", "--until", "clean") == DONE
    output = capsys.readouterr().out
    assert "to run: not run" in output
    assert "dry run: nothing was run" in output
    assert project.steps_run() == []
    assert not home.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "gate", "--until", "clean"), "--from is gate, which comes after --until clean"),
        (("--params", "missing.yaml"), "missing.yaml"),
    ],
)
def test_a_mistake_is_refused_before_a_step_runs(project, capsys, options, message):
    assert _night(*options) == REFUSED_INPUT
    assert message in capsys.readouterr().err
    assert project.steps_run() == []


def test_a_terminated_night_ends_its_step(project, tmp_path):
    pid_file = tmp_path / "pid"
    project.set("ingest", f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    code = (
        "from pathlib import Path; from undercurrent import cli, night;"
        f"night.PROJECT_ROOT = Path({str(project.folder)!r}); cli.app(['night', '--date', '2026-03-05'])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) != DONE
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
