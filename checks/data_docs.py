"""The pages of the Data Docs. They need no internet, and the index needs no scripts.

The templates of Great Expectations load styles, scripts and a logo from other servers. Offline they are
unreadable, and online those servers can track each reader. `OfflineView` replaces the templates that do so.

The templates do not escape examples of values either. A value such as `<script>…` would run in the browser of
each reader, so `EscapingRenderer` escapes them.
"""

import html
import json
import shutil
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render import RenderedDocumentContent
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

STYLESHEET = "data_docs.css"
# For the configuration of a site.
VIEW = {"module_name": "checks.data_docs", "class_name": "OfflineView"}
RENDERER = {"module_name": "checks.data_docs", "class_name": "EscapingRenderer"}


class OfflineView(DefaultJinjaPageView):
    """A page of Great Expectations whose frame is the local `templates/page.j2`."""

    def __init__(self, **directories: Any) -> None:
        super().__init__(**directories)
        assert self.env.loader is not None  # it is set above
        self.env.loader = ChoiceLoader([PackageLoader("checks"), self.env.loader])


class EscapingRenderer(ValidationResultsPageRenderer):
    """The content of a page of results, with all values of the data escaped."""

    def render(
        self, validation_results: ExpectationSuiteValidationResult, suite_parameters: Any = None
    ) -> RenderedDocumentContent:
        """Return the content. The stored results stay as they are."""
        escaped = deepcopy(validation_results)
        for result in escaped.results:
            result.result = _escape(result.result)
        return super().render(escaped, suite_parameters)


def _escape(value: Any) -> Any:
    """Return a part of a result with all texts in it escaped for HTML."""
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {_escape(name): _escape(item) for name, item in value.items()}
    return [_escape(item) for item in value] if isinstance(value, list) else value


def write_index(site: Path, store: Path) -> None:
    """Write the list of all validations, and the style sheet of all pages.

    Args:
        site: folder of the pages.
        store: folder of the stored validations.
    """
    shutil.copyfile(Path(__file__).parent / STYLESHEET, site / STYLESHEET)
    pages = Environment(
        loader=PackageLoader("checks"),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    suites = sorted(path.stem for path in (site / "expectations").glob("*.html"))
    index = pages.get_template("index.html.j2").render(
        nights=_validations_by_night(store), suites=suites, styles=STYLESHEET
    )
    (site / "index.html").write_text(index, encoding="utf-8")


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
        result["expectation_config"]["meta"] for result in validation["results"] if not result["success"]
    ]
    return {
        "table": table,
        "night": night,
        "time": time,
        "num_passed": validation["statistics"]["successful_expectations"],
        "num_evaluated": validation["statistics"]["evaluated_expectations"],
        "blocking": sorted(meta["metric"] for meta in failed if meta["severity"] == "error"),
        "warning": sorted(meta["metric"] for meta in failed if meta["severity"] == "warn"),
        "page": Path("validations") / path.relative_to(root).with_suffix(".html"),
    }
