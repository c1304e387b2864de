import http.client
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from ops.web import NightsRequestHandler, render_index


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _check_results(outcome: str) -> dict:
    expectation = {"table": "events", "metric": "rows", "description": "events <received>"}
    return {"outcome": outcome, "expectations": [{**expectation, "severity": "error", "outcome": "failed"}]}


def _write_night(home: Path, night: str, promote: bool) -> None:
    folder = home / "nights" / night
    _write(folder / "check" / "results.json", _check_results("warned"))
    _write(folder / "gate" / "verdict.json", {"promote": promote, "summary": "Refused: too few users"})
    metrics = {"primary_metric": "ndcg@5", "models": {"challenger": {"ndcg@10": 0.5, "ndcg@5": 0.25}}}
    _write(folder / "evaluate" / "details.json", metrics)
    _write(folder / "report" / "report.html", "the report")


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    _write_night(tmp_path, "2026-03-09", promote=True)
    _write(tmp_path / "secret.json", "no")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(NightsRequestHandler, home=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _get(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


def test_the_list_starts_with_the_newest_night(tmp_path):
    _write_night(tmp_path, "2026-03-09", promote=True)
    _write_night(tmp_path, "2026-03-10", promote=False)
    page = render_index(tmp_path)
    assert page.index("2026-03-10") < page.index("2026-03-09")
    assert "<b>promoted</b>" in page
    assert "<b>refused</b>" in page
    assert "too few users" in page
    assert "0.2500" in page
    assert 'href="nights/2026-03-10/report/report.html"' in page


def test_a_blocked_night_shows_the_failed_check_and_no_earlier_metrics(tmp_path):
    _write_night(tmp_path, "2026-03-09", promote=True)
    _write(tmp_path / "nights" / "2026-03-09" / "check" / "results.json", _check_results("blocked"))
    page = render_index(tmp_path)
    assert "<b>blocked</b>" in page
    assert "events.rows: events &lt;received&gt;" in page
    assert "0.2500" not in page


def test_an_empty_home_has_an_empty_list(tmp_path):
    assert "No nights so far." in render_index(tmp_path)


def test_list_and_reports_are_served(address):
    assert "2026-03-09" in _get(address)
    assert "the report" in _get(f"{address}/nights/2026-03-09/report/report.html")


@pytest.mark.parametrize("path", ["secret.json", "nights/../secret.json", "nights/%2e%2e/secret.json", "etc"])
def test_other_files_of_the_home_are_not_served(address, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        _get(f"{address}/{path}")


def _status(address: str, path: str, host: str | None) -> int:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    return connection.getresponse().status


def test_only_requests_to_allowed_hosts_are_answered(address):
    port, report = address.rpartition(":")[2], "/nights/2026-03-09/report/report.html"
    for path in ("/", report):
        for name in ("127.0.0.1", "localhost", "[::1]"):
            assert _status(address, path, f"{name}:{port}") == 200
        for other in (
            f"evil.example:{port}",
            "evil.example",
            "127.0.0.1",
            f"127.0.0.1.evil:{port}",
            "",
            None,
        ):
            assert _status(address, path, other) == 421, other


def test_links_out_of_the_served_folders_are_not_followed(address, tmp_path):
    night = tmp_path / "nights" / "2026-03-09"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "index.html").write_text("no")
    (night / "file.json").symlink_to("../../secret.json")
    (night / "folder").symlink_to(outside)
    (night / "loop").symlink_to("loop")
    (night / "sub").mkdir()
    (night / "sub" / "index.html").symlink_to(tmp_path / "secret.json")
    os.mkfifo(night / "fifo")
    (night / "inside.html").symlink_to("report/report.html")
    own = address.removeprefix("http://")
    for path in ("file.json", "folder/", "folder/index.html", "loop", "sub/", "fifo", "a%00b"):
        assert _status(address, f"/nights/2026-03-09/{path}", own) == 404, path
    assert "the report" in _get(f"{address}/nights/2026-03-09/inside.html")


BROKEN = {
    "check/results.json": [
        "{",
        "[]",
        "7",
        "{}",
        '{"outcome": "blocked"}',
        '{"outcome": "blocked", "expectations": [{}]}',
    ],
    "gate/verdict.json": [
        "",
        "null",
        "{}",
        '{"promote": "no", "summary": "x"}',
        '{"promote": true}',
        "[" * 10**5,
    ],
    "evaluate/details.json": [
        '{"models": {}}',
        '{"primary_metric": "ndcg@5", "models": []}',
        '{"primary_metric": "ndcg@5", "models": {"challenger": {"ndcg@10": 0.5}}}',
        '{"primary_metric": "ndcg@5", "models": {"challenger": {"ndcg@5": "much"}}}',
        '{"primary_metric": "ndcg@5", "models": {"challenger": null}}',
        "\xff",
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in BROKEN for text in BROKEN[name]])
def test_a_night_with_a_broken_file_is_shown_as_unreadable(tmp_path, name, text):
    for night in ("2026-03-09", "2026-03-10"):
        _write_night(tmp_path, night, promote=True)
    (tmp_path / "nights" / "2026-03-10" / name).write_text(text, encoding="latin-1")
    page = render_index(tmp_path)
    assert page.count("<b>unreadable</b>") == 1
    assert f"<td>{name}: " in page
    assert page.count("<b>promoted</b>") == 1
    assert "0.2500" in page


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    _write_night(tmp_path, "2026-03-09", promote=True)
    (tmp_path / "nights" / "2026-03-09" / "gate" / "verdict.json").unlink()
    (tmp_path / "nights" / "2026-03-09" / "gate" / "verdict.json").mkdir()
    assert "gate/verdict.json: " in render_index(tmp_path)
