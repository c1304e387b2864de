import socket
from datetime import date
from pathlib import Path

import pytest

from contracts import params as parameters
from contracts.errors import InputError
from contracts.place import PROJECT
from ops import demo, up
from ops.outcome import Outcome, Row, table
from ops.ports import LOOPBACK


def test_every_night_is_played_and_the_poisoned_one_again_once_it_is_mended() -> None:
    plan = demo.turns(parameters.load(PROJECT / "params.yaml").world)
    first, days = date(2026, 3, 9), [9, 10, 11, 12, 12, 13]
    assert [turn.night for turn in plan] == [first.replace(day=day) for day in days]
    assert [turn.before for turn in plan] == [None, None, None, "poison", "mend", None]


def test_a_home_that_no_demo_made_is_refused_and_left_alone(home: Path) -> None:
    home.mkdir()
    (home / "precious").write_text("data")
    with pytest.raises(InputError, match=f"{home} is not empty, and no demo made it"):
        demo.make_fresh(home)
    assert (home / "precious").read_text() == "data"


def test_an_earlier_demo_s_home_is_emptied(home: Path) -> None:
    demo.make_fresh(home)
    (home / "lake").mkdir()
    demo.make_fresh(home)
    assert [path.name for path in home.iterdir()] == [demo.MARK]


@pytest.mark.parametrize("main", [demo.main, up.main])
def test_a_port_in_use_ends_with_one_sentence_and_exit_code_2(
    main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", str(port))
        assert main() == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert f"refused: port {port} for airflow cannot be used" in said[0]
    assert not home.exists()  # refused before anything was made


def test_the_table_tells_each_run_and_why_it_ended_so() -> None:
    good = Outcome("success", None, True, "better", "2", {"challenger": 0.25, "popularity": 0.125})
    bad = Outcome("failed", "check", None, "check: blocked: users are missing", "2", {})
    told = table(
        [Row("2026-03-10", "as it came", "1", good, 75.0), Row("2026-03-12", "poisoned", "2", bad, 9.0)]
    )
    lines = told.splitlines()
    assert lines[2].split() == [
        *("2026-03-10", "as", "it", "came", "success", "-", "promote", "1", "->", "2"),
        *("0.2500", "-", "0.1250", "-", "-", "1:15"),
    ]
    assert lines[3].split()[2:9] == ["failed", "check", "-", "2", "->", "2", "-"]
    assert lines[-1] == "2026-03-12 (poisoned): check: blocked: users are missing"
