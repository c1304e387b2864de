import threading

from contracts import locks


def test_the_second_waits_until_the_first_is_done_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "QUIET_SECONDS", 0.05)
    order, started = [], threading.Event()

    def second() -> None:
        started.set()
        with locks.alone(tmp_path / "sub" / "x.lock", "embed"):
            order.append("second")

    with locks.alone(tmp_path / "sub" / "x.lock", "embed"):
        thread = threading.Thread(target=second)
        thread.start()
        started.wait()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert "another process is at embed; waiting for it" in capsys.readouterr().err
