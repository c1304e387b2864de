import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import digests
from contracts.errors import InputError
from contracts.params import load
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, write_json, write_receipt
from tasks import gate
from tasks.gate import Evidence, judge
from tests.workspaces import DAY, sample_night

PARAMS = load(PROJECT / "params.yaml").gate
SHARES = {"visual": 0.5, "text": 0.3, "audio": 0.2}
GOOD = {"mean": 0.02, "low": 0.005, "high": 0.035, "users": 60}
EVEN = {"mean": 0.001, "low": -0.02, "high": 0.022}
METRICS: dict[str, Any] = {
    "users": 60,
    "primary": "ndcg@10",
    "models": {
        "challenger": {"ndcg@10": 0.2, "calibration_error": 0.04, "ranking_head": "complete"},
        "popularity": {"ndcg@10": 0.16},
        "trending": {"ndcg@10": 0.18},
        "itemcf": {"ndcg@10": 0.17},
    },
    "differences": {name: {"ndcg@10": GOOD} for name in ("champion", "popularity", "trending", "itemcf")},
    "slices": {name: {"users": 20, "difference": EVEN} for name in gate.SLICES},
    "alpha": {"learned": True, "mean": SHARES, "entropy": 0.9, "max_entropy": 1.0986},
    "bundles": {"challenger": "c", "champion": "a"},
    "drift": {"against": "champion, version 3", "modalities": {"text": {"p95": 0.05}}, "farthest": 0.05},
}
EVIDENCE = Evidence(
    METRICS, "digest", champion="3", incumbent=None, weighable=True, completions=True, checks="passed"
)


def verdict(evidence: Evidence = EVIDENCE) -> dict[str, Any]:
    return judge(PARAMS, evidence, "2026-03-12")


def changed(value: Any, *path: str) -> Evidence:
    """The good evidence with one value of the metrics replaced."""
    metrics = copy.deepcopy(METRICS)
    node = metrics
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return replace(EVIDENCE, metrics=metrics)


def outcome(found: dict[str, Any], name: str) -> str:
    return next(c["outcome"] for c in found["conditions"] if c["name"] == name)


def test_a_challenger_that_meets_every_condition_is_promoted():
    found = verdict()
    assert found["promote"]
    passed = {c["name"] for c in found["conditions"] if c["outcome"] == "passed"}
    assert passed == {c["name"] for c in found["conditions"]} - {"better_than_incumbent"}
    assert found["summary"].startswith("Promoted: NDCG@10 is better than the champion's (+0.0200")


def test_a_gain_whose_interval_touches_the_margin_is_refused():
    found = verdict(changed({"mean": 0.02, "low": 0.0, "high": 0.04}, "differences", "champion", "ndcg@10"))
    assert not found["promote"]
    assert outcome(found, "better_than_champion") == "failed"
    assert "not better than the champion's" in found["summary"]


def test_without_a_champion_the_challenger_must_beat_every_baseline_and_says_what_it_skipped():
    found = verdict(replace(EVIDENCE, champion=None))
    assert found["promote"]
    assert found["rival"] == "trending"
    assert "better than trending's" in found["summary"]
    assert all(outcome(found, f"better_than_{name}") == "passed" for name in gate.BASELINES)
    assert all(outcome(found, f"slice_{name}") == "skipped" for name in gate.SLICES)


@pytest.mark.parametrize("name", gate.BASELINES)
def test_any_baseline_that_is_not_beaten_refuses_a_first_champion_and_no_later_one(name):
    close = changed({"mean": 0.03, "low": -0.01, "high": 0.07}, "differences", name, "ndcg@10")
    found = verdict(replace(close, champion=None))
    assert outcome(found, f"better_than_{name}") == "failed"
    assert not found["promote"]
    assert verdict(close)["promote"]


@pytest.mark.parametrize("name", gate.BASELINES)
def test_a_baseline_that_was_not_measured_cannot_be_passed_over(name):
    for part in ("differences", "models"):
        metrics = copy.deepcopy(METRICS)
        del metrics[part][name]
        found = verdict(replace(EVIDENCE, metrics=metrics, champion=None))
        assert found["promote"] == (part == "models")  # the order alone follows from the figures
    found = verdict(replace(changed(None, "differences", name, "ndcg@10"), champion=None))
    assert outcome(found, f"better_than_{name}") == "errored"
    assert not found["promote"]


def test_a_champion_that_was_not_scored_is_an_error_and_not_a_missing_champion():
    metrics = copy.deepcopy(METRICS)
    del metrics["differences"]["champion"]
    found = verdict(replace(EVIDENCE, metrics=metrics))
    assert outcome(found, "better_than_champion") == "errored"
    assert not found["promote"]


def incumbent(low: float, bundle: str = "i") -> Evidence:
    """The good evidence of a night that is run again, and has made the present champion, version 4."""
    metrics = copy.deepcopy(METRICS)
    metrics["differences"]["incumbent"] = {"ndcg@10": GOOD | {"low": low}}
    metrics["bundles"]["incumbent"] = bundle
    return replace(EVIDENCE, metrics=metrics, incumbent="4")


def test_a_night_run_again_must_beat_the_champion_that_it_made_itself():
    better = verdict(incumbent(low=0.001))
    assert (better["promote"], better["incumbent"]) == (True, "4")
    assert outcome(better, "better_than_incumbent") == "passed"
    worse = verdict(incumbent(low=-0.001))
    assert not worse["promote"]
    assert outcome(worse, "better_than_incumbent") == "failed"
    assert (
        "not better than that of the present champion, which an earlier run of this night made"
        in worse["summary"]
    )


def test_a_champion_of_the_night_that_was_not_scored_is_an_error_unless_it_is_this_very_model():
    lost = incumbent(low=0.001)
    del lost.metrics["differences"]["incumbent"]
    assert outcome(verdict(lost), "better_than_incumbent") == "errored"
    same = incumbent(low=0.001, bundle="c")
    del same.metrics["differences"]["incumbent"]
    assert outcome(verdict(same), "better_than_incumbent") == "skipped"
    assert verdict(same)["promote"]


def test_without_a_champion_of_the_night_that_comparison_is_skipped_and_says_why():
    found = next(c for c in verdict()["conditions"] if c["name"] == "better_than_incumbent")
    assert found["outcome"] == "skipped"
    assert found["why"] == "the present champion is of another night"


def test_a_slice_fails_beyond_its_margin_only_when_chance_does_not_explain_it():
    loss = {"mean": -0.08, "low": -0.12, "high": -0.01}
    assert (
        outcome(verdict(changed(loss, "slices", "cold_users", "difference")), "slice_cold_users") == "failed"
    )
    noisy = loss | {"high": 0.02}
    assert verdict(changed(noisy, "slices", "cold_users", "difference"))["promote"]
    small = {"mean": -0.04, "low": -0.045, "high": -0.035}
    assert verdict(changed(small, "slices", "cold_users", "difference"))["promote"]


@pytest.mark.parametrize("figures", [{"users": 0}, {"users": 19, "challenger": 0.1, "champion": 0.4}])
def test_a_slice_with_too_few_people_to_tell_chance_from_loss_is_skipped(figures):
    found = verdict(changed(figures, "slices", "new_videos"))
    assert outcome(found, "slice_new_videos") == "skipped"
    assert found["promote"]


def test_a_slice_that_evaluate_left_out_is_empty_and_missing_slices_are_an_error():
    rest = {name: METRICS["slices"][name] for name in gate.SLICES[1:]}
    assert outcome(verdict(changed(rest, "slices")), f"slice_{gate.SLICES[0]}") == "skipped"
    found = verdict(changed(None, "slices"))
    assert outcome(found, "slices") == "errored"
    assert not found["promote"]


@pytest.mark.parametrize(
    ("evidence", "failed"),
    [
        (changed(29, "users"), "enough_users"),
        (changed(0.21, "models", "challenger", "calibration_error"), "calibration"),
        (changed(1.0985, "alpha", "entropy"), "modality_weights_differ"),
        (changed({"visual": 0.97, "text": 0.02, "audio": 0.01}, "alpha", "mean"), "modality_weights_spread"),
        (changed(PARAMS.max_drift + 0.01, "drift", "farthest"), "drift"),
        (replace(EVIDENCE, checks="blocked"), "data_checks"),
    ],
)
def test_each_condition_alone_refuses(evidence: Evidence, failed: str):
    found = verdict(evidence)
    assert not found["promote"]
    assert [c["name"] for c in found["conditions"] if c["outcome"] == "failed"] == [failed]
    assert failed.replace("_", " ") in found["summary"]


def test_what_cannot_apply_is_skipped_with_its_reason():
    metrics = METRICS | {"alpha": {}, "models": {"challenger": {"calibration_error": None}}}
    found = verdict(replace(EVIDENCE, metrics=metrics, weighable=False, completions=False))
    skipped = {c["name"]: c["why"] for c in found["conditions"] if c["outcome"] == "skipped"}
    weights = {"modality_weights_differ", "modality_weights_spread"}
    assert set(skipped) == {"better_than_incumbent", "calibration"} | weights
    assert all(skipped.values())
    assert found["promote"]


@pytest.mark.parametrize("mean", [{}, dict.fromkeys(SHARES, 1 / 3)])
def test_weights_that_are_even_by_construction_are_no_collapse(mean):
    even = {"mean": mean, "entropy": 1.0986 if mean else None, "max_entropy": 1.0986}
    unlearned = verdict(changed(even | {"learned": False}, "alpha"))
    assert outcome(unlearned, "modality_weights_differ") == "skipped"
    assert outcome(unlearned, "modality_weights_spread") == "skipped"
    assert unlearned["promote"]
    for told in ({}, {"learned": True}, {"learned": None}):
        assert not verdict(changed(even | told, "alpha"))["promote"]


def test_drift_is_skipped_where_there_is_no_space_to_compare_with_and_says_why():
    first = verdict(replace(EVIDENCE, champion=None))
    assert outcome(first, "drift") == "skipped"
    why = "the champion has another width, or its encoders are not tonight's"
    other = verdict(changed({"against": why, "modalities": {}, "farthest": None}, "drift"))
    assert outcome(other, "drift") == "skipped"
    assert next(c["why"] for c in other["conditions"] if c["name"] == "drift").endswith(why)
    assert outcome(verdict(changed(None, "drift")), "drift") == "errored"


def test_a_calibration_error_that_is_missing_though_it_could_be_measured_is_errored():
    broken = changed(None, "models", "challenger", "calibration_error")
    assert outcome(verdict(broken), "calibration") == "errored"
    nan = changed(float("nan"), "models", "challenger", "calibration_error")
    assert outcome(verdict(replace(nan, completions=False)), "calibration") == "errored"
    like = changed({"calibration_error": 0.3, "ranking_head": "like"}, "models", "challenger")
    assert outcome(verdict(replace(like, completions=False)), "calibration") == "failed"


def test_missing_checks_are_errored():
    assert outcome(verdict(replace(EVIDENCE, checks=None)), "data_checks") == "errored"


MEASURED = [
    ("users",),
    ("differences", "champion", "ndcg@10", "low"),
    ("differences", "champion", "ndcg@10", "mean"),
    *[("slices", name, "difference", key) for name in gate.SLICES for key in ("mean", "low", "high")],
    *[("slices", name, "users") for name in gate.SLICES],
    ("models", "challenger", "calibration_error"),
    ("alpha", "entropy"),
    ("alpha", "max_entropy"),
    *[("alpha", "mean", m) for m in SHARES],
    ("drift", "farthest"),
]


@given(
    st.sampled_from(MEASURED),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), None, "0.1", True, {}]),
)
def test_a_value_that_is_no_finite_number_errs_and_never_promotes(path: tuple[str, ...], broken: Any):
    found = verdict(changed(broken, *path))
    assert "errored" in {c["outcome"] for c in found["conditions"]}
    assert not found["promote"]


NUMBERS = st.one_of(st.none(), st.floats(-1, 1), st.just(float("nan")), st.integers(0, 100))
INTERVALS = st.one_of(
    st.none(), st.fixed_dictionaries({}, optional=dict.fromkeys(("mean", "low", "high"), NUMBERS))
)
ANYTHING = st.fixed_dictionaries(
    {"primary": st.just("ndcg@10")},
    optional={
        "users": NUMBERS,
        "models": st.fixed_dictionaries(
            {"challenger": st.fixed_dictionaries({"calibration_error": NUMBERS})},
            optional={name: st.fixed_dictionaries({"ndcg@10": NUMBERS}) for name in gate.BASELINES},
        ),
        "differences": st.dictionaries(
            st.sampled_from(["champion", "incumbent", *gate.BASELINES]),
            st.fixed_dictionaries({"ndcg@10": INTERVALS}),
        ),
        "slices": st.dictionaries(
            st.sampled_from(gate.SLICES), st.fixed_dictionaries({"users": NUMBERS, "difference": INTERVALS})
        ),
        "alpha": st.fixed_dictionaries({"entropy": NUMBERS, "max_entropy": NUMBERS, "mean": st.just(SHARES)}),
    },
)


@given(
    metrics=ANYTHING | st.just(METRICS),
    digest=st.just("digest"),
    champion=st.sampled_from([None, "3"]),
    incumbent=st.sampled_from([None, "4"]),
    weighable=st.booleans(),
    completions=st.booleans(),
    checks=st.sampled_from([None, "passed", "warned", "blocked"]),
)
def test_a_verdict_promotes_exactly_when_no_condition_failed_or_errored(metrics, **more: Any):
    found = verdict(Evidence(metrics, **more))
    bad = [c for c in found["conditions"] if c["outcome"] in ("failed", "errored")]
    assert found["promote"] == (not bad)
    asked = [c for c in found["conditions"] if c["name"].startswith("better_than_")]
    beaten = [c for c in asked if c["outcome"] != "skipped"]
    assert len(beaten) == (1 if more["champion"] else len(gate.BASELINES)) + bool(more["incumbent"])
    assert not found["promote"] or all(c["low"] > PARAMS.min_gain for c in beaten)


@pytest.fixture
def night(tmp_path) -> Night:
    return sample_night(tmp_path / "night")


def test_the_step_writes_the_verdict_of_the_nights_files(night):
    receipt = gate.run(PARAMS, night)
    written = json.loads((night.workspace / "gate/verdict.json").read_text())
    assert written["promote"]
    assert written["champion"] == "1"
    assert written["night"] == str(DAY)
    assert written["bundle"] == digests.of_bundle(night.workspace / "train")
    assert written["metrics"] == digests.of_file(night.workspace / "evaluate/metrics.json")
    assert receipt.facts["summary"] == written["summary"]
    assert gate.run(PARAMS, night).digests == receipt.digests


def test_an_evaluation_of_another_day_is_refused_input(night):
    path = night.workspace / "evaluate/metrics.json"
    write_json(path, json.loads(path.read_text()) | {"test_day": "2026-03-11"})
    with pytest.raises(InputError, match="test_day is 2026-03-11"):
        gate.run(PARAMS, night)


def test_checks_of_another_night_count_for_nothing(night):
    write_receipt(night.receipts, "check", Receipt(facts={"outcome": "passed"}), {"night": "2026-03-11"})
    assert gate.run(PARAMS, night).facts["conditions"]["data_checks"] == "errored"
