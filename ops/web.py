"""Serve the nights' web pages: `python -m ops.web --port 8081`.

They are an overview of the nights, the files of each night and the data docs. The rest of the home holds
secrets and is not served.
"""

import argparse
import os
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from core import paths
from ops import night_results
from ops.night_results import UnreadableFileError
from ops.ports import LOOPBACK, allowed_hosts
from ops.run_outcome import MODELS

SERVED_FOLDERS = ("nights", "data_docs")  # folders of the home


class NightsRequestHandler(SimpleHTTPRequestHandler):
    """Serves SERVED_FOLDERS. The root is an overview of the nights, made anew for each request."""

    home: Path

    def __init__(self, *args: Any, home: Path) -> None:
        self.home = home
        super().__init__(*args, directory=str(home))

    def parse_request(self) -> bool:
        """Refuse a request with a foreign Host, which prevents DNS rebinding."""
        if not super().parse_request():
            return False
        port = cast(ThreadingHTTPServer, self.server).server_port
        if self.headers.get("Host") in allowed_hosts(port):
            return True
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        return False

    def send_head(self) -> Any:
        """Send a file of the served folders. Links that lead outside them are not followed."""
        requested = Path(self.translate_path(self.path))
        candidates = [
            path
            for path in (requested, requested / "index.html", requested / "index.htm")
            if os.path.lexists(path)
        ]
        if not requested.exists() or not all(map(self._is_served, candidates)):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def _is_served(self, path: Path) -> bool:
        resolved = Path(os.path.realpath(path))
        inside = any(resolved.is_relative_to((self.home / name).resolve()) for name in SERVED_FOLDERS)
        return inside and (resolved.is_file() or resolved.is_dir())

    def do_GET(self) -> None:
        """Send the overview of the nights or a file."""
        if self.path.partition("?")[0] not in ("/", "/index.html"):
            super().do_GET()
            return
        body = render_index(self.home).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def render_index(home: Path) -> str:
    """Render the overview of the nights, newest first."""
    templates = Environment(
        loader=PackageLoader("ops", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    nights = [_summarise_night(folder) for folder in sorted(home.glob("nights/*/"), reverse=True)]
    docs = (home / "data_docs" / "index.html").exists()
    return templates.get_template("nights.html.j2").render(nights=nights, docs=docs, models=MODELS)


def _summarise_night(folder: Path) -> dict[str, Any]:
    """Summarise a night for the overview. A blocked night shows no report."""
    try:
        state, reason, ndcg = _night_state(folder)
    except UnreadableFileError as error:
        state, reason, ndcg = "unreadable", str(error), {}
    report = state != "blocked" and (folder / "report" / "report.html").exists()
    return {"night": folder.name, "state": state, "reason": reason, "ndcg": ndcg, "report": report}


def _night_state(folder: Path) -> tuple[str, str, dict[str, float]]:
    """Return the state of a night, its reason and the primary metric of each model."""
    if (folder / "check" / "results.json").exists():
        check_results = night_results.read_check_results(folder)
        if check_results.outcome == "blocked":
            failed = [e for e in check_results.expectations if (e.outcome, e.severity) == ("failed", "error")]
            return "blocked", "; ".join(f"{e.table}.{e.metric}: {e.description}" for e in failed), {}
    if not (folder / "gate" / "verdict.json").exists():
        return "unfinished", "", {}
    verdict = night_results.read_verdict(folder)
    ndcg = night_results.read_ndcg(folder) if (folder / "evaluate" / "details.json").exists() else {}
    return "promoted" if verdict.promote else "refused", verdict.summary.partition(": ")[2], ndcg


def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser(prog="python -m ops.web", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    port = parser.parse_args().port
    handler = partial(NightsRequestHandler, home=paths.home().resolve())
    with ThreadingHTTPServer((LOOPBACK, port), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
