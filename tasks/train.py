"""Train tonight's challenger: fusion → sequence → static gate → retrieval and ranking.

It learns from histories that end two days before the night, stops by NDCG@10 on the day between, and ends
with a saved model; it judges nothing. The projections start from what `align` found.
"""

import copy
import json
import math
import sys
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tqdm import trange

from contracts import step
from contracts.digests import of_folder
from contracts.errors import InputError
from contracts.params import Train
from contracts.place import Night
from contracts.receipts import Receipt, write_json
from contracts.tables import BEHAVIOURS
from models.baselines import popularity
from models.bundle import save_bundle
from models.determinism import settle
from models.histories import liked
from models.interest import InterestModel, Spec
from models.scoring import Scorer, Targets, mean_ndcg
from models.training import Objective, People, batches, descend, losses
from tasks import tracking
from tasks.baseline import train_baseline
from tasks.pinned import Pinned, targets
from tasks.space import served

K = 10  # of the validation NDCG that stops training
CHUNK_USERS = 512  # users validated at a time


def run(params: Train, night: Night) -> Receipt:
    """Write the model bundle and `curve.json`, and log the run to MLflow."""
    settle(params.seed)
    pinned = Pinned(night)
    heads = night.output("align", "heads.safetensors")
    with safe_open(heads, "pt") as file:
        about = json.loads(file.metadata()["align"])
    spec = describe(params, pinned, about["width"])
    if params.model != "interest":
        return _finish(params, night, *train_baseline(params, pinned, spec))
    model = InterestModel(spec)
    model.fusion.project.load_state_dict(load_file(heads))
    people = People(pinned.histories("train"), pinned.profiles(spec), pinned.seen("train"))
    views_V, known_V = pinned.train_views, pinned.train_views > 0
    liked_V = popularity(liked(people.histories), len(views_V))
    model.fusion.start_from(views_V[known_V], liked_V[known_V])
    scorer = Scorer(model, pinned.catalogue(spec.modalities, spec.video_ids, spec.video_numbers), people)
    valid = targets(pinned.views("valid"), people.seen, pinned.videos.num_rows)
    space = served(pinned, spec.width)
    with torch.no_grad():
        last_VMD = space.last(scorer.catalogue) if space.last else None
    objective = Objective(
        ranking_weight=params.ranking_weight,
        align_weight=params.align_weight,
        anchor_weight=params.anchor_weight,
        id_dropout=params.id_dropout,
        horizon=params.horizon,
        aligned=pinned.aligned,
        twin_cosine=about["twin_cosine"],
        last_VMD=last_VMD,
    )
    return _finish(params, night, scorer, valid, fit(scorer, valid, params, objective))


def _finish(
    params: Train, night: Night, scorer: Scorer, valid: Targets, curve: list[dict[str, float]]
) -> Receipt:
    """Save the model and its curve, and write the run down."""
    out, people = night.folder("train"), scorer.people
    save_bundle(out, scorer.model)
    write_json(out / "curve.json", curve)
    measure = "auc" if "auc" in curve[0] else "ndcg@10"
    best = max(curve, key=lambda row: row.get(measure, row["epoch"]))
    facts = {
        "users": int((people.histories.lengths > 0).sum()),
        "validation_users": len(valid.users),
        "parameters": sum(p.numel() for p in scorer.model.parameters()),
        "epochs": len(curve),
        **{f"best_{name}": value for name, value in best.items()},
    }
    run_id = tracking.log_run(str(night.day), asdict(params), curve, facts)
    return Receipt(digests=of_folder(out), facts={**facts, "mlflow_run": run_id})


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


def fit(scorer: Scorer, valid: Targets, params: Train, objective: Objective) -> list[dict[str, float]]:
    """Train until validation stops getting better, and leave the model at its best epoch.

    Without anybody to validate on, all epochs are trained and the last is kept. The curve has a row an epoch:
    mean of each loss, mean gradient norm, learning rate, validation NDCG@10.

    Raises:
        FloatingPointError: a loss or gradient is not finite; names epoch, step and batch.
    """
    model = scorer.model
    assert isinstance(model, InterestModel)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
    )
    curve: list[dict[str, float]] = []
    best, kept = -1.0, copy.deepcopy(model.state_dict())
    progress = trange(params.epochs, desc="train", unit="epoch")
    for epoch in progress:
        row = _epoch(scorer, optimiser, params, objective, epoch)
        if len(valid.user_P):
            row["ndcg@10"] = mean_ndcg(scorer, valid, K, CHUNK_USERS)
        curve.append(row)
        progress.set_postfix({name: f"{row[name]:.4f}" for name in ("retrieval", "ndcg@10") if name in row})
        if row.get("ndcg@10", float(epoch)) > best:
            best, kept = row.get("ndcg@10", float(epoch)), copy.deepcopy(model.state_dict())
            waited = 0
        elif (waited := waited + 1) >= params.patience:
            break
    progress.close()
    model.load_state_dict(kept)
    return curve


def _epoch(
    scorer: Scorer, optimiser: torch.optim.Optimizer, params: Train, objective: Objective, epoch: int
) -> dict[str, float]:
    """One pass over everybody with a history. Order and dropout depend on seed, epoch and step only."""
    model = scorer.model.train()
    assert isinstance(model, InterestModel)
    users = (scorer.people.histories.lengths > 0).nonzero().squeeze(1)
    steps = math.ceil(len(users) / params.batch_size)
    sums: dict[str, float] = {}
    for i, users_B in enumerate(batches(users, params.batch_size, params.seed, epoch)):
        torch.manual_seed((params.seed * 1_000_003 + epoch) * 1_000_003 + i)
        rate = params.learning_rate * schedule(epoch + (i + 1) / steps, params.warmup_epochs, params.epochs)
        for group in optimiser.param_groups:
            group["lr"] = rate
        parts = losses(model, scorer.catalogue, scorer.people, users_B, objective)
        where = f"epoch {epoch + 1}, step {i + 1} of {steps} (batch of user rows {users_B[:3].tolist()}…)"
        norm = descend(model, optimiser, parts["total"], params.clip_norm, where)
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        sums["gradient_norm"] = sums.get("gradient_norm", 0.0) + norm
    return {"epoch": epoch + 1, "learning_rate": rate, **{name: s / steps for name, s in sums.items()}}


def schedule(epochs_done: float, warmup: int, epochs: int) -> float:
    """Share of the learning rate: a straight rise over the warm-up, then half a cosine down to 0.05."""
    if epochs_done < warmup:
        return epochs_done / warmup
    share = (epochs_done - warmup) / max(epochs - warmup, 1)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * min(share, 1.0))) / 2


if __name__ == "__main__":
    sys.exit(step.main("train", run, __doc__))
