"""Measure tonight's challenger on the test day, beside the champion, popularity and ItemCF.

The whole catalogue is ranked, what a person has seen is masked, ties are broken by row: the same users, the
same catalogue and the same code for every model. The step only reads models; it decides nothing.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm

from contracts import step
from contracts.digests import of_folder
from contracts.errors import InputError
from contracts.params import Evaluate
from contracts.place import Night
from contracts.receipts import Receipt, write_json
from models.baselines import ItemCF, popularity
from models.determinism import settle
from models.histories import Seen, liked
from models.metrics import Floats, bootstrap, coverage, gini, mrr, ndcg, recall
from models.scoring import Ranked, Scorer, Targets, Weights, chunks, rank, rank_and_weigh, reasons
from models.training import People
from tasks import findings
from tasks.pinned import Pinned, read_model, targets


def run(params: Evaluate, night: Night) -> Receipt:
    """Write metrics.json, per_user.parquet and recommendations.parquet.

    Raises:
        InputError: nobody has a target, or a model was made with other encoders than the snapshot.
    """
    settle()
    pinned, out = Pinned(night), night.folder("evaluate")
    seen = pinned.seen("test")
    aims = _targets(pinned, seen)
    scorers = {"challenger": load(night.output("train", "model.json").parent, pinned, seen)}
    if (champion := night.workspace / "snapshot" / "champion").is_dir():
        scorers["champion"] = load(champion, pinned, seen)

    found = {name: _rank_model(name, scorer, aims, params) for name, scorer in scorers.items()}
    ranked = {name: ranked for name, (ranked, _) in found.items()} | _rank_baselines(
        pinned, seen, aims, params
    )
    weights = found["challenger"][1]
    heads = {name: findings.heads(scorer, pinned, params.chunk_users) for name, scorer in scorers.items()}
    per_user = {name: per_user_ndcg(r, aims, params.k) for name, r in ranked.items()}
    metrics = {
        "test_day": str(night.day),
        "users": len(aims.users),
        "primary": f"ndcg@{params.k}",
        "models": {
            name: _figures(r, aims, pinned, params.k) | findings.headline(heads.get(name))
            for name, r in ranked.items()
        },
        "heads": heads,
        "differences": _differences(per_user, params),
        "slices": findings.slices(ranked, aims, scorers["challenger"], pinned, params),
        "alpha": findings.alpha(weights, scorers["challenger"], pinned),
        "drift": findings.drift(scorers["challenger"], pinned),
    }
    write_json(out / "metrics.json", metrics)
    pq.write_table(
        _per_user_table(pinned, scorers, ranked, weights, aims, params.k), out / "per_user.parquet"
    )
    pq.write_table(
        _recommendations(pinned, scorers["challenger"], ranked["challenger"], weights, aims, params),
        out / "recommendations.parquet",
    )
    return Receipt(
        digests=of_folder(out), facts={"users": len(aims.users), "differences": metrics["differences"]}
    )


def load(folder: Path, pinned: Pinned, seen: Seen) -> Scorer:
    """A saved model over tonight's snapshot: videos and profile values that it does not know are new to it.

    Raises:
        InputError: the files are broken, or the model's encoders are not the snapshot's.
    """
    model = read_model(folder)
    for name, made_with in model.spec.fingerprints.items():
        now = pinned.fingerprints.get(name, made_with)
        if now != made_with:
            raise InputError(
                f"{folder / 'model.json'}: {name} was trained on features of encoder {made_with}, the"
                f" snapshot has {now}; train again with these encoders, or set section embed back"
            )
    spec = model.spec
    people = People(pinned.histories("test"), pinned.profiles(spec), seen)
    catalogue = pinned.catalogue(spec.modalities, spec.video_ids, spec.video_numbers)
    return Scorer(model, catalogue, people)


def per_user_ndcg(ranked: Ranked, aims: Targets, k: int, chosen_P: Tensor | None = None) -> Floats:
    """NDCG@k of every test user, over all targets or the chosen ones only (NaN: the user has none)."""
    user_P = torch.searchsorted(aims.users, aims.user_P)
    keep_P = torch.ones_like(user_P, dtype=torch.bool) if chosen_P is None else chosen_P
    return ndcg(ranked.rank_P[keep_P].numpy(), user_P[keep_P].numpy(), len(aims.users), k)


def _targets(pinned: Pinned, seen: Seen) -> Targets:
    aims = targets(pinned.views("test"), seen, pinned.videos.num_rows)
    if not len(aims.user_P):
        path = pinned.night.output("snapshot", "test_views.parquet")
        raise InputError(
            f"{path}: on {pinned.night.day} nobody liked a video that was new to them, so there is nothing to"
            " measure; choose another night or lower snapshot.positive_watch_ratio"
        )
    return aims


def _rank_model(name: str, scorer: Scorer, aims: Targets, params: Evaluate) -> tuple[Ranked, Weights]:
    full_V = scorer.catalogue.has_VM.all(1)
    users, size = aims.users, params.chunk_users
    scored = tqdm(chunks(scorer, users, size), f"evaluate {name}", -(-len(users) // size), unit="chunk")
    return rank_and_weigh(scored, aims, params.k, full_V)


def _rank_baselines(pinned: Pinned, seen: Seen, aims: Targets, params: Evaluate) -> dict[str, Ranked]:
    """Popularity and ItemCF, from what people liked in training; ItemCF reads what they liked since, too."""
    V, past, now = pinned.videos.num_rows, liked(pinned.histories("train")), liked(pinned.histories("test"))
    popular_V, neighbours = popularity(past, V), ItemCF(past, V)
    users = aims.users.split(params.chunk_users)

    def masked(score_BV: Tensor, users_B: Tensor) -> Tensor:
        return score_BV.masked_fill(seen.mask(users_B, V), -torch.inf)

    by_popularity = ((b, masked(popular_V.expand(len(b), -1), b)) for b in users)
    by_neighbours = ((b, masked(neighbours.scores(now, b), b)) for b in users)
    return {
        "popularity": rank(by_popularity, aims, params.k),
        "itemcf": rank(by_neighbours, aims, params.k),
    }


def _figures(ranked: Ranked, aims: Targets, pinned: Pinned, k: int) -> dict[str, float | None]:
    user_P, rank_P = torch.searchsorted(aims.users, aims.user_P).numpy(), ranked.rank_P.numpy()
    given_N = ranked.top_BK[ranked.score_BK > -torch.inf].numpy()
    U, V = len(aims.users), pinned.videos.num_rows
    return {
        f"ndcg@{k}": float(ndcg(rank_P, user_P, U, k).mean()),
        f"recall@{k}": float(recall(rank_P, user_P, U, k).mean()),
        f"mrr@{k}": float(mrr(rank_P, user_P, U, k).mean()),
        f"coverage@{k}": coverage(given_N, V),
        f"gini@{k}": gini(given_N, V),
    }


def _differences(per_user: Mapping[str, Floats], params: Evaluate) -> dict[str, dict]:
    """The challenger's NDCG minus each other model's, paired by user."""
    ours = per_user["challenger"]
    return {
        name: {f"ndcg@{params.k}": bootstrap(ours - theirs, params.bootstrap_samples, params.seed)}
        for name, theirs in per_user.items()
        if name != "challenger"
    }


def _per_user_table(
    pinned: Pinned,
    scorers: Mapping[str, Scorer],
    ranked: Mapping[str, Ranked],
    weights: Weights,
    aims: Targets,
    k: int,
) -> pa.Table:
    users, challenger = aims.users, scorers["challenger"]
    user_P = torch.searchsorted(users, aims.user_P).numpy()
    columns: dict[str, object] = {
        "user_id": pinned.users["user_id"].take(pa.array(users.numpy())),
        "history_length": challenger.people.histories.lengths[users].numpy(),
        "targets": np.bincount(user_P),
    }
    for name, one in ranked.items():
        columns[f"ndcg_{name}"] = per_user_ndcg(one, aims, k)
        if name in scorers:
            columns[f"recall_{name}"] = recall(one.rank_P.numpy(), user_P, len(users), k)
    for i, modality in enumerate(challenger.model.spec.modalities):
        columns[f"alpha_{modality}"] = weights.alpha_BM[:, i].numpy()
    return pa.table(columns)


def _recommendations(
    pinned: Pinned, challenger: Scorer, ranked: Ranked, weights: Weights, aims: Targets, params: Evaluate
) -> pa.Table:
    """The challenger's best videos for each test user, with the modality weights and past video behind."""
    B, K = ranked.top_BK.shape
    row_B, weight_B = reasons(challenger, aims.users, params.chunk_users)
    user_N = aims.users.repeat_interleave(K)
    columns: dict[str, object] = {
        "user_id": pinned.users["user_id"].take(pa.array(user_N.numpy())),
        "rank": torch.arange(1, K + 1).repeat(B).int().numpy(),
        "video_row": ranked.top_BK.flatten().int().numpy(),
        "score": ranked.score_BK.flatten().numpy(),
    }
    for i, modality in enumerate(challenger.model.spec.modalities):
        columns[f"alpha_{modality}"] = weights.alpha_BKM[:, :, i].flatten().numpy()
    reason_N, weight_N = row_B.repeat_interleave(K), weight_B.repeat_interleave(K)
    none_N = (reason_N < 0).numpy()
    columns["top_history_row"] = pa.array(reason_N.int().numpy(), mask=none_N)
    columns["attention"] = pa.array(weight_N.numpy(), mask=none_N)
    return pa.table(columns).filter(pa.array((ranked.score_BK.flatten() > -torch.inf).numpy()))


if __name__ == "__main__":
    sys.exit(step.main("evaluate", run, __doc__))
