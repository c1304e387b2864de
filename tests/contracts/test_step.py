import subprocess
import sys

import pytest

from contracts import step
from contracts.errors import ChecksBlocked, InputError
from contracts.receipts import Receipt, read_receipt


def _main(tmp_path, run, *more: str) -> int:
    return step.main("record", run, "Docs.", ["--night", "2026-03-05", "--workspace", str(tmp_path), *more])


def _raise(error: Exception):
    raise error


def test_a_completed_step_leaves_a_receipt_with_its_cost(tmp_path):
    assert _main(tmp_path, lambda params, night: Receipt(facts={"a": 1})) == 0
    found = read_receipt(tmp_path / "receipts", "record")
    assert found["facts"] == {"a": 1}
    assert found["night"] == "2026-03-05"
    assert found["params"]["author_name"]
    assert found["peak_memory_mib"] > 10


def test_of_several_processes_the_first_writes_the_receipt(tmp_path, monkeypatch):
    ran = []

    def written(folder: str) -> bool:
        assert _main(tmp_path / folder, lambda params, night: ran.append(1) or Receipt()) == 0
        return (tmp_path / folder / "receipts" / "record.json").exists()

    monkeypatch.setenv("RANK", "1")
    assert written("alone, whatever a cluster calls it")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert not written("second of several")
    monkeypatch.setenv("RANK", "0")
    assert written("first of several")
    assert len(ran) == 3


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("no such file"), 2), (ChecksBlocked("half is gone"), 3)]
)
def test_an_expected_end_is_one_sentence_an_exit_code_and_no_receipt(tmp_path, capsys, error, code):
    _main(tmp_path, lambda params, night: Receipt())
    assert _main(tmp_path, lambda params, night: _raise(error)) == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert str(error) in said
    assert not (tmp_path / "receipts" / "record.json").exists()


ADDRESS = "postgresql://ann:s3cret@db/mlflow is away"


@pytest.mark.parametrize("error", [InputError(ADDRESS), ChecksBlocked(ADDRESS)])
def test_an_expected_end_tells_no_password(tmp_path, capsys, error):
    _main(tmp_path, lambda params, night: _raise(error))
    assert "postgresql://***@db/mlflow is away" in capsys.readouterr().err


def test_a_traceback_tells_no_password(tmp_path):
    code = (
        "from contracts import step\n"
        "def run(params, night):\n"
        "    try:\n"
        f"        raise OSError({ADDRESS!r})\n"
        "    except OSError as error:\n"
        f"        raise RuntimeError({ADDRESS!r}) from error\n"
        f"step.main('record', run, None, ['--night', '2026-03-05', '--workspace', {str(tmp_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=step.PROJECT)
    assert done.returncode == 1
    assert "s3cret" not in done.stderr
    assert "OSError: postgresql://***@db/mlflow is away" in done.stderr
    assert done.stderr.endswith("RuntimeError: postgresql://***@db/mlflow is away\n")


def test_a_bug_is_not_swallowed(tmp_path):
    with pytest.raises(KeyError):
        _main(tmp_path, lambda params, night: _raise(KeyError("bug")))


def test_a_night_that_is_no_date_is_refused(tmp_path, capsys):
    assert step.main("record", lambda params, night: Receipt(), None, ["--night", "tonight"]) == 2
    assert "'tonight' is not a date; write it as YYYY-MM-DD" in capsys.readouterr().err


def test_a_mistyped_parameter_ends_a_real_step_without_a_traceback(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text((step.PROJECT / "params.yaml").read_text().replace("batch_rows", "batch_row"))
    command = [sys.executable, "-m", "tasks.ingest", "--night", "2026-03-05", "--params", str(params)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=step.PROJECT)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"ingest: refused: {params}: unknown key 'ingest.batch_row'; did you mean 'batch_rows'?"
    ]


def test_memory_counts_a_child_that_still_runs():
    before = step.peak_memory_mib()
    hold = "x = bytearray(200 << 20); print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert step.peak_memory_mib() >= before + 190
        child.communicate("\n")
