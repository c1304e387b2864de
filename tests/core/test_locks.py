import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core import locks, paths
from core.errors import InputError, ServiceUnavailableError


def _order_of_two(tmp_path: Path, names: tuple[str, str]) -> list[str]:
    """Start a second holder while the first holds its lock, and return the order in which they are done."""
    order, started = [], threading.Event()

    def second() -> None:
        started.set()
        with locks.exclusive_lock(tmp_path / "sub" / names[1], "embed"):
            order.append("second")

    with locks.exclusive_lock(tmp_path / "sub" / names[0], "embed"):
        thread = threading.Thread(target=second)
        thread.start()
        started.wait()
        thread.join(0.6)
        order.append("first")
    thread.join()
    return order


def test_the_second_process_waits_and_reports_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "WAIT_NOTICE_SECONDS", 0.05)
    assert _order_of_two(tmp_path, ("x.lock", "x.lock")) == ["first", "second"]
    assert capsys.readouterr().err.count("another process is busy with embed; waiting for it") == 1


def test_without_a_database_other_files_are_other_locks(tmp_path):
    assert _order_of_two(tmp_path, ("x.lock", "y.lock")) == ["second", "first"]


def test_a_database_shares_the_lock_between_machines(tmp_path, monkeypatch, capsys, postgres_uri):
    """Two machines have lock files of their own."""
    monkeypatch.setenv("UNDERCURRENT_LOCK_DATABASE", postgres_uri)
    monkeypatch.setattr(locks, "WAIT_NOTICE_SECONDS", 0.05)
    assert _order_of_two(tmp_path, ("x.lock", "y.lock")) == ["first", "second"]
    assert "another process is busy with embed; waiting for its lock" in capsys.readouterr().err


def test_the_database_lock_ends_with_a_killed_process(tmp_path, monkeypatch, postgres_uri):
    monkeypatch.setenv("UNDERCURRENT_LOCK_DATABASE", postgres_uri)
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "other.lock", held.set))
    process.start()
    assert held.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with locks.exclusive_lock(tmp_path / "x.lock", "embed"):
        pass


def _hold(path: Path, notify: Callable[[], None]) -> None:
    with locks.exclusive_lock(path, "embed"):
        notify()
        time.sleep(600)


def test_an_unreachable_database_is_one_sentence_without_the_password(tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_LOCK_DATABASE", "postgresql+psycopg://me:hunter2@127.0.0.1:1/lake")
    with (
        pytest.raises(ServiceUnavailableError, match="cannot be reached") as refusal,
        locks.exclusive_lock(tmp_path / "x.lock", "embed"),
    ):
        pass
    assert "hunter2" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_catalog_on_postgres_holds_the_locks(monkeypatch):
    assert paths.lock_database() is None
    monkeypatch.setenv("UNDERCURRENT_CATALOG_URI", "postgresql+psycopg://db/lake")
    assert paths.lock_database() == "postgresql+psycopg://db/lake"
    monkeypatch.setenv("UNDERCURRENT_LOCK_DATABASE", "sqlite:///x.db")
    with pytest.raises(InputError, match="only PostgreSQL can hold locks"):
        paths.lock_database()
