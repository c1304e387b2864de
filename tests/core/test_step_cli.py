import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import create_engine

from core import step_cli
from core.errors import ChecksBlocked, InputError, ServiceUnavailableError, explain_system_error
from core.failures import Failure, read_failure
from core.run_manifests import RunManifest, read_manifest


def _run_main(tmp_path, run, *arguments: str) -> int:
    return step_cli.main(
        "record", run, "Docs.", ["--night", "2026-03-05", "--workspace", str(tmp_path), *arguments]
    )


def _raise(error: Exception):
    raise error


def test_a_completed_step_writes_a_run_manifest(tmp_path):
    assert _run_main(tmp_path, lambda params, night: RunManifest(facts={"a": 1})) == 0
    manifest = read_manifest(tmp_path / "run_manifests", "record")
    assert manifest["facts"] == {"a": 1}
    assert manifest["night"] == "2026-03-05"
    assert manifest["params"]["author_name"]
    assert manifest["peak_memory_mib"] > 10


def test_only_the_first_process_writes_the_run_manifest(tmp_path, monkeypatch):
    calls = []

    def writes_manifest(folder: str) -> bool:
        assert _run_main(tmp_path / folder, lambda params, night: calls.append(1) or RunManifest()) == 0
        return (tmp_path / folder / "run_manifests" / "record.json").exists()

    monkeypatch.setenv("RANK", "1")
    assert writes_manifest("a single process with RANK set by a cluster")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert not writes_manifest("second of several")
    monkeypatch.setenv("RANK", "0")
    assert writes_manifest("first of several")
    assert len(calls) == 3


def test_a_step_that_is_started_twice_runs_twice_in_a_row(tmp_path):
    def run(params, night):
        output = night.fresh_folder("record") / str(threading.get_ident())
        output.touch()
        time.sleep(0.2)
        assert output.exists()  # the other run has not emptied the folder
        return RunManifest()

    with ThreadPoolExecutor() as pool:
        codes = [pool.submit(_run_main, tmp_path, run) for _ in range(3)]
    assert [code.result() for code in codes] == [0, 0, 0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no such file"), 2),
        (ChecksBlocked("half is gone"), 3),
        (FloatingPointError("the loss is nan at epoch 2, step 1 of 2; lower train.learning_rate"), 1),
    ],
)
def test_an_expected_error_is_one_sentence_and_an_exit_code(tmp_path, capsys, error, code):
    _run_main(tmp_path, lambda params, night: RunManifest())
    assert _run_main(tmp_path, lambda params, night: _raise(error)) == code
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert str(error) in last_line
    assert not (tmp_path / "run_manifests" / "record.json").exists()


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (InputError("postgresql://ann:s3cret@db"), Failure(2, "postgresql://***@db")),
        (ChecksBlocked("half is gone"), Failure(3, "half is gone")),
        (ServiceUnavailableError("MLflow is away"), Failure(1, "MLflow is away")),
    ],
)
def test_a_failure_is_stored_until_the_step_starts_again(tmp_path, error, failure):
    _run_main(tmp_path, lambda params, night: _raise(error))
    assert read_failure(tmp_path, "record") == failure
    _run_main(tmp_path, lambda params, night: RunManifest())
    assert read_failure(tmp_path, "record") is None


def test_a_bug_is_stored_as_a_failure(tmp_path):
    with pytest.raises(KeyError):
        _run_main(tmp_path, lambda params, night: _raise(KeyError("bug")))
    assert read_failure(tmp_path, "record") == Failure(1, "KeyError: 'bug'")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.parquet"),
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    ],
)
def test_a_full_disk_is_one_sentence_and_not_a_bug(tmp_path, capsys, error):
    def run(params, night):
        try:
            raise error
        except Exception as cause:
            raise ValueError("the file cannot be written") from cause

    assert _run_main(tmp_path, run) == 1
    reason = "the disk is full (the file cannot be written); free space on it"
    assert read_failure(tmp_path, "record") == Failure(1, reason)
    assert capsys.readouterr().err.splitlines()[-1] == f"record: failed: {reason}"


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/srv/lake"),
        OSError(errno.EROFS, os.strerror(errno.EROFS), "/srv/lake"),
        RuntimeError("(sqlite3.OperationalError) attempt to write a readonly database"),
    ],
)
def test_missing_rights_are_one_sentence_and_not_a_bug(tmp_path, capsys, error):
    assert _run_main(tmp_path, lambda params, night: _raise(error)) == 1
    reason = f"the system refuses access ({error}); let this user read and write there"
    assert capsys.readouterr().err.splitlines()[-1] == f"record: failed: {reason}"


def test_a_postgresql_that_does_not_answer_is_one_sentence_and_not_a_bug(tmp_path, capsys):
    def run(params, night):
        create_engine("postgresql+psycopg://me:secret@127.0.0.1:1/lake").connect()

    assert _run_main(tmp_path, run) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("record: failed: PostgreSQL broke or refused a connection (connection failed: ")
    assert line.endswith("start it, or correct its address, such as UNDERCURRENT_CATALOG_URI")


def test_a_deadlock_in_postgresql_is_no_lost_connection():
    assert explain_system_error(psycopg.errors.DeadlockDetected("deadlock detected")) is None
    assert explain_system_error(psycopg.errors.AdminShutdown("terminating")) is not None


def test_a_mistake_on_the_command_line_leaves_the_earlier_run_as_it_was(tmp_path, capsys):
    _run_main(tmp_path, lambda params, night: RunManifest())
    assert _run_main(tmp_path, lambda params, night: RunManifest(), "--params=x") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("record: refused: x")
    assert (tmp_path / "run_manifests" / "record.json").exists()
    assert read_failure(tmp_path, "record") is None


def test_a_failure_that_cannot_be_stored_does_not_hide_the_reason(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(step_cli, "write_failure", lambda *_: _raise(OSError("the disk is full")))
    assert _run_main(tmp_path, lambda params, night: _raise(InputError("no such file"))) == 2
    *_, warning, last = capsys.readouterr().err.splitlines()
    assert warning.startswith("record: the failure cannot be stored")
    assert last == "record: refused: no such file"  # Airflow shows the last line as the reason


def test_a_step_in_another_working_directory_writes_to_the_home(tmp_path, home, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert step_cli.main("record", lambda params, night: RunManifest(), None, ["--night", "2026-03-05"]) == 0
    assert (home / "nights" / "2026-03-05" / "run_manifests" / "record.json").exists()
    assert list(elsewhere.iterdir()) == []


ADDRESS = "postgresql://ann:s3cret@db/mlflow is away"


@pytest.mark.parametrize("error", [InputError(ADDRESS), ChecksBlocked(ADDRESS)])
def test_an_expected_error_shows_no_password(tmp_path, capsys, error):
    _run_main(tmp_path, lambda params, night: _raise(error))
    assert "postgresql://***@db/mlflow is away" in capsys.readouterr().err


def test_a_traceback_shows_no_password(tmp_path):
    code = (
        "from core import step_cli\n"
        "def run(params, night):\n"
        "    try:\n"
        f"        raise OSError({ADDRESS!r})\n"
        "    except OSError as error:\n"
        f"        raise RuntimeError({ADDRESS!r}) from error\n"
        f"step_cli.main('record', run, None, ['--night', '2026-03-05', '--workspace', {str(tmp_path)!r}])"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=step_cli.PROJECT_ROOT
    )
    assert completed.returncode == 1
    assert "s3cret" not in completed.stderr
    assert "OSError: postgresql://***@db/mlflow is away" in completed.stderr
    assert completed.stderr.endswith("RuntimeError: postgresql://***@db/mlflow is away\n")


def test_a_bug_is_not_swallowed(tmp_path):
    with pytest.raises(KeyError):
        _run_main(tmp_path, lambda params, night: _raise(KeyError("bug")))


def test_an_invalid_night_is_refused(tmp_path, capsys):
    assert step_cli.main("record", lambda params, night: RunManifest(), None, ["--night", "tonight"]) == 2
    assert "'tonight' is not a date; write it as YYYY-MM-DD" in capsys.readouterr().err


def test_a_mistyped_parameter_ends_a_step_without_a_traceback(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text((step_cli.PROJECT_ROOT / "params.yaml").read_text().replace("batch_rows", "batch_row"))
    command = [sys.executable, "-m", "tasks.ingest", "--night", "2026-03-05", "--params", str(params)]
    completed = subprocess.run(command, capture_output=True, text=True, cwd=step_cli.PROJECT_ROOT)
    assert completed.returncode == 2
    assert completed.stderr.splitlines() == [
        f"ingest: refused: {params}: unknown key 'ingest.batch_row'; did you mean 'batch_rows'?"
    ]


def test_a_step_that_ends_does_not_search_the_imported_packages_for_cycles():
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"  # the last to be called
        "from core import step_cli\n"
        "step_cli.main('gate', None, None, ['--night', 'no day'])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "True\n"


def test_the_reason_of_a_failure_is_the_last_line_of_a_step_that_uses_triton():
    pytest.importorskip("triton")
    code = (
        "import gc, sys\n"
        "gc.disable()\n"  # as `python -m tasks.train` does
        "import triton._C.libtriton\n"
        "from core import step_cli\n"
        "step_cli.main('gate', None, None, ['--night', 'no day'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.splitlines()[-1].startswith("gate: refused: ")


def test_garbage_collection_rests_while_a_step_imports_its_packages():
    code = (
        "import atexit, gc, runpy, sys\n"
        "def report(): print(gc.isenabled(), gc.get_stats()[1]['collections'])\n"  # of older objects
        "atexit.register(report)\n"
        "gc.collect()\n"
        "report()\n"
        "sys.argv = ['-m', '--night', 'no day']\n"  # `python -m tasks.gate --night 'no day'`
        "runpy.run_module('tasks.gate', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", code]
    completed = subprocess.run(command, capture_output=True, text=True, cwd=step_cli.PROJECT_ROOT)
    assert completed.returncode == 2
    before, after = completed.stdout.splitlines()
    assert before == after  # turned on again, and no search in between


def test_peak_memory_includes_running_children():
    before = step_cli.peak_memory_mib()
    code = "x = bytearray(200 << 20); print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert step_cli.peak_memory_mib() >= before + 190
        child.communicate("\n")
