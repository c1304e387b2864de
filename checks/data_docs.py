"""Make the Data Docs readable without the internet, and write an index that needs no scripts.

The pages of Great Expectations load styles, scripts and a logo from other servers. Offline their index is
empty, and online those servers can track each reader. This module removes such links and adds a local style
sheet. It writes the index from the stored validations.
"""

import json
import os
import re
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

STYLESHEET = "data_docs.css"
# The scripts in the pages need external libraries, so they are removed, too.
SCRIPT_TAG = re.compile(r"<script\b.*?</script>", re.DOTALL)
EXTERNAL_LINK = re.compile(r"<(?:link|img)\b[^>]*(?:href|src)=\"https?://[^>]*>")
ADVERTISEMENT = re.compile(r"<footer\b.*?</footer>|<div id=\"ge-cta-footer\".*?</div>", re.DOTALL)


def finish_data_docs(site: Path, store: Path) -> None:
    """Remove external links from all new pages and write the index.

    Args:
        site: folder of the pages.
        store: folder of the stored validations.
    """
    shutil.copyfile(Path(__file__).parent / STYLESHEET, site / STYLESHEET)
    for page in site.glob("*/**/*.html"):
        text = page.read_text(encoding="utf-8")
        if STYLESHEET not in text:
            styles = os.path.relpath(site / STYLESHEET, page.parent)
            page.write_text(_make_offline(text, styles), encoding="utf-8")
    pages = Environment(
        loader=PackageLoader("checks", ""),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    index = pages.get_template("index.html.j2").render(nights=_validations_by_night(store), styles=STYLESHEET)
    (site / "index.html").write_text(index, encoding="utf-8")


def _make_offline(page: str, styles: str) -> str:
    for unwanted in (SCRIPT_TAG, EXTERNAL_LINK, ADVERTISEMENT):
        page = unwanted.sub("", page)
    return page.replace("</head>", f'<link rel="stylesheet" href="{styles}">\n</head>', 1)


def _validations_by_night(store: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return (night, all its validations), both newest first."""
    root = store / "validations"
    validations = [_read_validation(path, root) for path in root.glob("*/*/*/*.json")]
    validations.sort(key=lambda v: (v["night"], v["time"], v["table"]), reverse=True)
    return [(night, list(group)) for night, group in groupby(validations, key=lambda v: v["night"])]


def _read_validation(path: Path, root: Path) -> dict[str, Any]:
    validation = json.loads(path.read_text(encoding="utf-8"))
    table, night, time, _ = path.relative_to(root).parts
    failed = [
        result["expectation_config"]["kwargs"]["column"]
        for result in validation["results"]
        if not result["success"]
    ]
    return {
        "table": table,
        "night": night,
        "time": time,
        "num_passed": validation["statistics"]["successful_expectations"],
        "num_evaluated": validation["statistics"]["evaluated_expectations"],
        "failed": sorted(failed),
        "page": Path("validations") / path.relative_to(root).with_suffix(".html"),
    }
