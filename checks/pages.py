"""The Data Docs made to be read without the internet, and with an index that needs no scripts.

Great Expectations' pages take styles, scripts and logo from addresses of others: offline the index is empty,
and online each look at a page is told to somebody. Here such links are cut out, one style sheet of ours
stands in, and the index is written anew from the kept validations.
"""

import json
import os
import re
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

STYLES = "data_docs.css"
# The scripts in the pages do nothing without the libraries from elsewhere.
SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
ELSEWHERE = re.compile(r"<(?:link|img)\b[^>]*(?:href|src)=\"https?://[^>]*>")
ADVERTISEMENT = re.compile(r"<footer\b.*?</footer>|<div id=\"ge-cta-footer\".*?</div>", re.DOTALL)


def finish(site: Path, store: Path) -> None:
    """Cut what leads elsewhere out of every new page of `site`, and write its index from `store`."""
    shutil.copyfile(Path(__file__).parent / STYLES, site / STYLES)
    for page in site.glob("*/**/*.html"):
        text = page.read_text(encoding="utf-8")
        if STYLES not in text:
            styles = os.path.relpath(site / STYLES, page.parent)
            page.write_text(_offline(text, styles), encoding="utf-8")
    pages = Environment(
        loader=PackageLoader("checks", ""),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    index = pages.get_template("index.html.j2").render(nights=_nights(store), styles=STYLES)
    (site / "index.html").write_text(index, encoding="utf-8")


def _offline(page: str, styles: str) -> str:
    for unwanted in (SCRIPT, ELSEWHERE, ADVERTISEMENT):
        page = unwanted.sub("", page)
    return page.replace("</head>", f'<link rel="stylesheet" href="{styles}">\n</head>', 1)


def _nights(store: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """(night, its validations), both the newest first; of a night that was checked again all are there."""
    root = store / "validations"
    found = [_validation(path, root) for path in root.glob("*/*/*/*.json")]
    found.sort(key=lambda v: (v["night"], v["time"], v["table"]), reverse=True)
    return [(night, list(group)) for night, group in groupby(found, key=lambda v: v["night"])]


def _validation(path: Path, root: Path) -> dict[str, Any]:
    kept = json.loads(path.read_text(encoding="utf-8"))
    table, night, time, _ = path.relative_to(root).parts
    failed = [
        result["expectation_config"]["kwargs"]["column"]
        for result in kept["results"]
        if not result["success"]
    ]
    return {
        "table": table,
        "night": night,
        "time": time,
        "met": kept["statistics"]["successful_expectations"],
        "of": kept["statistics"]["evaluated_expectations"],
        "failed": sorted(failed),
        "page": Path("validations") / path.relative_to(root).with_suffix(".html"),
    }
