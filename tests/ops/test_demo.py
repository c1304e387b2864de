import os
import socket
from datetime import date
from pathlib import Path

import pytest

from core import config as parameters
from core.errors import InputError
from core.paths import PROJECT_ROOT
from ops import demo, serve, up_lock
from ops.ports import LOOPBACK
from ops.run_outcome import OutcomeRow, RunOutcome, format_table
from tests.support.processes import free_port


def test_every_night_runs_once_and_the_corrupted_one_again_after_repair() -> None:
    plan = demo.plan_runs(parameters.load_params(PROJECT_ROOT / "params.yaml").simulator)
    first, days = date(2026, 3, 9), [9, 10, 11, 12, 12, 13]
    assert [run.night for run in plan] == [first.replace(day=day) for day in days]
    assert [run.simulator_command for run in plan] == [None, None, None, "corrupt", "repair", None]


def test_a_home_that_no_demo_made_is_refused(home: Path) -> None:
    home.mkdir()
    (home / "precious").write_text("data")
    with pytest.raises(InputError, match=f"{home} is not empty, and no demo made it"):
        demo.reset_home(home)
    assert (home / "precious").read_text() == "data"


def test_an_earlier_demo_s_home_is_emptied(home: Path) -> None:
    demo.reset_home(home)
    (home / "lake").mkdir()
    demo.reset_home(home)
    assert [path.name for path in home.iterdir()] == [demo.MARKER_FILE]


def test_the_lock_file_that_the_demo_holds_stays(home: Path) -> None:
    demo.reset_home(home)
    up_lock.lock_file(home).parent.mkdir()
    up_lock.lock_file(home).with_name("environment.sh").touch()
    with up_lock.hold():
        demo.reset_home(home)
        assert up_lock.holder() == os.getpid()
    assert list(up_lock.lock_file(home).parent.iterdir()) == [up_lock.lock_file(home)]


def test_a_second_demo_is_refused_while_the_first_simulates(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_codes, simulated = [], home / "landing"

    def simulate(command: str) -> None:
        simulated.mkdir()
        monkeypatch.setattr(demo, "_run_simulator", lambda command: None)  # of the second
        exit_codes.append(demo.main())
        assert simulated.exists()
        raise RuntimeError("the test ends here")

    monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", str(free_port()))
    monkeypatch.setattr(demo, "_run_simulator", simulate)
    monkeypatch.setattr(demo, "_run_nights", lambda plan, port: [])
    exit_codes.append(demo.main())
    refused, ended = capsys.readouterr().err.splitlines()[-2:]
    assert exit_codes == [2, 1]
    assert f"demo: refused: Airflow is already starting or running in {home}; end it with" in refused
    assert ended == "demo: the test ends here"


@pytest.mark.parametrize("main", [demo.main, serve.main])
def test_a_port_in_use_ends_with_exit_code_2(
    main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    with socket.socket() as other_socket:
        other_socket.bind((LOOPBACK, 0))
        other_socket.listen()
        port = other_socket.getsockname()[1]
        monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", str(port))
        assert main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"refused: port {port} for airflow cannot be used" in lines[0]
    assert not home.exists()  # refused before any file was written


def test_the_table_lists_each_run_and_its_reason() -> None:
    good = RunOutcome("success", None, True, "better", "2", {"challenger": 0.25, "trending": 0.125})
    bad = RunOutcome("failed", "check", None, "check: blocked: users are missing", "2", {})
    table = format_table(
        [
            OutcomeRow("2026-03-10", "unchanged", "1", good, 75.0),
            OutcomeRow("2026-03-12", "corrupted", "2", bad, 9.0),
        ]
    )
    lines = table.splitlines()
    assert lines[2].split() == [
        *("2026-03-10", "unchanged", "success", "-", "promoted", "1", "->", "2"),
        *("0.2500", "-", "0.1250", "-", "-", "1:15"),
    ]
    assert lines[3].split()[2:9] == ["failed", "check", "-", "2", "->", "2", "-"]
    assert lines[-1] == "2026-03-12 (corrupted): check: blocked: users are missing"
