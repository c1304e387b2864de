import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import hashing
from core.baselines import BASELINE_LABELS
from core.config import load_params
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import RunManifest, write_json, write_manifest
from tasks import gate
from tasks.gate import GateInputs, judge
from tests.support.workspaces import DAY, sample_night

PARAMS = load_params(PROJECT_ROOT / "params.yaml").gate
SHARES = {"visual": 0.5, "text": 0.3, "audio": 0.2}
GOOD = {"mean": 0.02, "low": 0.005, "high": 0.035, "num_users": 60}
EVEN = {"mean": 0.001, "low": -0.02, "high": 0.022}
METRICS: dict[str, Any] = {
    "num_users": 60,
    "primary_metric": "ndcg@10",
    "models": {
        "challenger": {"ndcg@10": 0.2, "calibration_error": 0.04, "ranking_head": "complete"},
        **{name: {"ndcg@10": 0.16} for name in BASELINE_LABELS},
        "trending": {"ndcg@10": 0.18},
        "itemcf": {"ndcg@10": 0.17},
    },
    "differences": {name: {"ndcg@10": GOOD} for name in ("champion", *BASELINE_LABELS)},
    "slices": {name: {"num_users": 20, "difference": EVEN} for name in gate.REQUIRED_SLICES},
    "modality_weights": {"is_learned": True, "mean": SHARES, "entropy": 0.9, "max_entropy": 1.0986},
    "bundle_digests": {"challenger": "c", "champion": "a"},
    "embedding_drift": {
        "compared_with": "champion, version 3",
        "modalities": {"text": {"p95": 0.05}},
        "max_p95_drift": 0.05,
    },
    "privacy": {"epsilon": 2.0, "delta": 1e-5, "not_covered": []},
}
INPUTS = GateInputs(
    METRICS,
    "digest",
    champion="3",
    incumbent=None,
    has_multimodal_items=True,
    has_completion_labels=True,
    checks_outcome="passed",
)


def verdict(inputs: GateInputs = INPUTS) -> dict[str, Any]:
    return judge(PARAMS, inputs, "2026-03-12")


def changed(value: Any, *path: str) -> GateInputs:
    """The good inputs with one value of the metrics replaced."""
    metrics = copy.deepcopy(METRICS)
    node = metrics
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return replace(INPUTS, metrics=metrics)


def outcome(result: dict[str, Any], name: str) -> str:
    return next(c["outcome"] for c in result["conditions"] if c["name"] == name)


def test_a_challenger_that_meets_every_condition_is_promoted():
    result = verdict()
    assert result["promote"]
    passed = {c["name"] for c in result["conditions"] if c["outcome"] == "passed"}
    assert passed == {c["name"] for c in result["conditions"]} - {"better_than_incumbent"}
    assert result["summary"].startswith(
        "Promoted: NDCG@10 is significantly better than that of the champion (difference +0.0200, 95 %"
    )
    assert result["summary"].endswith(f"{len(result['conditions']) - 1} conditions passed; 1 did not apply.")


def test_an_interval_that_touches_the_margin_is_refused():
    result = verdict(changed({"mean": 0.02, "low": 0.0, "high": 0.04}, "differences", "champion", "ndcg@10"))
    assert not result["promote"]
    assert outcome(result, "better_than_champion") == "failed"
    assert "not significantly better than that of the champion" in result["summary"]


def test_without_a_champion_every_baseline_must_be_beaten():
    result = verdict(replace(INPUTS, champion=None))
    assert result["promote"]
    assert result["reference"] == "trending"
    assert "significantly better than that of the baseline Trending" in result["summary"]
    assert all(outcome(result, f"better_than_{name}") == "passed" for name in BASELINE_LABELS)
    assert all(outcome(result, f"slice_{name}") == "skipped" for name in gate.REQUIRED_SLICES)


@pytest.mark.parametrize("name", BASELINE_LABELS)
def test_an_unbeaten_baseline_refuses_only_a_first_champion(name):
    close = changed({"mean": 0.03, "low": -0.01, "high": 0.07}, "differences", name, "ndcg@10")
    result = verdict(replace(close, champion=None))
    assert outcome(result, f"better_than_{name}") == "failed"
    assert not result["promote"]
    assert verdict(close)["promote"]


@pytest.mark.parametrize("name", BASELINE_LABELS)
def test_an_unmeasured_baseline_is_errored(name):
    for part in ("differences", "models"):
        metrics = copy.deepcopy(METRICS)
        del metrics[part][name]
        result = verdict(replace(INPUTS, metrics=metrics, champion=None))
        assert result["promote"] == (part == "models")  # the order alone follows from the figures
    result = verdict(replace(changed(None, "differences", name, "ndcg@10"), champion=None))
    assert outcome(result, f"better_than_{name}") == "errored"
    assert not result["promote"]


def test_an_unscored_champion_is_errored():
    metrics = copy.deepcopy(METRICS)
    del metrics["differences"]["champion"]
    result = verdict(replace(INPUTS, metrics=metrics))
    assert outcome(result, "better_than_champion") == "errored"
    assert not result["promote"]


def with_incumbent(low: float, bundle: str = "i") -> GateInputs:
    """The good inputs of a repeated night, whose first run promoted the champion, version 4."""
    metrics = copy.deepcopy(METRICS)
    metrics["differences"]["incumbent"] = {"ndcg@10": GOOD | {"low": low}}
    metrics["bundle_digests"]["incumbent"] = bundle
    return replace(INPUTS, metrics=metrics, incumbent="4")


def test_a_repeated_night_must_beat_the_incumbent():
    better = verdict(with_incumbent(low=0.001))
    assert (better["promote"], better["incumbent"]) == (True, "4")
    assert outcome(better, "better_than_incumbent") == "passed"
    worse = verdict(with_incumbent(low=-0.001))
    assert not worse["promote"]
    assert outcome(worse, "better_than_incumbent") == "failed"
    assert "not significantly better than that of the incumbent" in worse["summary"]


def test_an_unscored_incumbent_is_errored_unless_it_is_the_challenger():
    lost = with_incumbent(low=0.001)
    del lost.metrics["differences"]["incumbent"]
    assert outcome(verdict(lost), "better_than_incumbent") == "errored"
    same = with_incumbent(low=0.001, bundle="c")
    del same.metrics["differences"]["incumbent"]
    assert outcome(verdict(same), "better_than_incumbent") == "skipped"
    assert verdict(same)["promote"]


def test_without_an_incumbent_its_condition_is_skipped():
    result = next(c for c in verdict()["conditions"] if c["name"] == "better_than_incumbent")
    assert result["outcome"] == "skipped"
    assert result["reason"] == "the present champion was made by another night"


def test_a_slice_fails_only_with_a_significant_loss():
    loss = {"mean": -0.08, "low": -0.12, "high": -0.01}
    assert (
        outcome(verdict(changed(loss, "slices", "cold_users", "difference")), "slice_cold_users") == "failed"
    )
    noisy = loss | {"high": 0.02}
    assert verdict(changed(noisy, "slices", "cold_users", "difference"))["promote"]
    small = {"mean": -0.04, "low": -0.045, "high": -0.035}
    assert verdict(changed(small, "slices", "cold_users", "difference"))["promote"]


@pytest.mark.parametrize(
    "slice_metrics", [{"num_users": 0}, {"num_users": 19, "challenger": 0.1, "champion": 0.4}]
)
def test_a_slice_with_too_few_users_is_skipped(slice_metrics):
    result = verdict(changed(slice_metrics, "slices", "new_videos"))
    assert outcome(result, "slice_new_videos") == "skipped"
    assert result["promote"]


def test_a_missing_slice_is_skipped_and_missing_slices_are_errored():
    rest = {name: METRICS["slices"][name] for name in gate.REQUIRED_SLICES[1:]}
    assert outcome(verdict(changed(rest, "slices")), f"slice_{gate.REQUIRED_SLICES[0]}") == "skipped"
    result = verdict(changed(None, "slices"))
    assert outcome(result, "slices") == "errored"
    assert not result["promote"]


@pytest.mark.parametrize(
    ("inputs", "failed"),
    [
        (changed(29, "num_users"), "min_users"),
        (changed(0.21, "models", "challenger", "calibration_error"), "calibration_error"),
        (changed(1.0985, "modality_weights", "entropy"), "modality_weights_differ"),
        (
            changed({"visual": 0.97, "text": 0.02, "audio": 0.01}, "modality_weights", "mean"),
            "modality_weights_spread",
        ),
        (changed(PARAMS.max_embedding_drift + 0.01, "embedding_drift", "max_p95_drift"), "embedding_drift"),
        (replace(INPUTS, checks_outcome="blocked"), "data_checks"),
    ],
)
def test_each_condition_alone_refuses(inputs: GateInputs, failed: str):
    result = verdict(inputs)
    assert not result["promote"]
    assert [c["name"] for c in result["conditions"] if c["outcome"] == "failed"] == [failed]
    assert failed.replace("_", " ") in result["summary"]


def test_conditions_that_do_not_apply_are_skipped():
    metrics = METRICS | {"modality_weights": {}, "models": {"challenger": {"calibration_error": None}}}
    result = verdict(
        replace(INPUTS, metrics=metrics, has_multimodal_items=False, has_completion_labels=False)
    )
    skipped = {c["name"]: c["reason"] for c in result["conditions"] if c["outcome"] == "skipped"}
    weights = {"modality_weights_differ", "modality_weights_spread"}
    assert set(skipped) == {"better_than_incumbent", "calibration_error"} | weights
    assert all(skipped.values())
    assert result["promote"]


@pytest.mark.parametrize("mean", [{}, dict.fromkeys(SHARES, 1 / 3)])
def test_weights_that_are_not_learned_cannot_collapse(mean):
    even = {"mean": mean, "entropy": 1.0986 if mean else None, "max_entropy": 1.0986}
    unlearned = verdict(changed(even | {"is_learned": False}, "modality_weights"))
    assert outcome(unlearned, "modality_weights_differ") == "skipped"
    assert outcome(unlearned, "modality_weights_spread") == "skipped"
    assert unlearned["promote"]
    for learned in ({}, {"is_learned": True}, {"is_learned": None}):
        assert not verdict(changed(even | learned, "modality_weights"))["promote"]


def test_embedding_drift_without_a_comparison_is_skipped():
    first = verdict(replace(INPUTS, champion=None))
    assert outcome(first, "embedding_drift") == "skipped"
    reason = "the champion has another width or other encoders"
    other = verdict(
        changed({"compared_with": reason, "modalities": {}, "max_p95_drift": None}, "embedding_drift")
    )
    assert outcome(other, "embedding_drift") == "skipped"
    assert next(c["reason"] for c in other["conditions"] if c["name"] == "embedding_drift").endswith(reason)
    assert outcome(verdict(changed(None, "embedding_drift")), "embedding_drift") == "errored"


def test_a_missing_calibration_error_is_errored():
    broken = changed(None, "models", "challenger", "calibration_error")
    assert outcome(verdict(broken), "calibration_error") == "errored"
    nan = changed(float("nan"), "models", "challenger", "calibration_error")
    assert outcome(verdict(replace(nan, has_completion_labels=False)), "calibration_error") == "errored"
    like = changed({"calibration_error": 0.3, "ranking_head": "like"}, "models", "challenger")
    assert outcome(verdict(replace(like, has_completion_labels=False)), "calibration_error") == "failed"


def test_missing_checks_are_errored():
    assert outcome(verdict(replace(INPUTS, checks_outcome=None)), "data_checks") == "errored"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, "skipped"),
        ({"epsilon": PARAMS.max_epsilon, "delta": 1e-5}, "passed"),
        ({"epsilon": PARAMS.max_epsilon + 0.1, "delta": 1e-5}, "failed"),
        ({"epsilon": float("inf"), "delta": 1e-5}, "errored"),
        ({"epsilon": 1.0}, "errored"),
        (None, "errored"),
    ],
)
def test_private_training_is_bounded(record: Any, expected: str):
    result = verdict(changed(record, "privacy"))
    assert outcome(result, "epsilon") == expected
    assert result["promote"] == (expected in ("skipped", "passed"))


def test_the_reason_names_what_epsilon_does_not_cover():
    record = {"epsilon": 2.0, "delta": 1e-5, "not_covered": ["vocabularies", "average users"]}
    condition = next(c for c in verdict(changed(record, "privacy"))["conditions"] if c["name"] == "epsilon")
    assert "ε of a user is 2.00 at δ = 1e-05" in condition["reason"]
    assert "it does not cover: vocabularies, average users" in condition["reason"]


MEASURED = [
    ("num_users",),
    ("differences", "champion", "ndcg@10", "low"),
    ("differences", "champion", "ndcg@10", "mean"),
    *[
        ("slices", name, "difference", key)
        for name in gate.REQUIRED_SLICES
        for key in ("mean", "low", "high")
    ],
    *[("slices", name, "num_users") for name in gate.REQUIRED_SLICES],
    ("models", "challenger", "calibration_error"),
    ("modality_weights", "entropy"),
    ("modality_weights", "max_entropy"),
    *[("modality_weights", "mean", m) for m in SHARES],
    ("embedding_drift", "max_p95_drift"),
]


@given(
    st.sampled_from(MEASURED),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), None, "0.1", True, {}]),
)
def test_a_value_that_is_not_finite_never_promotes(path: tuple[str, ...], broken: Any):
    result = verdict(changed(broken, *path))
    assert "errored" in {c["outcome"] for c in result["conditions"]}
    assert not result["promote"]


NUMBERS = st.one_of(st.none(), st.floats(-1, 1), st.just(float("nan")), st.integers(0, 100))
INTERVALS = st.one_of(
    st.none(), st.fixed_dictionaries({}, optional=dict.fromkeys(("mean", "low", "high"), NUMBERS))
)
ANYTHING = st.fixed_dictionaries(
    {"primary_metric": st.just("ndcg@10")},
    optional={
        "num_users": NUMBERS,
        "models": st.fixed_dictionaries(
            {"challenger": st.fixed_dictionaries({"calibration_error": NUMBERS})},
            optional={name: st.fixed_dictionaries({"ndcg@10": NUMBERS}) for name in BASELINE_LABELS},
        ),
        "differences": st.dictionaries(
            st.sampled_from(["champion", "incumbent", *BASELINE_LABELS]),
            st.fixed_dictionaries({"ndcg@10": INTERVALS}),
        ),
        "slices": st.dictionaries(
            st.sampled_from(gate.REQUIRED_SLICES),
            st.fixed_dictionaries({"num_users": NUMBERS, "difference": INTERVALS}),
        ),
        "modality_weights": st.fixed_dictionaries(
            {"entropy": NUMBERS, "max_entropy": NUMBERS, "mean": st.just(SHARES)}
        ),
    },
)


@given(
    metrics=ANYTHING | st.just(METRICS),
    metrics_digest=st.just("digest"),
    champion=st.sampled_from([None, "3"]),
    incumbent=st.sampled_from([None, "4"]),
    has_multimodal_items=st.booleans(),
    has_completion_labels=st.booleans(),
    checks_outcome=st.sampled_from([None, "passed", "warned", "blocked"]),
)
def test_a_verdict_promotes_if_no_condition_failed_or_errored(metrics, **more: Any):
    result = verdict(GateInputs(metrics, **more))
    bad = [c for c in result["conditions"] if c["outcome"] in ("failed", "errored")]
    assert result["promote"] == (not bad)
    compared = [c for c in result["conditions"] if c["name"].startswith("better_than_")]
    beaten = [c for c in compared if c["outcome"] != "skipped"]
    assert len(beaten) == (1 if more["champion"] else len(BASELINE_LABELS)) + bool(more["incumbent"])
    assert not result["promote"] or all(c["low"] > PARAMS.min_gain for c in beaten)


@pytest.mark.parametrize(
    ("margin", "needed"), [(0.0, False), (GOOD["low"], False), (GOOD["low"] + 1e-6, True)]
)
def test_a_gain_within_the_margin_needs_an_approval(margin, needed):
    result = judge(replace(PARAMS, approval_margin=margin), INPUTS, "2026-03-12")
    assert result["promote"]
    assert result["needs_approval"] is needed
    assert result["summary"].endswith("A person must approve it.") is needed


def test_a_refused_challenger_needs_no_approval():
    refused = changed(-0.1, "differences", "champion", "ndcg@10", "low")
    assert not judge(replace(PARAMS, approval_margin=1.0), refused, "2026-03-12")["needs_approval"]


@pytest.fixture
def night(tmp_path) -> Night:
    return sample_night(tmp_path / "night")


def test_the_step_writes_the_verdict(night):
    run_manifest = gate.run(PARAMS, night)
    written = json.loads((night.workspace / "gate/verdict.json").read_text())
    assert written["promote"]
    assert written["champion"] == "1"
    assert written["night"] == str(DAY)
    assert written["bundle_digest"] == hashing.hash_bundle(night.workspace / "train")
    assert written["metrics_digest"] == hashing.hash_file(night.workspace / "evaluate/details.json")
    assert run_manifest.facts["summary"] == written["summary"]
    assert gate.run(PARAMS, night).digests == run_manifest.digests


def test_an_evaluation_of_another_day_is_refused(night):
    path = night.workspace / "evaluate/details.json"
    write_json(path, json.loads(path.read_text()) | {"test_day": "2026-03-11"})
    with pytest.raises(InputError, match="test_day is 2026-03-11"):
        gate.run(PARAMS, night)


def test_checks_of_another_night_do_not_count(night):
    write_manifest(
        night.run_manifests, "check", RunManifest(facts={"outcome": "passed"}), {"night": "2026-03-11"}
    )
    assert gate.run(PARAMS, night).facts["conditions"]["data_checks"] == "errored"
