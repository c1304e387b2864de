"""Decide whether the challenger replaces the champion, and write the verdict to `gate/verdict.json`.

The verdict promotes only if no condition failed or errored. A condition is skipped, with a reason, only if it
does not apply. A condition that cannot be measured is errored. The step `promote` carries the verdict out.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core import hashing, step_cli
from core.baselines import BASELINE_LABELS
from core.config.model_half import GateConfig
from core.paths import Night
from core.run_manifests import RunManifest, write_json
from evaluation.gate_inputs import MIN_SLICE_USERS, GateInputs, read_gate_inputs
from evaluation.verdict import Verdict

Outcome = Literal["passed", "failed", "errored", "skipped"]
# The models as reasons name them.
MODEL_LABELS = {
    "champion": "that of the champion",
    "incumbent": "that of the incumbent",
    **{name: f"that of the baseline {label}" for name, label in BASELINE_LABELS.items()},
}
# These slices have a condition on every night, even without users.
REQUIRED_SLICES = ("new_users", "cold_users", "warm_users", "new_videos", "tail_videos")


@dataclass(frozen=True)
class Condition:
    """One condition of the gate and its outcome.

    Attributes:
        name: Its key, such as `better_than_champion`.
        outcome: Passed, failed, errored or skipped.
        reason: The outcome in words.
        value: What was measured.
        bound: What the value, or the lower end of its interval, is compared with.
        low: Lower end of the confidence interval, if there is one.
        high: Upper end of the confidence interval, if there is one.
    """

    name: str
    outcome: Outcome
    reason: str
    value: float | str | None = None
    bound: float | str | None = None
    low: float | None = None
    high: float | None = None


def run(params: GateConfig, night: Night) -> RunManifest:
    """Judge the night's evaluation and write the verdict.

    Raises:
        InputError: A gate input is missing or of another night.
    """
    verdict = judge(params, read_gate_inputs(night), str(night.day))
    path = night.fresh_folder("gate") / "verdict.json"
    write_json(path, verdict)
    print(f"gate: {verdict['summary']}", file=sys.stderr)
    outcomes = {c["name"]: c["outcome"] for c in verdict["conditions"]}
    return RunManifest(
        digests={"verdict.json": hashing.hash_file(path)},
        facts={"promote": verdict["promote"], "summary": verdict["summary"], "conditions": outcomes},
    )


def judge(params: GateConfig, inputs: GateInputs, day: str) -> dict[str, Any]:
    """Return the verdict as JSON. It promotes only if no condition failed or errored."""
    results = list(conditions(params, inputs))
    # The primary condition must pass. It is never skipped.
    promote = results[0].outcome == "passed" and all(c.outcome in ("passed", "skipped") for c in results)
    gains = [c.low for c in results if c.name.startswith("better_than_") and c.low is not None]
    needs_approval = promote and min(gains) - params.min_gain < params.approval_margin
    verdict = Verdict(
        night=day,
        champion=inputs.champion,
        incumbent=inputs.incumbent,
        reference=reference_models(inputs)[0],
        promote=promote,
        needs_approval=needs_approval,
        summary=_summary(promote, results) + (" A person must approve it." if needs_approval else ""),
        bundle_digest=_lookup(inputs.metrics, "bundle_digests", "challenger"),
        metrics_digest=inputs.metrics_digest,
        conditions=tuple(asdict(condition) for condition in results),
    )
    return asdict(verdict)


def conditions(params: GateConfig, inputs: GateInputs) -> Iterator[Condition]:
    """Evaluate all conditions, the primary one first."""
    yield from (_better_than(params, inputs, reference) for reference in reference_models(inputs))
    yield _better_than_incumbent(params, inputs)
    yield _min_users_condition(params, inputs)
    yield from _slice_conditions(params, inputs)
    yield _calibration_condition(params, inputs)
    yield from _modality_weight_conditions(params, inputs)
    yield _embedding_drift_condition(params, inputs)
    yield _epsilon_condition(params, inputs)
    yield _data_check_condition(inputs)


def _better_than(params: GateConfig, inputs: GateInputs, reference: str) -> Condition:
    """Return the condition that the challenger beats a reference model.

    The lower end of the paired confidence interval must exceed `gate.min_gain`.
    """
    primary = str(inputs.metrics.get("primary_metric"))
    name, bound = f"better_than_{reference}", params.min_gain
    interval = _interval(_lookup(inputs.metrics, "differences", reference, primary))
    if interval is None:
        reason = f"the difference of {primary.upper()} from {MODEL_LABELS[reference]} could not be measured"
        return Condition(name, "errored", reason, bound=bound)
    mean, low, high = interval
    better = low > bound
    comparison = "significantly better" if low > 0 else "not significantly better"
    interval_text = f"difference {mean:+.4f}, 95 % confidence interval {low:+.4f} to {high:+.4f}"
    if not better:
        interval_text += f", whose lower end must exceed {bound:g}"
    reason = f"{primary.upper()} is {comparison} than {MODEL_LABELS[reference]} ({interval_text})"
    return Condition(name, "passed" if better else "failed", reason, mean, bound, low, high)


def _better_than_incumbent(params: GateConfig, inputs: GateInputs) -> Condition:
    """Return the condition that a repeated run of a night beats the incumbent, if there is one."""
    name, bundles = "better_than_incumbent", _lookup(inputs.metrics, "bundle_digests")
    if inputs.incumbent is None:
        return Condition(
            name, "skipped", "the present champion was made by another night", bound=params.min_gain
        )
    if _lookup(bundles, "incumbent") and _lookup(bundles, "incumbent") == _lookup(bundles, "challenger"):
        return Condition(name, "skipped", "the challenger is the present champion", bound=params.min_gain)
    return _better_than(params, inputs, "incumbent")


def reference_models(inputs: GateInputs) -> list[str]:
    """Return the models that the challenger must beat.

    This is the champion. Without a champion it is every baseline, the best first.
    An unmeasured baseline comes before all others. Its condition errs, so the night is refused.
    """
    if inputs.champion:
        return ["champion"]
    primary = str(inputs.metrics.get("primary_metric"))

    def primary_value(name: str) -> float:
        value = _finite_number(_lookup(inputs.metrics, "models", name, primary))
        return math.inf if value is None else value

    return sorted(BASELINE_LABELS, key=primary_value, reverse=True)


def _min_users_condition(params: GateConfig, inputs: GateInputs) -> Condition:
    users, bound = _finite_number(inputs.metrics.get("num_users")), params.min_users
    if users is None:
        return Condition("min_users", "errored", "the number of users is missing", bound=bound)
    reason = f"{users:.0f} users were measured, at least {bound} are required"
    return Condition("min_users", "passed" if users >= bound else "failed", reason, round(users), bound)


def _slice_conditions(params: GateConfig, inputs: GateInputs) -> Iterator[Condition]:
    """Yield one condition for each slice. `evaluate` leaves out slices without users."""
    slices = inputs.metrics.get("slices")
    if not isinstance(slices, Mapping):
        yield Condition(
            "slices", "errored", "the metrics of the slices are missing", bound=-params.max_slice_loss
        )
        return
    for name in dict.fromkeys([*REQUIRED_SLICES, *slices]):
        yield _slice_condition(params, inputs, name, slices.get(name, {"num_users": 0}))


def _slice_condition(
    params: GateConfig, inputs: GateInputs, slice_name: str, slice_metrics: Any
) -> Condition:
    """Return the condition of one slice.

    It fails if the slice loses more than `gate.max_slice_loss` and the loss is significant.

    The intervals of a night's slices hold jointly. So a large number of slices does not raise the rate of
    false refusals.
    """
    name, bound = f"slice_{slice_name}", -params.max_slice_loss
    if inputs.champion is None:
        return Condition(name, "skipped", "there is no champion to compare with", bound=bound)
    users = _finite_number(_lookup(slice_metrics, "num_users"))
    if users is not None and users < MIN_SLICE_USERS:
        reason = f"the slice has {users:.0f} users, at least {MIN_SLICE_USERS} are required"
        return Condition(name, "skipped", reason)
    interval = _interval(_lookup(slice_metrics, "difference"))
    if users is None or interval is None:
        return Condition(name, "errored", "the slice could not be measured", bound=bound)
    mean, low, high = interval
    worse = mean < bound and high < 0
    if mean >= bound:
        comment = f"a loss of up to {-bound:g} is allowed"
    elif worse:
        comment = f"the loss exceeds {-bound:g} and is significant: its confidence interval excludes 0"
    else:
        comment = f"the loss exceeds {-bound:g} but is not significant: its confidence interval includes 0"
    reason = f"NDCG differs from the champion's by {mean:+.4f} for {users:.0f} users ({comment})"
    return Condition(name, "failed" if worse else "passed", reason, mean, bound, low, high)


def _calibration_condition(params: GateConfig, inputs: GateInputs) -> Condition:
    name, bound = "calibration_error", params.max_calibration_error
    metrics = _lookup(inputs.metrics, "models", "challenger")
    error = _finite_number(_lookup(metrics, "calibration_error"))
    ranking_head = _lookup(metrics, "ranking_head")
    unmeasured = isinstance(metrics, Mapping) and metrics.get("calibration_error", 0) is None
    if unmeasured and not inputs.has_completion_labels:
        return Condition(
            name, "skipped", "the data does not show which interactions were complete", bound=bound
        )
    if isinstance(metrics, Mapping) and "calibration_error" not in metrics:
        reason = "the challenger has no ranking heads, so its probabilities cannot be measured"
        return Condition(name, "errored", reason, bound=bound)
    if error is None:
        return Condition(name, "errored", "the calibration error could not be measured", bound=bound)
    reason = f"the calibration error of {ranking_head!r} is {error:.3f}, at most {bound:g} is allowed"
    return Condition(name, "passed" if error <= bound else "failed", reason, error, bound)


def _modality_weight_conditions(params: GateConfig, inputs: GateInputs) -> Iterator[Condition]:
    """Yield two conditions: the weights are not equal for all users, and not on one modality alone."""
    differ_name, spread_name = "modality_weights_differ", "modality_weights_spread"
    skip_reason = None
    if not inputs.has_multimodal_items:
        skip_reason = "there is only one modality, or no video has all of them"
    elif _lookup(inputs.metrics, "modality_weights", "is_learned") is False:
        skip_reason = "the challenger does not learn modality weights"
    if skip_reason:
        yield from (Condition(name, "skipped", skip_reason) for name in (differ_name, spread_name))
        return
    yield _weights_differ(params, inputs.metrics, differ_name)
    yield _weights_spread(params, inputs.metrics, spread_name)


def _weights_differ(params: GateConfig, metrics: Mapping[str, Any], name: str) -> Condition:
    bound = params.min_modality_entropy_gap
    entropy = _finite_number(_lookup(metrics, "modality_weights", "entropy"))
    max_entropy = _finite_number(_lookup(metrics, "modality_weights", "max_entropy"))
    if entropy is None or max_entropy is None:
        return Condition(name, "errored", "the entropy of the modality weights is missing", bound=bound)
    gap = max_entropy - entropy
    reason = (
        f"the mean entropy is {entropy:.4f}, {gap:.4f} below equal weights, at least {bound:g} is required"
    )
    return Condition(name, "passed" if gap >= bound else "failed", reason, gap, bound)


def _weights_spread(params: GateConfig, metrics: Mapping[str, Any], name: str) -> Condition:
    bound = params.max_modality_share
    means = _lookup(metrics, "modality_weights", "mean")
    shares = {m: _finite_number(share) for m, share in means.items()} if isinstance(means, Mapping) else {}
    measured = {m: share for m, share in shares.items() if share is not None}
    if not measured or len(measured) < len(shares):
        return Condition(name, "errored", "the mean modality weights are missing", bound=bound)
    top = max(measured, key=lambda m: measured[m])
    reason = f"the largest mean weight is {measured[top]:.3f} ({top}), at most {bound:g} is allowed"
    return Condition(name, "passed" if measured[top] <= bound else "failed", reason, measured[top], bound)


def _embedding_drift_condition(params: GateConfig, inputs: GateInputs) -> Condition:
    """Return the condition that vectors of the champion's space stay usable in the challenger's space."""
    name, bound = "embedding_drift", params.max_embedding_drift
    embedding_drift = inputs.metrics.get("embedding_drift")
    if inputs.champion is None:
        return Condition(name, "skipped", "there is no champion to compare with", bound=bound)
    if _lookup(embedding_drift, "modalities") == {}:
        reason = f"not compared: {_lookup(embedding_drift, 'compared_with')}"
        return Condition(name, "skipped", reason, bound=bound)
    value = _finite_number(_lookup(embedding_drift, "max_p95_drift"))
    if value is None:
        return Condition(name, "errored", "the embedding drift could not be measured", bound=bound)
    reason = f"95 % of the probe videos moved by at most {value:.3f} (1 − cosine), up to {bound:g} is allowed"
    return Condition(name, "passed" if value <= bound else "failed", reason, value, bound)


def _epsilon_condition(params: GateConfig, inputs: GateInputs) -> Condition:
    """Return the condition that private training spent at most `gate.max_epsilon`."""
    name, bound = "epsilon", params.max_epsilon
    record = inputs.metrics.get("privacy", {})
    if record == {}:
        return Condition(name, "skipped", "the challenger was not trained privately", bound=bound)
    epsilon, delta = (_finite_number(_lookup(record, key)) for key in ("epsilon", "delta"))
    if epsilon is None or delta is None:
        return Condition(name, "errored", "the record of private training is missing", bound=bound)
    reason = f"ε of a user is {epsilon:.2f} at δ = {delta:g}, at most {bound:g} is allowed"
    if not_covered := _lookup(record, "not_covered"):
        reason += f"; it does not cover: {', '.join(not_covered)}"
    return Condition(name, "passed" if epsilon <= bound else "failed", reason, epsilon, bound)


def _data_check_condition(inputs: GateInputs) -> Condition:
    outcome = inputs.checks_outcome
    if outcome is None:
        return Condition(
            "data_checks", "errored", "the data checks have no outcome for this night", bound="passed"
        )
    sentences = {"passed": "all data checks passed", "warned": "the data checks passed with warnings"}
    reason = sentences.get(outcome, f"the outcome of the data checks is {outcome!r}")
    return Condition("data_checks", "passed" if outcome in sentences else "failed", reason, outcome, "passed")


def _summary(promote: bool, results: list[Condition]) -> str:
    """The verdict in words: the primary condition, or every blocking condition."""
    if promote:
        num_passed = sum(c.outcome == "passed" for c in results)
        num_skipped = len(results) - num_passed
        skipped = f"; {num_skipped} did not apply" if num_skipped else ""
        return f"Promoted: {results[0].reason}. {num_passed} conditions passed{skipped}."
    blocking = [c for c in results if c.outcome in ("failed", "errored")]
    reasons = [c.reason if c is results[0] else f"{_readable_name(c)}: {c.reason}" for c in blocking]
    return f"Refused: {'; '.join(reasons)}."


def _readable_name(condition: Condition) -> str:
    return condition.name.replace("_", " ")


def _lookup(tree: Any, *path: str) -> Any:
    """Return the value at a path, or None if the path does not exist."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _finite_number(value: Any) -> float | None:
    """Return a finite number as float, and None for any other value."""
    is_finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_finite else None


def _interval(difference: Any) -> tuple[float, float, float] | None:
    """Return (mean, low, high), or None if a value is missing or not finite, or if low > high."""
    mean, low, high = (_finite_number(_lookup(difference, key)) for key in ("mean", "low", "high"))
    if mean is None or low is None or high is None or not low <= high:
        return None
    return mean, low, high


if __name__ == "__main__":
    sys.exit(step_cli.main("gate", run, __doc__))
