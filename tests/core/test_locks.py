import threading

from core import locks


def test_the_second_process_waits_and_reports_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "WAIT_NOTICE_SECONDS", 0.05)
    order, started = [], threading.Event()

    def second() -> None:
        started.set()
        with locks.file_lock(tmp_path / "sub" / "x.lock", "embed"):
            order.append("second")

    with locks.file_lock(tmp_path / "sub" / "x.lock", "embed"):
        thread = threading.Thread(target=second)
        thread.start()
        started.wait()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert "another process is busy with embed; waiting for it" in capsys.readouterr().err
