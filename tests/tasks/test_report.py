import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import InputError
from contracts.params import load
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, write_json, write_receipt
from tasks import gate, report
from tasks.report_people import SHOWN, WATCHED, examples
from tests.workspaces import MODALITIES, sample_night

PARAMS = load(PROJECT / "params.yaml")
VOID = {"meta", "br", "img", "path", "use", "line", "rect", "circle", "defs", "link"}


class Page(HTMLParser):
    """The page's text, and whether every element that was opened is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.text.append(" ".join(data.split()))

    @property
    def words(self) -> str:
        return " ".join(word for word in self.text if word)


def page_of(night: Night) -> tuple[str, Page]:
    gate.run(PARAMS.gate, night)
    report.run(PARAMS.report, night)
    text = (night.workspace / "report/report.html").read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def night(tmp_path) -> Night:
    return sample_night(tmp_path / "night")


def test_the_page_starts_with_the_verdict_and_tells_every_condition(night):
    _, page = page_of(night)
    verdict = json.loads((night.workspace / "gate/verdict.json").read_text())
    assert page.words.index("Promoted") < page.words.index("conditions")
    for condition in verdict["conditions"]:
        assert condition["name"].replace("_", " ") in page.words
        assert condition["why"] in page.words
    assert not page.open


def test_a_refused_night_says_so_and_why(night):
    path = night.workspace / "evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["differences"]["champion"]["ndcg@10"]["low"] = -0.01
    write_json(path, metrics)
    _, page = page_of(night)
    assert "Refused NDCG@10 is not better than the champion's" in page.words
    assert "failed better than champion" in page.words


def test_the_page_needs_nothing_but_itself(night):
    text, page = page_of(night)
    assert text.count("<svg") == 5
    assert "<script" not in text
    assert not [value for name, value in page.attributes if name == "src"]
    links = [value for name, value in page.attributes if name in ("href", "xlink:href")]
    assert all(value.startswith("#") for value in links)
    assert not re.search(r"url\((?!['\"]?#)|@import", text)
    namespaces = [value for name, value in page.attributes if name.startswith("xmlns")]
    assert text.count("http") == len([n for n in namespaces if n.startswith("http")])


def test_the_same_night_gives_the_same_page(night, tmp_path):
    again = sample_night(tmp_path / "again")
    assert page_of(night)[0] == page_of(again)[0]


def test_the_data_of_the_night_is_counted_by_reason(night):
    _, page = page_of(night)
    assert "ingest 5,200 5,150 50 malformed json 30 , wrong type 20" in page.words
    assert "evaluate 10.0 s 512 MiB" in page.words


def test_what_people_wrote_is_text_and_never_markup(night):
    text, page = page_of(night)
    assert "<clip>" not in text
    assert "&lt;clip&gt;" in text
    assert "<clip> no." in page.words


def test_a_night_without_champion_modalities_or_optional_files_still_has_its_page(tmp_path):
    night = sample_night(tmp_path / "night", champion=None, modalities=())
    for file in ("train/curve.json", "receipts/embed.json", "receipts/clean.json"):
        (night.workspace / file).unlink()
    text, page = page_of(night)
    assert "There is no champion yet" in page.words
    assert "no pictures, text or sound" in page.words
    assert text.count("<svg") == 2


@pytest.mark.parametrize("modalities", [("text",), MODALITIES])
def test_modality_weights_are_told_for_each_modality_of_the_data(tmp_path, modalities):
    _, page = page_of(sample_night(tmp_path / "night", modalities=modalities))
    assert f"segment people {' '.join(modalities)} all 60" in page.words
    assert f"category videos {' '.join(modalities)} cats" in page.words


def test_the_models_are_told_at_the_primary_cut_off_and_beside_it_at_every_one(night):
    _, page = page_of(night)
    assert "model NDCG@10 recall@10 MRR@10 coverage@10 gini@10 tail share@10 AUC gAUC F1" in page.words
    assert "Challenger 5 0.205 0.300 0.200 0.600 0.500 0.400 Challenger 10 0.210" in page.words


def test_retrieval_is_told_in_both_directions_with_chance_beside(night):
    _, page = page_of(night)
    assert "Started warm: champion, version 1; epoch 1 of 1 is kept" in page.words
    assert "visual text 16 0.250 0.062 0.750 0.625 0.800 −2.100" in page.words
    assert "text visual 16 0.375 0.062 0.750 0.625 0.800 −2.100" in page.words
    assert "text → visual" in page.words


def test_how_far_the_space_has_moved_is_told_or_why_it_is_new(night, tmp_path):
    assert "audio 30 0.0200 0.0500" in page_of(night)[1].words
    first = sample_night(tmp_path / "first", champion=None)
    assert "It is a new space: there is no champion yet" in page_of(first)[1].words


def test_what_promote_and_record_did_is_told_when_they_ran(night):
    facts = {"version": "4", "model": "undercurrent", "outcome": "is the champion now, after 3"}
    facts |= {"champion": "4", "challenger": "4", "previous": "3"}
    stamp = {"night": str(night.day), "seconds": 1.0, "peak_memory_mib": 5}
    write_receipt(night.receipts, "promote", Receipt(facts=facts, digests={"bundle": "b" * 64}), stamp)
    record = {"tag": "night/2026-03-12", "repository": "/r"}
    write_receipt(night.receipts, "record", Receipt(facts=record), stamp)
    _, page = page_of(night)
    assert "Version 4 of undercurrent is the champion now, after 3" in page.words
    assert "night/2026-03-12" in page.words
    assert "b" * 64 in page.words


def test_a_measure_that_is_unknown_is_a_dash_and_no_nan(night):
    path = night.workspace / "evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["models"]["challenger"] |= {"auc": None, "f1": float("nan")}
    metrics["slices"]["cold_users"]["difference"] = {"mean": 0.1, "low": None, "high": None, "users": 1}
    write_json(path, metrics)
    _, page = page_of(night)
    assert "nan" not in page.words.lower().split()


def test_a_rival_that_was_not_measured_is_a_dash_and_the_refusal_is_told(night):
    path = night.workspace / "evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["differences"]["champion"]
    path.write_text(json.dumps(metrics))
    people = night.workspace / "evaluate/per_user.parquet"
    pq.write_table(pq.read_table(people).drop_columns("ndcg_champion"), people)
    _, page = page_of(night)
    assert "Refused" in page.words
    assert "could not be measured" in page.words


def test_without_a_verdict_there_is_no_page(night):
    with pytest.raises(InputError, match=r"run `python -m tasks\.gate"):
        report.run(PARAMS.report, night)


def test_example_people_spread_over_history_lengths_and_show_what_the_files_say(night):
    people = examples(night, 4, list(MODALITIES))
    assert len(people) == 4
    lengths = [person["watched_before"] for person in people]
    assert lengths == sorted(lengths)
    assert lengths[0] == 0
    assert people[0]["watched"] == []
    shown = pq.read_table(night.workspace / "evaluate/recommendations.parquet").to_pylist()
    titles = pq.read_table(night.workspace / "snapshot/catalogue.parquet").to_pylist()
    for person in people:
        mine = [row for row in shown if row["user_id"] == person["user_id"]][:SHOWN]
        names = [titles[row["video_row"]]["caption"] or titles[row["video_row"]]["video_id"] for row in mine]
        assert [one["title"] for one in person["shown"]] == names
        assert [one["carried_by"] for one in person["shown"]] == [row["carried_by"] for row in mine]
        assert [one["attention"] for one in person["because"]] == mine[0]["attention"]
        assert [one["shares"]["text"] for one in person["shown"]] == [row["alpha_text"] for row in mine]
        assert len(person["watched"]) <= WATCHED


def test_whose_interest_changed_is_told_with_the_day(night):
    page = page_of(night)[1]
    told = json.loads((night.workspace / "evaluate/metrics.json").read_text())["changes"]
    assert (
        f"Of {told['people']} test people with enough viewings, {told['changed']} more likely" in page.words
    )
    table = pq.read_table(night.workspace / "evaluate/per_user.parquet")
    days = pa.array([night.day] * len(table), pa.date32())
    place = table.column_names.index("changed_on")
    pq.write_table(table.set_column(place, "changed_on", days), night.workspace / "evaluate/per_user.parquet")
    assert f"· interest changed on {night.day} ·" not in page.words
    assert (
        page_of(night)[1].words.count(f"· interest changed on {night.day} ·") == PARAMS.report.example_users
    )


def test_a_recommendation_that_was_liked_is_marked(night):
    person = examples(night, 1, [])[0]
    rows = pq.read_table(night.workspace / "evaluate/recommendations.parquet").to_pylist()
    hit = next(row["video_row"] for row in rows if row["user_id"] == person["user_id"] and row["rank"] == 2)
    path = night.workspace / "snapshot/test_views.parquet"
    views = pq.read_table(path).to_pylist()
    views.append({"user_id": person["user_id"], "video_row": hit, "completed": True, "positive": True})
    pq.write_table(pa.Table.from_pylist(views), path)
    assert [one["hit"] for one in examples(night, 1, [])[0]["shown"]] == [False, True, False, False, False]


def test_more_examples_than_people_show_everybody_once(night):
    people = examples(night, 1000, [])
    assert len({person["user_id"] for person in people}) == len(people) == 60


def test_the_template_lies_beside_the_step_and_not_in_the_working_folder(night, tmp_path):
    gate.run(PARAMS.gate, night)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tasks.report",
            "--night",
            str(night.day),
            "--workspace",
            str(night.workspace),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (night.workspace / "receipts/report.json").exists()


def test_the_page_names_the_days_whose_data_is_missing(night):
    path = night.workspace / "snapshot" / "manifest.json"
    write_json(path, json.loads(path.read_text()) | {"missing_days": ["2026-03-09", "2026-03-10"]})
    assert "Nothing of 2026-03-09, 2026-03-10 is in tonight's history" in page_of(night)[1].words
