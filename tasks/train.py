"""Train tonight's challenger: fusion → sequence → static gate → retrieval and ranking.

It learns from histories that end two days before the night, stops by NDCG@10 on the day between, and ends
with a saved model; it judges nothing. The projections start from what `align` found.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from contracts import step
from contracts.digests import of_file, of_folder
from contracts.errors import InputError
from contracts.params import Train
from contracts.place import Night
from contracts.receipts import Receipt, write_json
from contracts.tables import BEHAVIOURS
from models import processes
from models.baselines import popularity
from models.bundle import save_bundle
from models.determinism import settle
from models.histories import liked
from models.interest import InterestModel, Spec
from models.scoring import Scorer, Targets
from models.training import Objective, People
from tasks import tracking
from tasks.baseline import train_baseline
from tasks.fitting import Checkpoint, K, fit
from tasks.pinned import Pinned, targets
from tasks.space import served


def run(params: Train, night: Night) -> Receipt:
    """Write the model bundle and `curve.json`, and log the run to MLflow.

    Several processes share each batch where torchrun starts them:
    torchrun --nproc-per-node 4 -m tasks.train --night YYYY-MM-DD
    """
    with processes.joined():
        curve, facts = learn(params, night)
        if processes.rank() == 0:
            facts["mlflow_run"] = tracking.log_run(str(night.day), asdict(params), curve, facts)
    return Receipt(digests=of_folder(night.folder("train")), facts=facts)


def learn(params: Train, night: Night) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Write the model bundle and `curve.json`; returns the curve, and what came of it."""
    settle(params.seed)
    pinned, out = Pinned(night), night.folder("train")
    heads = night.output("align", "heads.safetensors")
    checkpoint = Checkpoint(night.workspace / "train.checkpoint", _identity(params, pinned, heads))
    if params.model == "interest":
        job = prepare(params, pinned, heads)
        scorer, valid = job.scorer, job.valid
        curve = fit(scorer, valid, params, job.objective, checkpoint)
    else:
        spec = describe(params, pinned, _about(heads)["width"])
        scorer, valid, curve = train_baseline(params, pinned, spec)
    if processes.rank() == 0:
        save_bundle(out, scorer.model)
        write_json(out / "curve.json", curve)
        checkpoint.path.unlink(missing_ok=True)
    processes.wait()
    return curve, {
        "users": int((scorer.people.histories.lengths > 0).sum()),
        "validation_users": len(valid.users),
        "parameters": sum(p.numel() for p in scorer.model.parameters()),
        "epochs": len(curve),
        **{f"best_{name}": value for name, value in best_of(curve).items()},
    }


@dataclass(frozen=True)
class Job:
    """A model at its start, with what it learns from, is validated on and makes small."""

    scorer: Scorer
    valid: Targets
    objective: Objective


def prepare(params: Train, pinned: Pinned, heads: Path) -> Job:
    """The model at its start, align's projections and popularity, over the snapshot's training days."""
    about = _about(heads)
    spec = describe(params, pinned, about["width"])
    model = InterestModel(spec)
    model.fusion.project.load_state_dict(load_file(heads))
    people = People(pinned.histories("train"), pinned.profiles(spec), pinned.seen("train"))
    views_V, known_V = pinned.train_views, pinned.train_views > 0
    liked_V = popularity(liked(people.histories), len(views_V))
    model.fusion.start_from(views_V[known_V], liked_V[known_V])
    scorer = Scorer(model, pinned.catalogue(spec.modalities, spec.video_ids, spec.video_numbers), people)
    objective = Objective(
        ranking_weight=params.ranking_weight,
        align_weight=params.align_weight,
        anchor_weight=params.anchor_weight,
        negatives=params.negatives,
        id_dropout=params.id_dropout,
        horizon=params.horizon,
        aligned=pinned.aligned,
        twin_cosine=about["twin_cosine"],
        last_VMD=_served(scorer, pinned),
    )
    return Job(scorer, targets(pinned.views("valid"), people.seen, pinned.videos.num_rows), objective)


def _about(heads: Path) -> dict[str, Any]:
    """What align tells of its projections."""
    with safe_open(heads, "pt") as file:
        return json.loads(file.metadata()["align"])


@torch.no_grad()
def _served(scorer: Scorer, pinned: Pinned) -> Tensor | None:
    """Where the champion has the videos; None where its space cannot be compared with tonight's."""
    last = served(pinned, scorer.model.spec.width).last
    return last(scorer.catalogue) if last else None


def best_of(curve: list[dict[str, float]]) -> dict[str, float]:
    """The epoch whose weights are kept."""
    return max(curve, key=lambda row: row.get(f"ndcg@{K}", row.get("auc", row["epoch"])))


def _identity(params: Train, pinned: Pinned, heads: Path) -> str:
    """What is trained on what: a checkpoint of anything else is not gone on from."""
    return json.dumps([asdict(params), pinned.manifest, of_file(heads)], sort_keys=True)


def describe(params: Train, pinned: Pinned, width: int) -> Spec:
    """The model's description: vocabularies and statistics from the training days only."""
    trained = pa.array((pinned.histories("train").lengths > 0).numpy())
    profiles = pinned.users.filter(trained).drop_columns("user_id")
    names = profiles.schema.names if params.profile else []
    texts = [n for n in names if pa.types.is_string(profiles.schema.field(n).type)]
    numbers = [n for n in names if pa.types.is_floating(profiles.schema.field(n).type)]
    known = pc.greater(pinned.videos["train_views"], 0)
    return Spec(
        model=params.model,
        fusion=params.fusion,
        encoder=params.encoder,
        layers=params.layers,
        heads=params.heads,
        dropout=params.dropout,
        positions=params.positions,
        profile=params.profile,
        max_length=params.max_length,
        skip_below=params.skip_below,
        positive_watch_ratio=pinned.manifest["positive_watch_ratio"],
        width=width,
        modalities=pinned.widths,
        fingerprints={
            name: made
            for name, made in pinned.fingerprints.items()
            if name in pinned.modalities or name in params.video_numbers
        },
        behaviours=list(BEHAVIOURS),
        categories={n: sorted(pc.unique(profiles[n].drop_null()).to_pylist()) for n in texts},
        numbers={n: _statistics(profiles[n]) for n in numbers},
        video_numbers=video_numbers(params, pinned.videos.filter(known)),
        video_ids=pinned.videos["video_id"].filter(known).to_pylist(),
    )


def video_numbers(params: Train, videos: pa.Table) -> dict[str, tuple[float, float]]:
    """Mean and deviation of the numbers that the ranking heads read, over these videos.

    Raises:
        InputError: `train.video_numbers` names what the catalogue has not, or what is no number.
    """
    kinds = {field.name: field.type for field in videos.schema}
    fit = [name for name, kind in kinds.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
    for name in params.video_numbers:
        if name not in fit:
            raise InputError(
                f"params.yaml: train.video_numbers has {name!r}, which is no number of the snapshot's"
                f" catalogue.parquet; choose from {', '.join(fit)}"
            )
    return {name: _statistics(videos[name]) for name in params.video_numbers}


def _statistics(column: pa.ChunkedArray) -> tuple[float, float]:
    """Mean and standard deviation; (0, 1) where nothing is known or everything is the same."""
    mean, deviation = pc.mean(column).as_py(), pc.stddev(column).as_py()
    return (mean or 0.0, deviation if deviation and deviation > 1e-9 else 1.0)


if __name__ == "__main__":
    sys.exit(step.main("train", run, __doc__))
