"""The nights' own pages over HTTP: `python -m ops.pages --port 8081`.

A list of the nights, their reports and receipts, and the data docs; nothing else, for the home holds secrets.
"""

import argparse
import json
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from contracts import place
from ops.outcome import MODELS
from ops.ports import LOOPBACK

SERVED = ("nights", "data_docs")  # folders of the home


class Pages(SimpleHTTPRequestHandler):
    """Files of the served folders; the root is the list of nights, made anew at each look."""

    home: Path

    def __init__(self, *args: Any, home: Path) -> None:
        self.home = home
        super().__init__(*args, directory=str(home))

    def send_head(self) -> Any:
        """A file of the served folders; outside them there is nothing."""
        found = Path(self.translate_path(self.path))
        if not any(found.is_relative_to(self.home / name) for name in SERVED):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

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
    checks = _read(folder / "check" / "results.json")
    verdict = _read(folder / "gate" / "verdict.json")
    if checks.get("outcome") == "blocked":
        met = [check for check in checks["checks"] if check["outcome"] == "failed"]
        why = "; ".join(
            f"{c['table']}.{c['figure']}: {c['meaning']}" for c in met if c["severity"] == "error"
        )
        return {"night": folder.name, "state": "blocked", "why": why, "ndcg": {}, "report": False}
    state = "unfinished" if not verdict else "promoted" if verdict["promote"] else "refused"
    metrics = _read(folder / "evaluate" / "metrics.json") if verdict else {}
    return {
        "night": folder.name,
        "state": state,
        "why": verdict.get("summary", "").partition(": ")[2],
        "ndcg": {name: figures[metrics["primary"]] for name, figures in metrics.get("models", {}).items()},
        "report": (folder / "report" / "report.html").exists(),
    }


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


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
