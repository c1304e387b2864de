"""Decide whether tonight's challenger replaces the champion: writes `gate/verdict.json` and moves nothing.

Every condition blocks: the verdict promotes only if all of them passed. A condition is skipped only where it
cannot apply, and says why; what could not be measured is errored, and never promotes.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from contracts import digests, step
from contracts.model_params import Gate
from contracts.place import Night
from contracts.receipts import Receipt, write_json
from tasks.evidence import SLICE_USERS, Evidence, evidence_of
from tasks.verdict import Verdict

Outcome = Literal["passed", "failed", "errored", "skipped"]
BASELINES = ("popularity", "trending", "itemcf")
WHOSE = {name: f"{name}'s" for name in BASELINES} | {
    "champion": "the champion's",
    "incumbent": "that of the present champion, which an earlier run of this night made",
    "itemcf": "ItemCF's",
}
SLICES = (
    "new_users",
    "cold_users",
    "warm_users",
    "new_videos",
    "tail_videos",
)  # judged every night, empty ones too


@dataclass(frozen=True)
class Condition:
    """One condition: what was measured, against which bound, and what came of it."""

    name: str
    outcome: Outcome
    why: str
    value: float | str | None = None
    bound: float | str | None = None
    low: float | None = None
    high: float | None = None


def run(params: Gate, night: Night) -> Receipt:
    """Judge the night's evaluation.

    Raises:
        InputError: an input is missing or of another night.
    """
    verdict = judge(params, evidence_of(night), str(night.day))
    path = night.fresh_folder("gate") / "verdict.json"
    write_json(path, verdict)
    print(f"gate: {verdict['summary']}", file=sys.stderr)
    outcomes = {c["name"]: c["outcome"] for c in verdict["conditions"]}
    return Receipt(
        digests={"verdict.json": digests.of_file(path)},
        facts={"promote": verdict["promote"], "summary": verdict["summary"], "conditions": outcomes},
    )


def judge(params: Gate, evidence: Evidence, night: str) -> dict[str, Any]:
    """The verdict as JSON: promotes only if no condition failed or errored."""
    found = list(conditions(params, evidence))
    promote = found[0].outcome == "passed" and all(c.outcome in ("passed", "skipped") for c in found)
    verdict = Verdict(
        night=night,
        champion=evidence.champion,
        incumbent=evidence.incumbent,
        rival=rivals(evidence)[0],
        promote=promote,
        summary=_summary(promote, found),
        bundle=_at(evidence.metrics, "bundles", "challenger"),
        metrics=evidence.digest,
        conditions=tuple(asdict(condition) for condition in found),
    )
    return asdict(verdict)


def conditions(params: Gate, evidence: Evidence) -> Iterator[Condition]:
    """All conditions, the primary one first."""
    yield from (_better(params, evidence, rival) for rival in rivals(evidence))
    yield _replaces(params, evidence)
    yield _enough_users(params, evidence)
    yield from _slices(params, evidence)
    yield _calibrated(params, evidence)
    yield from _weights(params, evidence)
    yield _drift(params, evidence)
    yield _checks(evidence)


def _better(params: Gate, evidence: Evidence, rival: str) -> Condition:
    """The paired interval against the rival must clear the margin."""
    primary = str(evidence.metrics.get("primary"))
    name, bound = f"better_than_{rival}", params.min_gain
    gain = _interval(_at(evidence.metrics, "differences", rival, primary))
    if gain is None:
        return Condition(
            name, "errored", f"the difference of {primary.upper()} could not be measured", bound=bound
        )
    mean, low, high = gain
    better, told = low > bound, f"{mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    if not better:
        told += f"; the low end must exceed {bound:g}"
    why = f"{primary.upper()} is {'better' if better else 'not better'} than {WHOSE[rival]} ({told})"
    return Condition(name, "passed" if better else "failed", why, mean, bound, low, high)


def _replaces(params: Gate, evidence: Evidence) -> Condition:
    """A night that is run again must beat the champion that it made, where that is still champion."""
    name, bundles = "better_than_incumbent", _at(evidence.metrics, "bundles")
    if evidence.incumbent is None:
        return Condition(name, "skipped", "the present champion is of another night", bound=params.min_gain)
    if _at(bundles, "incumbent") and _at(bundles, "incumbent") == _at(bundles, "challenger"):
        return Condition(name, "skipped", "the present champion is this very model", bound=params.min_gain)
    return _better(params, evidence, "incumbent")


def rivals(evidence: Evidence) -> list[str]:
    """Whom the challenger must beat: the champion; while there is none, every baseline, the best first."""
    if evidence.champion:
        return ["champion"]
    primary = str(evidence.metrics.get("primary"))

    def figure(name: str) -> float:
        found = _number(_at(evidence.metrics, "models", name, primary))
        return math.inf if found is None else found

    return sorted(BASELINES, key=figure, reverse=True)


def _enough_users(params: Gate, evidence: Evidence) -> Condition:
    users, bound = _number(evidence.metrics.get("users")), params.min_users
    if users is None:
        return Condition("enough_users", "errored", "the number of people is missing", bound=bound)
    why = f"{users:.0f} people had something to find, {bound} are needed"
    return Condition("enough_users", "passed" if users >= bound else "failed", why, round(users), bound)


def _slices(params: Gate, evidence: Evidence) -> Iterator[Condition]:
    """One condition a slice; evaluate leaves out the slices in which nobody is."""
    slices = evidence.metrics.get("slices")
    if not isinstance(slices, Mapping):
        yield Condition("slices", "errored", "the slices are missing", bound=-params.max_slice_loss)
        return
    for name in dict.fromkeys([*SLICES, *slices]):
        yield _no_worse(params, evidence, name, slices.get(name, {"users": 0}))


def _no_worse(params: Gate, evidence: Evidence, slice_name: str, figures: Any) -> Condition:
    """A slice fails when it loses more than the margin and its interval says that this is no chance.

    The intervals of a night's slices hold together, so that many slices do not refuse by chance.
    """
    name, bound = f"slice_{slice_name}", -params.max_slice_loss
    if evidence.champion is None:
        return Condition(name, "skipped", "there is no champion yet to be worse than", bound=bound)
    users = _number(_at(figures, "users"))
    if users is not None and users < SLICE_USERS:
        return Condition(name, "skipped", f"{users:.0f} in this slice tonight, {SLICE_USERS} are needed")
    change = _interval(_at(figures, "difference"))
    if users is None or change is None:
        return Condition(name, "errored", "the slice could not be measured", bound=bound)
    mean, low, high = change
    worse = mean < bound and high < 0
    chance = ", and that is no chance" if worse else ""
    why = f"{mean:+.4f} against the champion on {users:.0f} people, {-bound:g} may be lost{chance}"
    return Condition(name, "failed" if worse else "passed", why, mean, bound, low, high)


def _calibrated(params: Gate, evidence: Evidence) -> Condition:
    name, bound = "calibration", params.max_calibration_error
    figures = _at(evidence.metrics, "models", "challenger")
    error, head = _number(_at(figures, "calibration_error")), _at(figures, "ranking_head")
    nothing = isinstance(figures, Mapping) and figures.get("calibration_error", 0) is None
    if nothing and not evidence.completions:
        return Condition(name, "skipped", "the data does not tell which viewings were complete", bound=bound)
    if isinstance(figures, Mapping) and "calibration_error" not in figures:
        why = "the challenger ranks no behaviours, so there is no probability to rely on"
        return Condition(name, "errored", why, bound=bound)
    if error is None:
        return Condition(name, "errored", "the calibration error could not be measured", bound=bound)
    why = f"the probabilities of {head!r} are off by {error:.3f} on average, {bound:g} is allowed"
    return Condition(name, "passed" if error <= bound else "failed", why, error, bound)


def _weights(params: Gate, evidence: Evidence) -> Iterator[Condition]:
    """α has not collapsed: neither equal everywhere nor all on one modality."""
    differ, spread = "modality_weights_differ", "modality_weights_spread"
    idle = None
    if not evidence.weighable:
        idle = "no video has several modalities and misses none: nothing to weigh"
    elif _at(evidence.metrics, "alpha", "learned") is False:
        idle = "the challenger learns no modality weights, so none can collapse"
    if idle:
        yield from (Condition(name, "skipped", idle) for name in (differ, spread))
        return
    yield _weights_differ(params, evidence.metrics, differ)
    yield _weights_spread(params, evidence.metrics, spread)


def _weights_differ(params: Gate, metrics: Mapping[str, Any], name: str) -> Condition:
    bound = params.min_modality_entropy_gap
    entropy = _number(_at(metrics, "alpha", "entropy"))
    most = _number(_at(metrics, "alpha", "max_entropy"))
    if entropy is None or most is None:
        return Condition(name, "errored", "the entropy of the modality weights is missing", bound=bound)
    why = f"mean entropy {entropy:.4f}, {most - entropy:.4f} below that of equal weights; {bound:g} is needed"
    return Condition(name, "passed" if most - entropy >= bound else "failed", why, most - entropy, bound)


def _weights_spread(params: Gate, metrics: Mapping[str, Any], name: str) -> Condition:
    bound = params.max_modality_share
    means = _at(metrics, "alpha", "mean")
    shares = {m: _number(share) for m, share in means.items()} if isinstance(means, Mapping) else {}
    known = {m: share for m, share in shares.items() if share is not None}
    if not known or len(known) < len(shares):
        return Condition(name, "errored", "the mean modality weights are missing", bound=bound)
    top = max(known, key=lambda m: known[m])
    why = f"{top} has the largest mean share, {known[top]:.3f}; {bound:g} is allowed"
    return Condition(name, "passed" if known[top] <= bound else "failed", why, known[top], bound)


def _drift(params: Gate, evidence: Evidence) -> Condition:
    """What was computed in the champion's space must keep its meaning in the challenger's."""
    name, bound, found = "drift", params.max_drift, evidence.metrics.get("drift")
    if evidence.champion is None:
        return Condition(name, "skipped", "there is no champion yet whose space could move", bound=bound)
    if _at(found, "modalities") == {}:
        return Condition(name, "skipped", f"nothing to compare: {_at(found, 'against')}", bound=bound)
    value = _number(_at(found, "farthest"))
    if value is None:
        return Condition(name, "errored", "the drift of the space could not be measured", bound=bound)
    why = f"95 % of the probe videos moved at most {value:.3f} (1 − cosine), {bound:g} is allowed"
    return Condition(name, "passed" if value <= bound else "failed", why, value, bound)


def _checks(evidence: Evidence) -> Condition:
    outcome = evidence.checks
    if outcome is None:
        return Condition("data_checks", "errored", "the data checks left no outcome", bound="passed")
    told = {"passed": "all data checks passed", "warned": "data checks passed, with warnings to look at"}
    why = told.get(outcome, f"the outcome of the data checks is {outcome!r}")
    return Condition("data_checks", "passed" if outcome in told else "failed", why, outcome, "passed")


def _summary(promote: bool, found: list[Condition]) -> str:
    """The verdict in one sentence."""
    if promote:
        return f"Promoted: {found[0].why}, and nothing speaks against it."
    bad = [c for c in found if c.outcome in ("failed", "errored")]
    return f"Refused: {'; '.join(c.why if c is found[0] else f'{_plain(c)}: {c.why}' for c in bad)}."


def _plain(condition: Condition) -> str:
    return condition.name.replace("_", " ")


def _at(tree: Any, *path: str) -> Any:
    """The value at a path, None where it ends."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits else None


def _interval(figures: Any) -> tuple[float, float, float] | None:
    """(mean, low, high), or None where any is missing, not finite, or in the wrong order."""
    mean, low, high = (_number(_at(figures, key)) for key in ("mean", "low", "high"))
    if mean is None or low is None or high is None or not low <= high:
        return None
    return mean, low, high


if __name__ == "__main__":
    sys.exit(step.main("gate", run, __doc__))
