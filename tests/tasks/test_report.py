import json
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.config import load_params
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import RunManifest, write_json, write_manifest
from reporting.users import MAX_RECOMMENDED, MAX_WATCHED, example_users
from tasks import gate, report
from tests.support.workspaces import DAY, MODALITIES, sample_night

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
NUM_RECOMMENDED = PARAMS.report.example_users * MAX_RECOMMENDED
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


STAMP = {"night": str(DAY), "seconds": 1.0, "peak_memory_mib": 5}


def _promoted(night: Night) -> None:
    facts = {"version": "4", "model": "undercurrent", "outcome": "is now the champion and replaces version 3"}
    facts |= {"champion": "4", "challenger": "4", "previous": "3"}
    digests = {"bundle_digest": "b" * 64}
    write_manifest(night.run_manifests, "promote", RunManifest(facts=facts, digests=digests), STAMP)


def test_the_page_shows_the_verdict_and_every_condition(night):
    _promoted(night)
    _, page = page_of(night)
    verdict = json.loads((night.workspace / "gate/verdict.json").read_text())
    assert page.words.index("Promoted") < page.words.index("conditions")
    for condition in verdict["conditions"]:
        assert condition["name"].replace("_", " ") in page.words
        assert condition["reason"] in page.words
    assert not page.open


def test_a_refused_night_has_its_reason(night):
    path = night.workspace / "evaluate/details.json"
    metrics = json.loads(path.read_text())
    metrics["differences"]["champion"]["ndcg@10"]["low"] = -0.01
    write_json(path, metrics)
    _, page = page_of(night)
    assert "Refused NDCG@10 is not significantly better than that of the champion" in page.words
    assert "failed better than champion" in page.words


def test_the_page_is_self_contained(night):
    text, page = page_of(night)
    assert text.count("<svg") == 7
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


def test_user_text_is_escaped(night):
    text, page = page_of(night)
    assert "<clip>" not in text
    assert "&lt;clip&gt;" in text
    assert "<clip> no." in page.words


HOSTILE_NAMES = (r"$\frac$", "_hidden", "other", "</text><script>alert(1)</script>", "c" * 200)


def test_hostile_names_are_plotted_as_they_are(night):
    _change_categories(night, [HOSTILE_NAMES[i % 5] for i in range(39)] + [None])
    _change_segments(night, HOSTILE_NAMES)
    text, page = page_of(night)
    assert "<script" not in text
    for shown in (r"$\frac$", "hidden", "other", "</text><script>alert(1)</script>", "c" * 31 + "…"):
        assert page.words.count(shown) > 1  # in the map, and in a plot or table of the weights
    in_legend_and_plot = [line for line in page.text if line == "other"]
    assert len(in_legend_and_plot) == 4  # in the legend the category, and the videos of no category


def test_of_many_segments_the_largest_are_shown(night):
    _change_segments(night, [f"{i:03d}" for i in range(300)])
    _, page = page_of(night)
    assert "age band=299" in page.words
    assert "age band=280" in page.words
    assert "age band=279" not in page.words
    assert "At most 20 of each are shown" in page.words


def _change_categories(night: Night, categories: list[str | None]) -> None:
    """Give the videos of the map other categories."""
    path = night.require_output("evaluate", "explanations/item_map.parquet")
    table = pq.read_table(path).drop_columns("category")
    pq.write_table(table.append_column("category", pa.array(categories, pa.string())), path)


def _change_segments(night: Night, values: Sequence[str]) -> None:
    """Give the users other segments, each a little larger than the one before."""
    path = night.require_output("evaluate", "details.json")
    details = json.loads(path.read_text())
    weights = details["modality_weights"]
    weights["by_user_segment"] = {
        f"age_band={value}": weights["users"] | {"count": 20 + i} for i, value in enumerate(values)
    }
    weights["by_category"] = dict.fromkeys(values, weights["users"])
    write_json(path, details)


def test_a_baseline_of_ids_has_no_modality_weights(night):
    path = night.require_output("evaluate", "recommendations.parquet")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([name for name in table.column_names if "alpha_" in name]), path)
    weights = {"is_learned": False, "mean": {}, "users": {}, "by_user_segment": {}, "by_category": {}}
    _change_details(night, modality_weights={**weights, "gain": None, "is_informative": False})
    assert "The challenger does not learn modality weights." in page_of(night)[1].words


def test_a_page_without_champion_modalities_and_optional_files(tmp_path):
    night = sample_night(tmp_path / "night", champion=None, modalities=())
    for file in ("train/curve.json", "run_manifests/embed.json", "run_manifests/clean.json"):
        (night.workspace / file).unlink()
    text, page = page_of(night)
    assert "There is no champion yet" in page.words
    assert "no visual, text or audio features" in page.words
    assert text.count("<svg") == 3


@pytest.mark.parametrize("modalities", [("text", "audio"), MODALITIES])
def test_informative_modality_weights_are_shown_with_their_gain(tmp_path, modalities):
    text, page = page_of(sample_night(tmp_path / "night", modalities=modalities))
    assert "weights change NDCG@10 by +0.0200 (95 % confidence interval: +0.0050 to +0.0350)" in page.words
    assert "Each recommendation names the modality" in page.words
    assert text.count('class="stack"') == NUM_RECOMMENDED
    assert text.count("10th to 90th percentile</text>") == 2
    assert f"user segment users {' '.join(modalities)} all users 60" in page.words
    assert f"video category videos {' '.join(modalities)} cats" in page.words


EVEN = {"mean": 0.0003, "low": -0.001, "high": 0.0016, "num_users": 60}
NOT_SHOWN = {
    "The data cannot tell the modality weights: the learned weights change NDCG@10 by +0.0003 (95 %"
    " confidence interval: −0.0010 to +0.0016), compared with equal weights for all users.": {"gain": EVEN},
    "The data cannot tell the modality weights: the learned weights change NDCG@10 by +0.0003 (95 %"
    " confidence interval: – to –)": {"gain": EVEN | {"low": None, "high": None}},
    "Equal modality weights are better than the learned ones: the learned weights change NDCG@10 by"
    " −0.0100": {"gain": {"mean": -0.01, "low": -0.02, "high": -0.001, "num_users": 60}},
    "The challenger does not learn modality weights.": {"gain": None, "is_learned": False},
    "There is only one modality, so its weight is 1.": {"gain": None},
}


@pytest.mark.parametrize("sentence", NOT_SHOWN)
def test_modality_weights_that_are_not_informative_are_one_sentence(night, sentence):
    path = night.workspace / "evaluate/details.json"
    metrics = json.loads(path.read_text())
    metrics["modality_weights"] |= {"is_informative": False, **NOT_SHOWN[sentence]}
    write_json(path, metrics)
    text, page = page_of(night)
    assert f"Modality weights {sentence}" in page.words
    assert 'class="stack"' not in text
    assert "user segment users" not in page.words
    assert "names the modality" not in page.words
    assert '</td><td class="soft small">visual' not in text


def test_models_at_every_cutoff(night):
    _, page = page_of(night)
    assert (
        "model NDCG@10 recall@10 MRR@10 coverage@10 gini@10 tail share@10 new share@10 AUC gAUC F1"
        in page.words
    )
    assert "Challenger 5 0.205 0.300 0.200 0.600 0.500 0.400 0.100 Challenger 10 0.210" in page.words


def test_retrieval_in_both_directions_with_chance(night):
    _, page = page_of(night)
    assert "Initialisation is warm: champion, version 1. Epoch 1 of 1 was kept." in page.words
    assert "visual text 16 0.250 0.062 0.750 0.625 0.800 −2.100" in page.words
    assert "text visual 16 0.375 0.062 0.750 0.625 0.800 −2.100" in page.words
    assert "text → visual" in page.words


def test_embedding_drift_or_why_there_is_none(night, tmp_path):
    assert "audio 30 0.0200 0.0500" in page_of(night)[1].words
    first = sample_night(tmp_path / "first", champion=None)
    assert "Not compared: there is no champion yet" in page_of(first)[1].words


def test_promotion_and_record_are_shown(night):
    _promoted(night)
    record = {"tag": "night/2026-03-12", "repository": "/r"}
    write_manifest(night.run_manifests, "record", RunManifest(facts=record), STAMP)
    _, page = page_of(night)
    assert "Version 4 of undercurrent is now the champion and replaces version 3" in page.words
    assert "night/2026-03-12" in page.words
    assert "b" * 64 in page.words


def test_an_unknown_metric_is_a_dash(night):
    path = night.workspace / "evaluate/details.json"
    metrics = json.loads(path.read_text())
    metrics["models"]["challenger"] |= {"auc": None, "f1": float("nan")}
    metrics["slices"]["cold_users"]["difference"] = {"mean": 0.1, "low": None, "high": None, "num_users": 1}
    write_json(path, metrics)
    _, page = page_of(night)
    assert "nan" not in page.words.lower().split()


def test_an_unmeasured_reference_is_a_dash(night):
    path = night.workspace / "evaluate/details.json"
    metrics = json.loads(path.read_text())
    del metrics["differences"]["champion"]
    path.write_text(json.dumps(metrics))
    users = night.workspace / "evaluate/per_user.parquet"
    pq.write_table(pq.read_table(users).drop_columns("ndcg_champion"), users)
    _, page = page_of(night)
    assert "Refused" in page.words
    assert "could not be measured" in page.words


def _change_details(night: Night, **changes: object) -> None:
    path = night.require_output("evaluate", "details.json")
    write_json(path, json.loads(path.read_text()) | changes)


def test_faithful_attention_is_shown_with_its_test(night):
    _, page = page_of(night)
    assert "It is faithful, so it is shown." in page.words
    assert "most attended +0.500 newest +0.450 +0.050 +0.035 … +0.065" in page.words
    assert page.words.count("Read most by attention") == PARAMS.report.example_users
    assert "cooking <clip> no. 4 cooking 31 %" in page.words
    assert "says no more than the order" not in page.words
    details = json.loads(night.require_output("evaluate", "details.json").read_text())
    details["attention"]["difference"]["newest"] = {"mean": 0.0, "low": -0.01, "high": 0.01}
    _change_details(night, attention=details["attention"])
    assert "It is faithful, so it is shown. But it says no more than the order" in page_of(night)[1].words


def test_attention_that_is_not_faithful_is_not_shown(night):
    details = json.loads(night.require_output("evaluate", "details.json").read_text())
    _change_details(night, attention=details["attention"] | {"is_faithful": False})
    _, page = page_of(night)
    assert "It is not faithful, so it is not shown." in page.words
    assert "Read most by attention" not in page.words


def test_a_model_without_attention_says_so(night):
    none = {"has_attention": False, "is_faithful": False, "num_users": 0, "drop": {}, "difference": {}}
    _change_details(night, attention={"model": "lstm", "deleted_share": 0.2, **none})
    _, page = page_of(night)
    assert "lstm has no attention that can be tested" in page.words
    assert "Read most by attention" not in page.words


def test_the_map_colours_the_videos_by_category(night):
    text, page = page_of(night)
    assert "item embeddings of 40 videos. They hold 42 % of the variance" in page.words
    assert "81 % have the category of the video; of random videos 23 %" in page.words
    assert "first principal component" in page.words
    for colour in ("blue", "orange", "green", "red"):  # four categories
        assert f"stroke: var(--{colour})" in text
    assert "stroke: var(--violet)" not in text


def test_the_interest_shift_names_categories_and_videos_but_no_day(night):
    _, page = page_of(night)
    assert "older half cats 75 %, travel 25 % cats <clip> no. 2 cats" in page.words
    assert "newer half travel 100 % travel <clip> no. 3 travel" in page.words
    assert "a difference is no proof that the taste has changed" in page.words
    assert "drift day" not in page.words


def test_trends_are_named_for_each_example_user(night):
    assert "share of the best videos" not in page_of(night)[1].words
    _change_details(night, trends={"num_trends": 2, "mean_names": 1.9, "largest_share": 0.7})
    users = [f"u{i:03d}" for i in range(60)]
    rows = [
        {
            "user_id": user,
            "trend": trend,
            "name": name,
            "name_share": 0.6,
            "nearest": [row],
            "recommended_share": x,
        }
        for user in users
        for trend, name, row, x in ((1, "cats", 2, 0.25), (2, None, 3, 0.75))
    ]
    pq.write_table(pa.Table.from_pylist(rows), night.workspace / "evaluate/explanations/trends.parquet")
    _, page = page_of(night)
    assert "gives each user 2 interest vectors, called trends" in page.words
    assert "2 unknown 60 % of the nearest 75 % travel <clip> no. 3 1 cats 60 %" in page.words


def _with_segments(night: Night) -> None:
    """Add segment interest to the evaluation, as `evaluate` writes it."""
    path = night.require_output("evaluate", "details.json")
    details = json.loads(path.read_text())
    difference = {"mean": 0.02, "low": 0.01, "high": 0.03, "num_users": 60}
    comparison = {"challenger": 0.654, "position_only": 0.634, "difference": difference}
    metrics = dict.fromkeys(("hr@1", "ndcg@10", "auc"), comparison)
    write_json(path, details | {"segments": {"num_views": 321, "num_exits": 123, "metrics": metrics}})
    path = night.require_output("evaluate", "recommendations.parquet")
    table = pq.read_table(path)
    for name, curve in (("segment_interest", [0.5, -0.5]), ("segment_stay", [0.9, 0.4])):
        table = table.append_column(name, pa.array([curve] * len(table), pa.list_(pa.float32())))
    pq.write_table(table, path)


def test_segment_interest_is_compared_and_plotted_for_each_example_user(night):
    _with_segments(night)
    text, page = page_of(night)
    assert "123 of them ended before the video did" in page.words
    assert "HR@1 0.654 0.634 +0.0200 +0.0100 … +0.0300 significantly better" in page.words
    assert text.count("probability to stay") == PARAMS.report.example_users
    assert "recommendation 3" in page.words
    assert "recommendation 4" not in page.words


def test_a_night_without_segment_interest_does_not_mention_it(night):
    assert "egment interest" not in page_of(night)[1].words


def test_no_page_without_a_verdict(night):
    with pytest.raises(InputError, match=r"run `python -m tasks\.gate"):
        report.run(PARAMS.report, night)


def test_example_users_spread_over_sequence_lengths(night):
    users = example_users(night, 4, list(MODALITIES), attention_is_faithful=True)
    assert len(users) == 4
    lengths = [user["sequence_length"] for user in users]
    assert lengths == sorted(lengths)
    assert lengths[0] == 0
    assert users[0]["latest_interactions"] == []
    shown = pq.read_table(night.workspace / "evaluate/recommendations.parquet").to_pylist()
    titles = pq.read_table(night.workspace / "snapshot/catalogue.parquet").to_pylist()
    for user in users:
        rows = [row for row in shown if row["user_id"] == user["user_id"]][:MAX_RECOMMENDED]
        names = [titles[row["video_row"]]["caption"] or titles[row["video_row"]]["video_id"] for row in rows]
        assert [item["title"] for item in user["recommended"]] == names
        assert [item["top_modality"] for item in user["recommended"]] == [row["top_modality"] for row in rows]
        assert [item["modality_weights"]["text"] for item in user["recommended"]] == [
            row["alpha_text"] for row in rows
        ]
        assert len(user["latest_interactions"]) <= MAX_WATCHED


def test_a_hit_is_marked(night):
    user = example_users(night, 1, [], attention_is_faithful=True)[0]
    rows = pq.read_table(night.workspace / "evaluate/recommendations.parquet").to_pylist()
    hit = next(row["video_row"] for row in rows if row["user_id"] == user["user_id"] and row["rank"] == 2)
    path = night.workspace / "snapshot/interactions_test.parquet"
    interactions = pq.read_table(path).to_pylist()
    interactions.append({"user_id": user["user_id"], "video_row": hit, "completed": True, "positive": True})
    pq.write_table(pa.Table.from_pylist(interactions), path)
    assert [
        item["is_hit"] for item in example_users(night, 1, [], attention_is_faithful=True)[0]["recommended"]
    ] == [
        False,
        True,
        False,
        False,
        False,
    ]


def test_more_examples_than_users_show_each_user_once(night):
    users = example_users(night, 1000, [], attention_is_faithful=True)
    assert len({user["user_id"] for user in users}) == len(users) == 60


def test_the_report_is_written_from_any_working_folder(night, tmp_path):
    gate.run(PARAMS.gate, night)
    completed = subprocess.run(
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
    assert completed.returncode == 0, completed.stderr
    assert (night.workspace / "run_manifests/report.json").exists()


def test_missing_days_are_shown(night):
    path = night.workspace / "snapshot" / "manifest.json"
    write_json(path, json.loads(path.read_text()) | {"missing_days": ["2026-03-09", "2026-03-10"]})
    assert "Tonight's data leaves out 2026-03-09, 2026-03-10." in page_of(night)[1].words


def test_the_key_of_pseudonyms_is_shown_by_its_fingerprint(night):
    assert "pseudonyms" not in page_of(night)[1].words
    write_manifest(night.run_manifests, "snapshot", RunManifest(facts={"pseudonym_key": "12ab34cd"}), STAMP)
    assert "The names are pseudonyms, made with the key 12ab34cd." in page_of(night)[1].words
