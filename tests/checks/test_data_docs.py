import re
from pathlib import Path

import pytest

from checks.suites import Expectation
from checks.validation import validate

EXPECTATIONS = [
    Expectation("events", "rows", "events received", min_value=100),
    Expectation("features", "bad", "bad vectors", max_value=0),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The Data Docs of two nights. The first failed and was checked again."""
    home = tmp_path_factory.mktemp("home")
    for night, rows in (("2026-03-05", 7), ("2026-03-05", 700), ("2026-03-06", 800)):
        metrics = {"events": {"rows": rows}, "features": {"bad": 0}}
        validate(EXPECTATIONS, metrics, night, home / "store", home / "site")
    return home / "site"


def test_no_page_loads_external_resources(site):
    pages = [*site.glob("**/*.html")]
    assert len(pages) == 1 + 2 + 2 * 3  # the index, two suites and a page for each validation
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(link|img|script|iframe)[^>]*(src|href)=\"(https?:)?//", text), page
        assert "<script" not in text


def test_every_page_has_the_local_style_sheet(site):
    for page in site.glob("**/*.html"):
        (styles,) = re.findall(r'<link rel="stylesheet" href="([^"]*)">', page.read_text(encoding="utf-8"))
        assert (page.parent / styles).resolve() == (site / "data_docs.css").resolve()


def test_the_index_links_to_all_pages_newest_first(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="(validations/[^"]*)"', text)
    assert len(links) == 6
    assert all((site / link).is_file() for link in links)
    assert [link.split("/")[2] for link in links] == ["2026-03-06"] * 2 + ["2026-03-05"] * 4


def test_the_index_names_failed_expectations(site):
    rows = re.findall(r"<tr.*?</tr>", (site / "index.html").read_text(encoding="utf-8"), re.DOTALL)
    failed = [row for row in rows if "fa-times" in row]
    assert len(failed) == 1
    assert "0 of 1" in failed[0]
    assert "<td>rows</td>" in failed[0]


def test_the_text_of_a_page_is_kept(site):
    pages = sorted(site.glob("validations/events/2026-03-05/*/*.html"))
    assert "events received: at least 100 (error)" in pages[0].read_text(encoding="utf-8")
