"""`record` and `reproduce` on a small test project with real git, real DVC and one-line steps."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import yaml

from core.config import RecordConfig
from core.errors import InputError
from core.paths import Night
from tasks import record
from tests.support.command_line import undercurrent
from undercurrent import recorded_environment, reproduce

DAY = date(2026, 3, 12)
ANN = RecordConfig(author_name="Ann", author_email="ann@example.com")
STEP = """
import json, pathlib, sys, time
step = sys.argv[1]
pathlib.Path(f"night/{step}").mkdir(parents=True, exist_ok=True)
pathlib.Path(f"night/{step}/out.txt").write_text(f"made by {step}")
pathlib.Path("night/run_manifests").mkdir(parents=True, exist_ok=True)
manifest = json.dumps({"step": step, "started_at": time.time()})
pathlib.Path(f"night/run_manifests/{step}.json").write_text(manifest)
"""


@dataclass(frozen=True)
class Recorded:
    """A project with a finished night, as `record` finds them."""

    night: Night
    project: Path

    @property
    def repository(self) -> Path:
        return Path(os.environ["UNDERCURRENT_HOME"]) / "record"

    def record(self) -> dict:
        return dict(record.run(ANN, self.night).facts)

    def tags(self) -> dict[str, str]:
        """Return tag -> commit."""
        names = self.git("tag").split()
        return {name: self.git("rev-parse", f"{name}^{{commit}}") for name in names}

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.repository), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def committed(self, tag: str) -> str:
        """Return all file names and contents of a commit as one text."""
        names = self.git("ls-tree", "-r", "--name-only", tag).splitlines()
        return "\n".join(f"{name}\n{self.git('show', f'{tag}:{name}')}" for name in names)

    def finish(self, *steps: str, when: str = "02:00", text: str = "made by {}") -> None:
        """Write the outputs and run manifests of steps, as if they had run again."""
        for step in steps or ("check", *record.MODEL_HALF, "promote"):
            if step != "promote":
                (self.night.folder(step) / "out.txt").write_text(text.format(step))
            path = self.night.folder("run_manifests") / f"{step}.json"
            path.write_text(json.dumps({"step": step, "started_at": when, "facts": {}}))


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    project = tmp_path / "project"
    project.mkdir()
    stages = {}
    for before, step in zip((None, *record.MODEL_HALF), record.MODEL_HALF, strict=False):
        deps = [f"night/{before}"] if before else []
        outs = [f"night/{step}", {f"night/run_manifests/{step}.json": {"cache": False}}]
        stages[step] = {"cmd": f"python step.py {step}", "deps": [*deps, "step.py"], "outs": outs}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (project / "step.py").write_text(STEP)
    (project / "params.yaml").write_text('night: "2026-01-01"\n')
    (project / ".gitignore").write_text("night/\n")
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    monkeypatch.setattr(record, "PROJECT_ROOT", project)
    result = Recorded(Night(DAY, tmp_path / "workspace", project / "params.yaml"), project)
    result.finish()
    return result


def test_a_repeated_night_is_a_new_revision(recorded: Recorded) -> None:
    assert recorded.record()["tag"] == "night/2026-03-12"
    first = recorded.tags()
    recorded.finish("train", text="made anew by {}")  # in a DVC output
    assert recorded.record()["tag"] == "night/2026-03-12.2"
    recorded.finish("check", text="made anew by {}")  # in a file of git's
    assert recorded.record()["tag"] == "night/2026-03-12.3"
    (recorded.project / "step.py").write_text(STEP + "# better\n")  # in the code
    facts = recorded.record()
    assert facts["tag"] == "night/2026-03-12.4"
    assert recorded.tags()["night/2026-03-12"] == first["night/2026-03-12"]
    assert recorded.tags()["night/2026-03-12.4"] == facts["commit"]
    assert len(set(recorded.tags().values())) == 4


def test_a_retry_that_differs_only_in_times_keeps_its_tag(recorded: Recorded) -> None:
    first = recorded.record()
    assert recorded.record() == first
    recorded.finish(when="03:00")
    recorded.finish("report", when="03:05")
    assert recorded.record() == first
    assert list(recorded.tags()) == ["night/2026-03-12"]
    assert recorded.git("status", "--porcelain") == ""


def test_a_retry_after_another_night_keeps_its_tag(recorded: Recorded, tmp_path: Path) -> None:
    first = recorded.record()
    later = Recorded(
        Night(date(2026, 3, 13), tmp_path / "later", recorded.night.params_path), recorded.project
    )
    later.finish(text="later by {}")
    assert later.record()["tag"] == "night/2026-03-13"
    recorded.finish(when="03:00")
    assert recorded.record() == first
    assert len(recorded.tags()) == 2


def test_a_commit_without_its_tag_gets_it_on_retry(recorded: Recorded) -> None:
    first = recorded.record()
    recorded.git("tag", "--delete", first["tag"])
    assert recorded.record() == first


@pytest.mark.parametrize("leftover", [".out.txt.4711", "out.new", ".staging/part"])
def test_leftovers_of_killed_runs_are_not_recorded(recorded: Recorded, leftover: str) -> None:
    for step in ("check", "train"):
        path = recorded.night.workspace / step / leftover
        path.parent.mkdir(exist_ok=True)
        path.write_text("half a fi")
    with pytest.MonkeyPatch.context() as patch:
        _killed_at(patch, "add --all")
        (recorded.project / "renamed_later.py").write_text("")
        with pytest.raises(KeyboardInterrupt):
            recorded.record()
    (recorded.project / "renamed_later.py").unlink()
    message = recorded.record()
    assert leftover not in recorded.committed(message["tag"])
    assert "renamed_later.py" not in recorded.committed(message["tag"])
    assert [p.name for p in (recorded.repository / "night" / "train").iterdir()] == ["out.txt"]


def _killed_at(patch: pytest.MonkeyPatch, words: str) -> None:
    """Interrupt the run before its first command that contains these words."""
    run = subprocess.run

    def killed(command, *arguments, **more):
        if words in " ".join(command):
            raise KeyboardInterrupt(words)
        return run(command, *arguments, **more)

    patch.setattr(subprocess, "run", killed)


def _killed_after(patch: pytest.MonkeyPatch, commands: int) -> list[str]:
    """Interrupt the run after some commands, and return the commands that ran."""
    run, ran = subprocess.run, list[str]()

    def killed(command, *arguments, **more):
        done = run(command, *arguments, **more)
        if more.get("cwd") == Path(os.environ["UNDERCURRENT_HOME"]) / "record":
            ran.append(" ".join(command))
            if len(ran) == commands:
                raise KeyboardInterrupt(command)
        return done

    patch.setattr(subprocess, "run", killed)
    return ran


@pytest.mark.parametrize("commands", [1, 2, 3, 4])
def test_a_first_run_killed_during_setup_is_repaired(recorded: Recorded, commands: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _killed_after(patch, commands)
        with pytest.raises(KeyboardInterrupt):
            recorded.record()
    _assert_complete(recorded)


@pytest.mark.parametrize(
    "state", ["nothing", ".git", ".git/refs/heads", ".dvc", ".dvc/tmp", ".dvc/config", "no remote"]
)
def test_an_incomplete_repository_is_repaired(recorded: Recorded, state: str) -> None:
    recorded.repository.mkdir(parents=True)
    if state == ".dvc/config":
        (recorded.repository / ".dvc").mkdir()
        (recorded.repository / ".dvc" / "config").write_text("[core\n")
    elif state == "no remote":
        recorded.git("init")
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=recorded.repository, check=True)
    elif state != "nothing":
        (recorded.repository / state).mkdir(parents=True)
    _assert_complete(recorded)


def _assert_complete(recorded: Recorded) -> None:
    assert recorded.record()["tag"] == "night/2026-03-12"
    assert recorded.git("status", "--porcelain") == ""
    store = recorded.repository.with_name("record-store")
    assert str(store) in recorded.committed("night/2026-03-12")
    assert len([path for path in store.rglob("*") if path.is_file()]) == 10  # five folders of one file


LOCKS = (".git/index.lock", ".git/HEAD.lock", ".git/config.lock", ".git/refs/heads/main.lock",
         ".git/refs/tags/night/2026-03-12.2.lock", ".git/packed-refs.lock", ".dvc/tmp/lock",
         ".dvc/tmp/rwlock.lock")  # fmt: skip


def test_lock_files_of_a_killed_run_are_ignored(recorded: Recorded) -> None:
    recorded.record()
    for name in LOCKS:
        (recorded.repository / name).touch()
    busy = {"pid": os.getpid(), "cmd": "dvc commit"}  # the number has gone to another process since
    held = {"write": {str(recorded.repository / "night" / "train"): busy}, "read": {}}
    (recorded.repository / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(held))
    recorded.finish("train", text="anew")
    assert recorded.record()["tag"] == "night/2026-03-12.2"
    (recorded.repository / ".dvc" / "tmp" / "rwlock").write_text('{"write": {')
    recorded.finish("train", text="anew once more")
    assert recorded.record()["tag"] == "night/2026-03-12.3"


def test_the_next_run_waits_for_commands_of_a_killed_run(recorded: Recorded, tmp_path: Path) -> None:
    """A killed step leaves its git or DVC running. A second writer must wait for it."""
    recorded.record()
    hook = recorded.repository / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nsleep 4\ntouch {tmp_path}/ended\n")
    hook.chmod(0o755)
    recorded.finish("train", text="anew")
    child = os.fork()
    if not child:
        os.setsid()
        try:
            recorded.record()
        finally:
            os._exit(0)
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    hook.unlink()
    recorded.record()
    assert (tmp_path / "ended").exists()


def test_a_failed_command_gives_a_reason_without_the_password(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERCURRENT_RECORD_REMOTE", "http://ann:s3cret@127.0.0.1:9/store")
    with pytest.raises(RuntimeError) as failed:
        recorded.record()
    message = str(failed.value)
    assert "exit code" in message
    assert "127.0.0.1" in message.partition("exit code")[2]  # DVC's own words
    assert "s3cret" not in message


def test_the_password_of_the_store_is_never_committed(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.record()
    monkeypatch.setenv("UNDERCURRENT_RECORD_REMOTE", "http://ann:s3cret@127.0.0.1:9/store?token=t0ken")
    commands = []
    run = subprocess.run

    def without_push(command, *arguments, **more):
        commands.append(" ".join(command))
        return run(["true"] if "push" in command else command, *arguments, **more)

    monkeypatch.setattr(subprocess, "run", without_push)
    recorded.finish("train", text="anew")
    committed = recorded.committed(recorded.record()["tag"])
    assert "http://127.0.0.1:9/store" in committed
    assert not any(secret in text for text in (committed, *commands) for secret in ("s3cret", "t0ken"))
    local = recorded.repository / ".dvc" / "config.local"
    assert "http://ann:s3cret@127.0.0.1:9/store?token=t0ken" in local.read_text()
    assert local.stat().st_mode & 0o777 == 0o600


def test_reproduce_finds_a_moved_store(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.record()
    monkeypatch.setenv("UNDERCURRENT_RECORD_REMOTE", str(tmp_path / "elsewhere"))
    assert recorded.record()["tag"] == "night/2026-03-12"  # where it lies is no difference
    assert any((tmp_path / "elsewhere").rglob("*"))
    recorded.repository.with_name("record-store").rename(tmp_path / "gone")
    assert set(reproduce.reproduce("night/2026-03-12", tmp_path / "again").values()) == {True}


def test_reproduce_finds_the_store_of_a_moved_home(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.record()
    recorded.repository.parent.rename(tmp_path / "moved")
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / "moved"))
    assert set(reproduce.reproduce("night/2026-03-12", tmp_path / "again").values()) == {True}


def test_reproduce_takes_the_newest_or_named_revision(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.record()
    (recorded.project / "step.py").write_text(STEP.replace("made by", "made anew by"))
    recorded.finish(text="made anew by {}")
    recorded.record()
    for argument, text in (("2026-03-12", "anew"), ("2026-03-12.2", "anew"), ("2026-03-12.1", "made by")):
        assert undercurrent("reproduce", "--night", argument, "--into", str(tmp_path / argument)) == 0
        assert text in (tmp_path / argument / "night" / "gate" / "out.txt").read_text()
    assert "night/2026-03-12.2" in capsys.readouterr().out
    for argument, message in (
        ("2026-03-12.3", "has no tag night/2026-03-12.3"),
        ("2026-03-13", "has no tag night/2026-03-13"),
        ("2026-03-12.x", "'2026-03-12.x'"),
        ("2026-03-12.0", "'2026-03-12.0'"),
        ("tonight", "'tonight' is not a date"),
    ):
        assert undercurrent("reproduce", "--night", argument) == 2
        assert message in capsys.readouterr().err


FAKE_UV = """#!/bin/sh
[ "$(cat uv.lock)" = "recorded packages" ] || exit 1
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
printf '#!/bin/sh\\necho "$@" >>{log}\\nexec {python} "$@"\\n' >"$UV_PROJECT_ENVIRONMENT/bin/python"
chmod +x "$UV_PROJECT_ENVIRONMENT/bin/python"
"""


def test_reproduce_runs_in_the_recorded_environment(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recorded.project / "uv.lock").write_text("recorded packages")
    recorded.record()
    (tmp_path / "bin").mkdir()
    uv, log = tmp_path / "bin" / "uv", tmp_path / "commands"
    uv.write_text(FAKE_UV.format(log=log, python=sys.executable))
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    assert set(reproduce.reproduce("night/2026-03-12", tmp_path / "again").values()) == {True}
    commands = log.read_text().splitlines()
    assert "-m dvc pull snapshot" in commands
    assert [line for line in commands if line.startswith("step.py")] == [
        f"step.py {step}" for step in record.MODEL_HALF[1:]
    ]


@pytest.mark.parametrize(("uv", "message"), [(None, "uv is needed"), ("exit 3", "exit code 3")])
def test_an_environment_that_cannot_be_built_stops_the_reproduction(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uv: str | None, message: str
) -> None:
    (recorded.project / "uv.lock").write_text("other packages")
    recorded.record()
    (tmp_path / "uv").write_text(f"#!/bin/sh\n{uv}\n")
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setattr(recorded_environment, "PROJECT_ROOT", tmp_path)
    found = str(tmp_path / "uv") if uv else None
    monkeypatch.setattr(recorded_environment.shutil, "which", lambda _: found)
    with pytest.raises((InputError, RuntimeError), match=message):
        reproduce.reproduce("night/2026-03-12", tmp_path / "again")


def test_a_failed_reproduction_is_one_sentence(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.record()
    recorded.repository.with_name("record-store").rename(tmp_path / "gone")
    assert undercurrent("reproduce", "--night", "2026-03-12", "--into", str(tmp_path / "again")) == 1
    text = capsys.readouterr().err
    assert "reproduce: failed: `" in text
    assert "Traceback" not in text
