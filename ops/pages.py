"""The nights' own pages over HTTP: `python -m ops.pages --port 8081`.

A list of the nights, their reports and receipts, and the data docs; nothing else, for the home holds secrets.
"""

import argparse
import os
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from contracts import place
from ops import results
from ops.outcome import MODELS
from ops.ports import LOOPBACK, own_hosts
from ops.results import UnreadableError

SERVED = ("nights", "data_docs")  # folders of the home


class Pages(SimpleHTTPRequestHandler):
    """Files of the served folders; the root is the list of nights, made anew at each look."""

    home: Path

    def __init__(self, *args: Any, home: Path) -> None:
        self.home = home
        super().__init__(*args, directory=str(home))

    def parse_request(self) -> bool:
        """Refuse a request that names another host: DNS rebinding."""
        if not super().parse_request():
            return False
        port = cast(ThreadingHTTPServer, self.server).server_port
        if self.headers.get("Host") in own_hosts(port):
            return True
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        return False

    def send_head(self) -> Any:
        """A file of the served folders; outside them there is nothing, and no link leads there."""
        found = Path(self.translate_path(self.path))
        looked_at = [
            path for path in (found, found / "index.html", found / "index.htm") if os.path.lexists(path)
        ]
        if not found.exists() or not all(map(self._is_served, looked_at)):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def _is_served(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        inside = any(real.is_relative_to((self.home / name).resolve()) for name in SERVED)
        return inside and (real.is_file() or real.is_dir())

    def do_GET(self) -> None:
        """The list of the nights, or a file."""
        if self.path.partition("?")[0] not in ("/", "/index.html"):
            super().do_GET()
            return
        body = index(self.home).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def index(home: Path) -> str:
    """The page that lists the nights, the newest first."""
    pages = Environment(
        loader=PackageLoader("ops", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    nights = [_night(folder) for folder in sorted(home.glob("nights/*/"), reverse=True)]
    docs = (home / "data_docs" / "index.html").exists()
    return pages.get_template("nights.html.j2").render(nights=nights, docs=docs, models=MODELS)


def _night(folder: Path) -> dict[str, Any]:
    """What its files say became of a night; a check that blocked it has the last word."""
    try:
        state, why, ndcg = _state(folder)
    except UnreadableError as error:
        state, why, ndcg = "unreadable", str(error), {}
    report = state != "blocked" and (folder / "report" / "report.html").exists()
    return {"night": folder.name, "state": state, "why": why, "ndcg": ndcg, "report": report}


def _state(folder: Path) -> tuple[str, str, dict[str, float]]:
    """How the night ended, why, and the figure that the gate decided by, for each model."""
    if (folder / "check" / "results.json").exists():
        found = results.checks(folder)
        if found.outcome == "blocked":
            met = [c for c in found.checks if (c.outcome, c.severity) == ("failed", "error")]
            return "blocked", "; ".join(f"{c.table}.{c.figure}: {c.meaning}" for c in met), {}
    if not (folder / "gate" / "verdict.json").exists():
        return "unfinished", "", {}
    verdict = results.verdict(folder)
    ndcg = results.ndcg(folder) if (folder / "evaluate" / "metrics.json").exists() else {}
    return "promoted" if verdict.promote else "refused", verdict.summary.partition(": ")[2], ndcg


def main() -> None:
    """Serve until ended."""
    arguments = argparse.ArgumentParser(prog="python -m ops.pages", description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    handler = partial(Pages, home=place.home().resolve())
    with ThreadingHTTPServer((LOOPBACK, port), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
