"""What each part of the model is worth: it is left out, and the model is trained and tested again.

python -m tasks.ablate --night YYYY-MM-DD, over the snapshot of a night in the workspace. Every variant is
aligned and trained like a night of its own, by the parameters of params.yaml, with several seeds and without
a champion to start from; then the test day is ranked. Writes ablations.json, ablations.md, ablations.svg and
per_user.parquet into `ablate/`. Nothing may be chosen by what they tell: they are of the test day.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from contracts import params as parameters
from contracts.errors import DONE, REFUSED_INPUT, InputError
from contracts.params import Params
from contracts.place import PROJECT, Night, parse_day
from contracts.receipts import write_json
from models.histories import Histories
from models.metrics import bootstrap, meaning, ndcg
from models.scoring import Scorer, Targets
from tasks import align, evaluate, train
from tasks.pinned import Pinned
from tasks.report_plots import ablations

Features = Mapping[str, Tensor]
SEEDS = 3
FULL = "full"
FUSIONS = {
    "uniform": "every modality counts the same",
    "attention": "modalities weighed for each person and video",
    "user": "modalities weighed for each person",
    "early": "modalities joined before anybody looks",
    "late": "an interest for each modality",
    "hybrid": "a common interest, and one for each modality",
}


@dataclass(frozen=True)
class Variant:
    """One part left out.

    Attributes:
        what: in words, for the table.
        train, align: parameters that are changed.
        content: what becomes of the snapshot's features.
        hidden: whether nobody's history is known when the videos are ranked.
        model: the variant whose trained model this one looks at again.
    """

    what: str
    train: Mapping[str, Any] = field(default_factory=dict)
    align: Mapping[str, Any] = field(default_factory=dict)
    content: Callable[[Features], Features] | None = None
    hidden: bool = False
    model: str | None = None


def variants(modalities: Sequence[str], fusion: str) -> dict[str, Variant]:
    """What is left out or changed, by name; the whole model, which has this fusion, first."""
    return {
        FULL: Variant("the model of params.yaml"),
        "no sequence": Variant("the mean of the history instead of an encoder", train={"encoder": "mean"}),
        "history hidden": Variant("the full model, told the profile only", hidden=True, model=FULL),
        "no profile": Variant("no static profile", train={"profile": False}),
        "no positions": Variant("neither order nor time gaps", train={"positions": False}),
        **{f"no {m}": Variant(f"videos without {m}", content=_without(m)) for m in modalities},
        "shuffled content": Variant("each video has the content of another", content=_shuffled),
        "IDs only": Variant("videos without any content", content=lambda _: {}),
        "no alignment": Variant("modalities never aligned", {"align_weight": 0.0}, {"epochs": 0}),
        **{
            f"fusion {level}": Variant(what, {"fusion": level}, model=FULL if level == fusion else None)
            for level, what in FUSIONS.items()
        },
    }


def run(params: Params, night: Night, seeds: int, names: Sequence[str]) -> dict[str, Any]:
    """Train and test the variants of these names (none: all); what was found is written after each seed.

    Raises:
        InputError: there are fewer than two seeds, no such variant, no snapshot, or nothing to test on.
    """
    if seeds < 2:
        raise InputError(f"--seeds is {seeds}; give at least 2, or an interval would not tell of chance")
    pinned = Pinned(night)
    chosen = _chosen(variants(pinned.modalities, params.train.fusion), names)
    per_user: dict[str, list[NDArray]] = {name: [] for name in chosen}
    progress = tqdm(total=seeds * len(chosen), desc="ablate", unit="variant")
    with progress, tempfile.TemporaryDirectory(prefix="undercurrent-ablate-") as folder:
        for seed in range(1, seeds + 1):
            for name in chosen:
                per_user[name].append(_measure(params, night, chosen, name, seed, Path(folder)))
                progress.update()
            if seed > 1:
                found = _write(params, pinned, per_user, chosen)
    return found


def _write(
    params: Params, pinned: Pinned, per_user: Mapping[str, Sequence[NDArray]], chosen: Mapping[str, Variant]
) -> dict[str, Any]:
    """The night's folder `ablate/`."""
    night, aims = pinned.night, evaluate.aims_of(pinned, pinned.seen("test"))
    cold_B = (pinned.histories("test").lengths[aims.users] < params.evaluate.cold_events).numpy()
    found: dict[str, Any] = {
        "night": str(night.day),
        "measure": f"ndcg@{params.evaluate.k}",
        "seeds": len(per_user[FULL]),
        "variants": _told(per_user, chosen, cold_B, params),
    }
    out = night.fresh_folder("ablate")
    pq.write_table(_per_user_table(per_user, pinned, aims), out / "per_user.parquet")
    write_json(out / "ablations.json", found)
    (out / "ablations.md").write_text(markdown(found), encoding="utf-8")
    (out / "ablations.svg").write_text(ablations(found["variants"], found["measure"]), encoding="utf-8")
    return found


def _chosen(known: Mapping[str, Variant], names: Sequence[str]) -> dict[str, Variant]:
    """The full model, and those that are asked for."""
    for name in names:
        if name not in known:
            raise InputError(f"--variants: there is no {name!r}; choose from {', '.join(known)}")
    return {name: variant for name, variant in known.items() if not names or name in (FULL, *names)}


def _measure(
    params: Params, night: Night, chosen: Mapping[str, Variant], name: str, seed: int, folder: Path
) -> NDArray[np.float64]:
    """NDCG of every test user under one variant and seed."""
    variant = chosen[name]
    mine = Night(night.day, folder / str(seed) / (variant.model or name), night.params)
    if not variant.model:
        _snapshot(Pinned(night), mine, variant, seed)
        align.run(replace(params.align, seed=seed, **variant.align), mine)
        train.learn(replace(params.train, seed=seed, **variant.train), mine)
    pinned = Pinned(mine)
    seen = pinned.seen("test")
    aims = evaluate.aims_of(pinned, seen)
    scorer = evaluate.load(mine.folder("train"), pinned, seen)
    if variant.hidden:
        scorer = _without_histories(scorer)
    ranked, _ = evaluate.rank_model(name, scorer, aims, params.evaluate.k)
    return evaluate.per_user(ndcg, ranked, aims, params.evaluate.k)


def _snapshot(pinned: Pinned, mine: Night, variant: Variant, seed: int) -> None:
    """The night's snapshot with other content, and without the champion."""
    out = mine.fresh_folder("snapshot")
    for path in (pinned.night.workspace / "snapshot").glob("*.*"):
        (out / path.name).symlink_to(path.resolve())
    if variant.content:
        (out / "features.safetensors").unlink()
        torch.manual_seed(seed)
        changed = variant.content(pinned.features)
        save_file(
            {name: tensor.contiguous() for name, tensor in changed.items()}, out / "features.safetensors"
        )


def _without(modality: str) -> Callable[[Features], Features]:
    return lambda features: {n: x for n, x in features.items() if n.split(".")[0] != modality}


def _shuffled(features: Features) -> Features:
    """All of a video's content goes to one other video."""
    order_V = torch.randperm(len(next(iter(features.values()), torch.empty(0))))
    return {name: x[order_V] for name, x in features.items()}


def _without_histories(scorer: Scorer) -> Scorer:
    past = scorer.people.histories
    none: dict[str, Any] = {name: None if x is None else x[:0] for name, x in vars(past).items()}
    none["offsets"] = past.offsets * 0
    return replace(scorer, people=replace(scorer.people, histories=Histories(**none)))


def _per_user_table(per_user: Mapping[str, Sequence[NDArray]], pinned: Pinned, aims: Targets) -> pa.Table:
    """A row a person, a column a variant and seed: any two can be compared."""
    columns = {f"{name}, seed {i + 1}": one for name, rows in per_user.items() for i, one in enumerate(rows)}
    return pa.table({"user_id": pinned.users["user_id"].take(pa.array(aims.users.numpy())), **columns})


def _told(
    per_user: Mapping[str, Sequence[NDArray]], chosen: Mapping[str, Variant], cold_B: NDArray, params: Params
) -> dict[str, dict]:
    """Each variant's NDCG and its paired difference to the full model, for everybody and for cold users."""
    ndcg_SB = {name: np.stack(rows) for name, rows in per_user.items()}
    return {
        name: {
            "what": chosen[name].what,
            "everybody": _against(ndcg_SB[name], ndcg_SB[FULL], params),
            "cold_users": _against(ndcg_SB[name][:, cold_B], ndcg_SB[FULL][:, cold_B], params),
        }
        for name in ndcg_SB
    }


def _against(ours_SB: NDArray, full_SB: NDArray, params: Params) -> dict[str, Any]:
    if not ours_SB.shape[1]:
        return {"ndcg": None, "by_seed": [], "difference": bootstrap(np.array([]), 0, 0), "meaning": "nobody"}
    told = params.evaluate
    difference = bootstrap(ours_SB - full_SB, told.bootstrap_samples, told.seed)
    by_seed = [round(float(mean), 6) for mean in ours_SB.mean(1)]
    return {
        "ndcg": float(ours_SB.mean()),
        "by_seed": by_seed,
        "difference": difference,
        "meaning": meaning(difference),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The table: a row a variant, against the full model."""
    k = found["measure"].upper()
    lines = [
        f"Test day {found['night']}, {found['seeds']} seeds; 95 % paired bootstrap over people and seeds.",
        "",
        f"| variant | what | {k} | variant − full | | {k}, cold users | variant − full | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found["variants"].items():
        cells = [cell for part in ("everybody", "cold_users") for cell in _cells(one[part], name == FULL)]
        lines.append(f"| {' | '.join([name, one['what'], *cells])} |")
    people = found["variants"][FULL]
    counts = [people[part]["difference"]["users"] for part in ("everybody", "cold_users")]
    return "\n".join([*lines, "", f"{counts[0]} people, {counts[1]} of them cold."]) + "\n"


def _cells(one: Mapping[str, Any], full: bool) -> list[str]:
    """NDCG; the difference with its interval, and in percent; what it means."""
    ndcg, gap = one["ndcg"], one["difference"]
    if ndcg is None:
        return ["–", "", "nobody"]
    if full:
        return [f"{ndcg:.4f}", "", ""]
    if gap["low"] is None:
        return [f"{ndcg:.4f}", f"{gap['mean']:+.4f}", one["meaning"]]
    percent = f" ({gap['mean'] / (ndcg - gap['mean']):+.1%})" if ndcg > gap["mean"] else ""
    told = f"{gap['mean']:+.4f}{percent} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
    return [f"{ndcg:.4f}", told, one["meaning"]]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit code 2 for input that is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.ablate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--night", required=True, metavar="YYYY-MM-DD", help="whose snapshot is there")
    parser.add_argument("--params", type=Path, default=PROJECT / "params.yaml", help="default: %(default)s")
    parser.add_argument(
        "--workspace", type=Path, default=Path("night"), help="folder of the night's files (default: ./night)"
    )
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="trainings of each variant (default: %(default)s)"
    )
    names = ", ".join(variants(["MODALITY"], ""))
    parser.add_argument(
        "--variants", nargs="+", default=[], metavar="NAME", help=f"default: all of them: {names}"
    )
    args = parser.parse_args(argv)
    try:
        night = Night(parse_day(args.night), args.workspace.resolve(), args.params)
        found = run(parameters.load(args.params), night, args.seeds, args.variants)
    except InputError as error:
        print(f"ablate: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    print(markdown(found))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
