"""Tell the night on one page: `report/report.html`, which needs nothing but itself.

The verdict comes first, then what it rests on, then the data and the people, then the versions it came from.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow.parquet as pq

from contracts import digests, step
from contracts.params import Report
from contracts.place import Night
from contracts.receipts import Receipt, read_json, read_receipt, write_text
from contracts.steps import STEPS
from models.metrics import meaning
from tasks import report_plots as plots
from tasks.evidence import EVALUATION, MANIFEST
from tasks.gate import SLICES
from tasks.report_people import examples
from tasks.verdict import read_verdict

TEMPLATE = Path(__file__).with_name("report.html.j2")
ORDER = ("challenger", "champion", "incumbent", "popularity", "trending", "itemcf")
MEASURES = ("ndcg", "recall", "mrr", "coverage", "gini", "tail_share")  # told at every cut-off
PROBABILITIES = ("auc", "gauc", "f1", "log_loss", "calibration_error")
NAMES = {
    "itemcf": "ItemCF",
    "popularity": "Popularity",
    "trending": "Trending",
    "challenger": "Challenger",
    "champion": "Champion",
    "incumbent": "Present champion, of this night",
}


def run(params: Report, night: Night) -> Receipt:
    """Write the page from the night's files.

    Raises:
        InputError: the verdict, the evaluation or the snapshot is missing.
    """
    text = render(context(params, night))
    page = night.fresh_folder("report") / "report.html"
    write_text(page, text)
    print(f"report: {page}", file=sys.stderr)
    return Receipt(digests={"report.html": digests.of_file(page)}, facts={"page": str(page)})


def render(values: Mapping[str, Any]) -> str:
    """The page; every text in it is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number,
        "signed": signed,
        "words": words,
        "label": label,
        "meaning": meaning,
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(values)


def context(params: Report, night: Night) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics, manifest = (_json(night.output(*file)) for file in (EVALUATION, MANIFEST))
    receipts = _receipts(night)
    verdict = read_verdict(night)
    rival = verdict.rival
    modalities = [m for m in ("visual", "text", "audio") if m in manifest["modalities"]]
    ways = _ways(_optional(night, "align", "metrics.json").get("pairs", {}))
    return {
        "night": str(night.day),
        "verdict": verdict,
        "promoted": receipts.get("promote", {}).get("facts"),
        "primary": metrics["primary"],
        "gain": metrics["differences"].get(rival, {}).get(metrics["primary"]) or {},
        "rival": NAMES[rival],
        "users": metrics["users"],
        "table": _table(metrics),
        "measures": _measures(metrics),
        "cutoffs": _cutoffs(metrics),
        "plots": _plots(night, metrics, rival) | {"retrieval": plots.retrieval(ways)},
        "alpha": metrics["alpha"],
        "measured_at": MEASURES,
        "modalities": modalities,
        "aligned": _optional(night, "align", "metrics.json"),
        "ways": ways,
        "drift": metrics["drift"],
        "changes": metrics["changes"],
        "manifest": manifest,
        "receipts": receipts,
        "timings": _timings(receipts),
        "people": examples(night, params.example_users, modalities),
        "champion": manifest["champion"],
    }


def number(value: Any, digits: int = 4) -> str:
    """A number for the eye; a dash for what is not known."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    text = f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"
    return text.replace("-", "−")


def signed(value: float | None, digits: int = 4) -> str:
    """A difference, always with its sign."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def words(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def label(measure: str) -> str:
    """A measure's name as people write it."""
    name = measure.split("@")[0]
    if name == "gauc":
        return "gAUC"
    return measure.upper() if name in ("ndcg", "mrr", "auc", "f1") else measure


def _measures(metrics: Mapping[str, Any]) -> list[str]:
    """The columns of the models' table: what is told at cut-offs, at the primary one, and the heads'."""
    k = metrics["primary"].split("@")[1]
    known = {key for figures in metrics["models"].values() for key in figures}
    return [key for key in (*(f"{name}@{k}" for name in MEASURES), *PROBABILITIES) if key in known]


def _cutoffs(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a model and cut-off."""
    keys = {int(key.split("@")[1]) for figures in metrics["models"].values() for key in figures if "@" in key}
    return [
        {
            "model": NAMES.get(name, name),
            "k": k,
            **{m: metrics["models"][name].get(f"{m}@{k}") for m in MEASURES},
        }
        for name in sorted(metrics["models"], key=lambda name: _place(ORDER, name))
        for k in sorted(keys)
    ]


def _place(order: Sequence[str], name: str) -> int:
    """Its place in an order; what the order does not know comes last."""
    return order.index(name) if name in order else len(order)


def _table(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a model, with the challenger's difference to it."""
    return [
        {
            "name": NAMES.get(name, name),
            "figures": metrics["models"][name],
            "difference": metrics["differences"].get(name, {}).get(metrics["primary"]),
        }
        for name in sorted(metrics["models"], key=lambda name: _place(ORDER, name))
    ]


def _ways(pairs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Cross-modal retrieval, a row a direction: what the query is of, and what is looked for."""
    return [
        {"of": of, "to": to, **pair, **pair[f"from_{of}"]}
        for name, pair in pairs.items()
        for of, to in (name.split("-"), reversed(name.split("-")))
    ]


def _plots(night: Night, metrics: Mapping[str, Any], rival: str) -> dict[str, str | int | None]:
    people = pq.read_table(night.output("evaluate", "per_user.parquet"))
    theirs = people[f"ndcg_{rival}"] if f"ndcg_{rival}" in people.column_names else None
    gap = people["ndcg_challenger"].to_numpy() - theirs.to_numpy() if theirs is not None else np.zeros(0)
    slices = metrics["slices"]
    curve = _optional(night, "train", "curve.json", list)
    return {
        "curve": plots.learning_curve(curve or []),
        "slices": plots.slices(
            {name: slices[name] for name in sorted(slices, key=lambda n: _place(SLICES, n))}
        ),
        "differences": plots.differences(gap, rival),
        "changes": plots.changes(metrics["changes"]["by_day"]),
        "better": int((gap > 0).sum()),
        "worse": int((gap < 0).sum()),
        "same": int((gap == 0).sum()),
    }


def _timings(receipts: Mapping[str, Mapping]) -> list[dict[str, Any]]:
    """Seconds and memory of each step, with its share of the slowest."""
    slowest = max((receipt["seconds"] for receipt in receipts.values()), default=0) or 1
    return [
        {
            "step": name,
            "seconds": r["seconds"],
            "memory": r["peak_memory_mib"],
            "share": r["seconds"] / slowest,
        }
        for name, r in receipts.items()
    ]


def _receipts(night: Night) -> dict[str, dict[str, Any]]:
    """The night's receipts, in the order of the steps."""
    done = [name for name in STEPS if name != "report" and (night.receipts / f"{name}.json").exists()]
    return {name: read_receipt(night.receipts, name) for name in done}


def _optional(night: Night, step_name: str, file: str, kind: type[dict] | type[list] = dict) -> Any:
    path = night.workspace / step_name / file
    return _json(path, kind) if path.exists() else {}


def _json(path: Path, kind: type[dict] | type[list] = dict) -> Any:
    return read_json(path, f"run `python -m tasks.{path.parent.name}` again", kind=kind)


if __name__ == "__main__":
    sys.exit(step.main("report", run, __doc__))
