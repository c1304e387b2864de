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
from torch import Tensor

from contracts import step
from contracts.digests import of_file, of_folder
from contracts.errors import InputError
from contracts.model_params import Train
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, write_json
from contracts.tables import BEHAVIOURS
from models import processes
from models.baselines import trending
from models.bundle import save_bundle
from models.determinism import settle
from models.fusion import Catalogue
from models.interest import InterestModel, Spec
from models.ranking import outcomes
from models.scoring import Scorer, Targets, behaviour_logits
from models.training import Objective, People
from tasks import tracking
from tasks.baseline import train_baseline
from tasks.fitting import Checkpoint, K, choose_device, fit
from tasks.pinned import Pinned, Views, targets
from tasks.saved import read_tensors
from tasks.space import Space, served


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
    """Write the model bundle and `curve.json`; returns the curve, and what came of it.

    Raises:
        InputError: a parameter with which no model can be made.
    """
    settle(params.seed)
    pinned, out = Pinned(night), night.fresh_folder("train", mine=processes.rank() == 0)
    processes.wait()
    width = _aligned(pinned)["width"]
    if width % params.heads and _attends(params):
        raise InputError(
            f"params.yaml: train.heads is {params.heads}; align.width is {width}: choose a divisor"
        )
    train = train_interest if params.model == "interest" else train_baseline
    scorer, valid, curve = train(params, pinned, describe(params, pinned, width))
    if processes.rank() == 0:
        save_bundle(out, scorer.model)
        write_json(out / "curve.json", curve)
    processes.wait()
    return curve, {
        "users": int((scorer.people.histories.lengths > 0).sum()),
        "validation_users": len(valid.users),
        "parameters": sum(p.numel() for p in scorer.model.parameters() if p.requires_grad),
        "epochs": len(curve),
        **{f"best_{name}": value for name, value in best_of(curve).items()},
    }


def _attends(params: Train) -> bool:
    """Whether the width is split among heads of attention."""
    reads = params.encoder if params.model == "interest" else params.model
    return reads in ("transformer", "hstu", "sasrec", "bert4rec")


def train_interest(
    params: Train, pinned: Pinned, spec: Spec
) -> tuple[Scorer, Targets, list[dict[str, float]]]:
    """Train our own model: what it is scored with, validation's targets, its curve."""
    job = prepare(params, pinned, spec)
    snapshot = of_folder(pinned.night.workspace / "snapshot")
    device = choose_device(params.device).type  # auto may be another one when the run goes on
    identity = json.dumps(
        [asdict(params), device, snapshot, of_file(_heads(pinned)), of_code()], sort_keys=True
    )
    checkpoint = Checkpoint(pinned.night.workspace / "train.checkpoint", identity)
    curve = fit(job.scorer, job.valid, params, job.objective, checkpoint)
    calibrate(job.scorer, pinned.views("valid"))
    checkpoint.remove()
    return job.scorer, job.valid, curve


def of_code() -> list[str]:
    """Digests of what training may run. The commit would not do: code need not be committed."""
    folders = ("contracts", "models", "tasks")
    return [of_file(path) for folder in folders for path in sorted((PROJECT / folder).rglob("*.py"))]


def _heads(pinned: Pinned) -> Path:
    return pinned.night.output("align", "heads.safetensors")


def _aligned(pinned: Pinned) -> dict[str, Any]:
    """What align says of its projections."""
    path = _heads(pinned)
    read_tensors(path)  # so that what is damaged is refused, and in the same words everywhere
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["align"])


@dataclass(frozen=True)
class Job:
    """A model at its start, with what it learns from, is validated on and makes small."""

    scorer: Scorer
    valid: Targets
    objective: Objective


def prepare(params: Train, pinned: Pinned, spec: Spec) -> Job:
    """The model at its start, align's projections and popularity, over the snapshot's training days."""
    model = InterestModel(spec)
    model.fusion.project.load_state_dict(read_tensors(_heads(pinned)))
    people = People(
        pinned.histories("train", spec.contexts), pinned.profiles(spec, "train"), pinned.seen("train")
    )
    views_V, known_V = pinned.train_views, pinned.train_views > 0
    liked_V = trending(people.histories, len(views_V), params.half_life_days)
    catalogue = pinned.catalogue(spec.modalities, spec.video_ids, spec.video_numbers)
    newest_V = born_lately(catalogue, people.histories.last_day, pinned.days_ahead)
    space = served(pinned, spec.width)
    model.fusion.start_from(views_V[known_V], liked_V[known_V], newest_V[known_V], space.aligned)
    past = people.histories
    happened = outcomes(past.ratio_E, ~past.ratio_E.isnan(), past.did_EA, spec.behaviours, spec.skip_below)
    model.start_from(past, people.profiles, catalogue)
    model.ranking.start_from(catalogue.id_row_V[past.video_E], *happened)
    scorer = Scorer(model, catalogue, people)
    objective = Objective(
        ranking_weight=params.ranking_weight,
        align_weight=params.align_weight,
        anchor_weight=params.anchor_weight,
        negatives=params.negatives,
        id_dropout=params.id_dropout,
        horizon=params.horizon,
        half_life_days=params.half_life_days,
        last_day=people.histories.last_day,
        aligned=pinned.aligned,
        twin_cosine=_aligned(pinned)["twin_cosine"],
        last_VMD=_served(scorer, space),
    )
    return Job(scorer, targets(pinned.views("valid"), people.seen, pinned.videos.num_rows), objective)


def born_lately(catalogue: Catalogue, last_day: int, days_ahead: int) -> Tensor:
    """Bool [V]: videos that are as new at the end of training as new ones will be on the night's day.

    days_ahead: from the end of training to the night.
    """
    if catalogue.born_V is None:
        return torch.zeros_like(catalogue.id_row_V, dtype=torch.bool)
    return catalogue.born_V > last_day - days_ahead


@torch.no_grad()
def _served(scorer: Scorer, space: Space) -> Tensor | None:
    """Where the champion has the videos; None where its space cannot be compared with tonight's."""
    return space.last(scorer.catalogue) if space.last else None


def best_of(curve: list[dict[str, float]]) -> dict[str, float]:
    """The epoch whose weights are kept: the best by what stopped training, or the last."""
    measure = "auc" if "auc" in curve[0] else f"ndcg@{K}"
    return max(curve, key=lambda row: row.get(measure, row["epoch"]))


def calibrate(scorer: Scorer, views: Views) -> None:
    """Calibrate the ranking heads on the validation day, which they have not learned from."""
    spec = scorer.model.spec
    assert isinstance(scorer.model, InterestModel)
    logit_NH = behaviour_logits(scorer, views.user_N, views.row_N)
    known_N = ~views.ratio_N.isnan()
    happened = outcomes(views.ratio_N, known_N, views.did_NA, spec.behaviours, spec.skip_below)
    scorer.model.ranking.calibrate(logit_NH, *happened)


def describe(params: Train, pinned: Pinned, width: int) -> Spec:
    """The model's description: vocabularies and statistics from the training days only."""
    trained = pa.array((pinned.histories("train").lengths > 0).numpy())
    profiles = pinned.users_train.filter(trained).drop_columns("user_id")
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
        rerank=asdict(params.rerank),
        walk=params.walk,
        contexts=pinned.contexts(params.contexts),
        video_ids=pinned.videos["video_id"].filter(known).to_pylist(),
    )


def video_numbers(params: Train, videos: pa.Table) -> dict[str, tuple[float, float]]:
    """Mean and deviation of the numbers that the ranking heads read, over these videos.

    Raises:
        InputError: `train.video_numbers` names what the catalogue has not, or what is no number, or lacks the
            sentiment that the second stage weighs.
    """
    if params.rerank.negative_comments and "comment_sentiment" not in params.video_numbers:
        raise InputError(
            "params.yaml: train.rerank.negative_comments asks for comment_sentiment, which"
            " train.video_numbers does not hold; add it there, or set the weight to 0"
        )
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
