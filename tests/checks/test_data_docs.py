import html
import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pytest
from great_expectations.expectations import (
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeInSet,
    ExpectTableRowCountToBeBetween,
)

from checks.expectations import ExpectColumnPsiToBeAtMost, ExpectKeyToBeUnique
from checks.night_tables import NightTables
from checks.suite import Suite, expect
from checks.validation import validate


class Rows(NightTables):
    """A night whose tables all have these values."""

    def __init__(self, *values: int) -> None:
        self.rows = pd.DataFrame({"value": values})

    def select(self, query: str, tables: Collection[str]) -> pd.DataFrame:
        return self.rows


SUITES = [
    Suite(
        table,
        (),
        "",
        ("value",),
        [
            expect(ExpectTableRowCountToBeBetween, "rows", "rows received", min_value=2),
            expect(ExpectColumnValuesToBeBetween, "low", "low values", "warn", column="value", min_value=0),
        ],
    )
    for table in ("events", "features")
]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The Data Docs of two nights. The first failed and was checked again."""
    home = tmp_path_factory.mktemp("home")
    for night, values in (("2026-03-05", [1]), ("2026-03-05", [1, 2]), ("2026-03-06", [1, -2])):
        validate(SUITES, Rows(*values), night, home / "store", home / "site")
    return home / "site"


def test_no_page_loads_external_resources_or_runs_scripts(site):
    pages = [*site.glob("**/*.html")]
    assert len(pages) == 1 + 2 + 2 * 3  # the index, two suites and a page for each validation
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(src|href)=\"(https?:)?//", text), page
        assert "<script" not in text


def test_every_page_has_the_local_style_sheet(site):
    for page in site.glob("**/*.html"):
        (styles,) = re.findall(r'<link rel="stylesheet" href="([^"]*)">', page.read_text(encoding="utf-8"))
        assert (page.parent / styles).resolve() == (site / "data_docs.css").resolve()


def test_every_page_links_to_the_index(site):
    for page in site.glob("*/**/*.html"):
        (link,) = re.findall(r'<a href="([^"]*)">All nights</a>', page.read_text(encoding="utf-8"))
        assert (page.parent / link).resolve() == (site / "index.html").resolve()


def test_the_index_links_to_all_pages_newest_first(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="(validations/[^"]*)"', text)
    assert len(links) == 6
    assert all((site / link).is_file() for link in links)
    assert [link.split("/")[2] for link in links] == ["2026-03-06"] * 2 + ["2026-03-05"] * 4
    assert re.findall(r'href="expectations/([^"]*)"', text) == ["events.html", "features.html"]


def test_the_index_tells_what_blocks_from_what_warns(site):
    rows = re.findall(r"<tr.*?</tr>", (site / "index.html").read_text(encoding="utf-8"), re.DOTALL)
    blocked = [row for row in rows if "fa-times" in row]
    warned = [row for row in rows if "fa-exclamation-triangle" in row]
    assert len(blocked) == len(warned) == 2
    assert all("1 of 2" in row and "<td>rows</td>" in row for row in blocked)
    assert all("1 of 2" in row and "<td>low</td>" in row for row in warned)


MARKUP = "<script>alert(1)</script>"


def test_values_of_the_data_are_no_html(tmp_path):
    rows = Rows()
    rows.rows = pd.DataFrame({"name": [MARKUP, MARKUP]})
    name = {"column": "name", "severity": "warn"}
    expectations = [
        expect(ExpectKeyToBeUnique, "repeated", "repeated names", columns=["name"]),
        expect(ExpectColumnValuesToBeInSet, "unknown", "unknown names", value_set=["a"], **name),
        expect(ExpectColumnPsiToBeAtMost, "psi", "shift", usual_shares={MARKUP: 0.1}, max_value=0.1, **name),
    ]
    suite = Suite("events", (), "", ("name",), expectations)
    results = validate([suite], rows, "2026-03-05", tmp_path / "store", tmp_path / "site")
    assert [result.outcome for result in results] == ["failed"] * 3
    texts = [page.read_text(encoding="utf-8") for page in (tmp_path / "site").glob("**/*.html")]
    assert not [text for text in texts if "<script" in text]
    assert [text for text in texts if html.escape(MARKUP) in text]
    (stored,) = (tmp_path / "store" / "validations").rglob("*.json")
    assert MARKUP in stored.read_text(encoding="utf-8")
