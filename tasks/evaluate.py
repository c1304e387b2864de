"""Measure the challenger on the test day, beside the champion, popularity, what is trending, and ItemCF.

A night that is run again is measured beside the present champion too, where it made that one itself.
The whole catalogue is ranked, what a person has seen is masked, ties are broken by row: the same users, the
same catalogue and the same code for every model. The step only reads models; it decides nothing.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm

from contracts import step
from contracts.digests import of_bundle, of_folder
from contracts.errors import InputError
from contracts.model_params import Evaluate
from contracts.place import Night
from contracts.receipts import Receipt, write_json
from models.baselines import ItemCF, popularity, trending
from models.determinism import settle
from models.histories import Seen
from models.likes import liked
from models.metrics import Floats, bootstrap, coverage, gini, mrr, ndcg, recall, share
from models.ranks import users_at_once
from models.scoring import Ranked, Scorer, Targets, Weights, carried, chunks, rank, rank_and_weigh, reasons
from models.training import People
from tasks import findings
from tasks.changes import Changes, changes, figures
from tasks.pinned import Pinned, targets
from tasks.saved import read_model
from tasks.slices import slices, tail

Measure = Callable[..., Floats]
MEASURES: Mapping[str, Measure] = {"ndcg": ndcg, "recall": recall, "mrr": mrr}
REASONS = 3  # past events told of each recommendation


def run(params: Evaluate, night: Night) -> Receipt:
    """Write metrics.json, per_user.parquet and recommendations.parquet.

    Raises:
        InputError: nobody has a target, a model was made with other encoders than the snapshot, or `k` is not
            among the cut-offs.
    """
    if params.k not in params.cutoffs:
        raise InputError(
            f"params.yaml: evaluate.k is {params.k}, which is not among evaluate.cutoffs"
            f" ({', '.join(map(str, params.cutoffs))}); add it"
        )
    settle()
    pinned, out = Pinned(night), night.fresh_folder("evaluate")
    seen = pinned.seen("test")
    aims = aims_of(pinned, seen)
    bundles = {name: of_bundle(folder) for name, folder in models_of(night).items()}
    scorers = {
        name: load(folder, pinned, seen)
        for name, folder in models_of(night).items()
        if name != "incumbent" or bundles[name] != bundles["challenger"]
    }

    found = {name: rank_model(name, scorer, aims, max(params.cutoffs)) for name, scorer in scorers.items()}
    ranked = {name: ranked for name, (ranked, _) in found.items()}
    ranked |= _rank_baselines(pinned, seen, aims, params)
    weights = found["challenger"][1]
    challenger = scorers["challenger"]
    changed = changes(
        challenger,
        challenger.people.histories,
        aims.users,
        weights.alpha_BM,
        challenger.model.spec.max_length,
    )
    heads = {name: findings.heads(scorer, pinned) for name, scorer in scorers.items()}
    metrics = {
        "test_day": str(night.day),
        "users": len(aims.users),
        "primary": f"ndcg@{params.k}",
        "models": {
            name: _figures(r, aims, pinned, params.cutoffs) | findings.headline(heads.get(name))
            for name, r in ranked.items()
        },
        "heads": heads,
        "differences": _differences(ranked, aims, params),
        "slices": slices(ranked, aims, challenger, pinned, params),
        "alpha": findings.alpha(weights, aims.users, challenger, pinned),
        "drift": findings.drift(challenger, pinned),
        "changes": figures(changed),
        "bundles": bundles,
    }
    pq.write_table(
        _per_user_table(pinned, scorers, ranked, weights, changed, aims, params.k), out / "per_user.parquet"
    )
    pq.write_table(
        _recommendations(pinned, challenger, ranked["challenger"], weights, aims),
        out / "recommendations.parquet",
    )
    write_json(out / "metrics.json", metrics)
    return Receipt(
        digests=of_folder(out), facts={"users": len(aims.users), "differences": metrics["differences"]}
    )


def models_of(night: Night) -> dict[str, Path]:
    """Name -> folder of the saved models that are compared: tonight's, and those that the snapshot pinned."""
    challenger = night.output("train", "model.json").parent
    pinned = {name: night.workspace / "snapshot" / name for name in ("champion", "incumbent")}
    return {"challenger": challenger} | {name: path for name, path in pinned.items() if path.is_dir()}


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
    people = People(pinned.histories("test", spec.contexts), pinned.profiles(spec, "test"), seen)
    catalogue = pinned.catalogue(spec.modalities, spec.video_ids, spec.video_numbers)
    return Scorer(model, catalogue, people)


def per_user(measure: Measure, ranked: Ranked, aims: Targets, k: int) -> Floats:
    """NDCG, Recall or MRR at k of every test user."""
    user_P = torch.searchsorted(aims.users, aims.user_P)
    return measure(ranked.rank_P.numpy(), user_P.numpy(), len(aims.users), k)


def aims_of(pinned: Pinned, seen: Seen) -> Targets:
    """What the test day's people liked that was new to them.

    Raises:
        InputError: there is nothing.
    """
    aims = targets(pinned.views("test"), seen, pinned.videos.num_rows)
    if not len(aims.user_P):
        path = pinned.night.output("snapshot", "test_views.parquet")
        raise InputError(
            f"{path}: on {pinned.night.day} nobody liked a video that was new to them, so there is nothing to"
            " measure; choose another night or lower snapshot.positive_watch_ratio"
        )
    return aims


def rank_model(name: str, scorer: Scorer, aims: Targets, k: int) -> tuple[Ranked, Weights]:
    """The places of all targets and the `k` best videos, with a progress bar."""
    with tqdm(total=len(aims.users), desc=f"evaluate {name}", unit="user") as progress:

        def watched() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for chunk in chunks(scorer, aims.users):
                yield chunk
                progress.update(len(chunk[0]))

        return rank_and_weigh(watched(), aims, k, scorer.catalogue.has_VM.all(1))


def _rank_baselines(pinned: Pinned, seen: Seen, aims: Targets, params: Evaluate) -> dict[str, Ranked]:
    """Popularity, that of the last days, and ItemCF, from what people liked in training.

    As for every model, a person's past are their newest `sequences.max_length` viewings. ItemCF reads what
    they liked since, too.
    """
    V, k, train = pinned.videos.num_rows, max(params.cutoffs), pinned.histories("train")
    past, now = liked(train), liked(pinned.histories("test"))
    counted = {"popularity": popularity(past, V), "trending": trending(train, V, params.half_life_days)}
    neighbours, users = ItemCF(past, V), aims.users.split(users_at_once(V))

    def masked(score_BV: Tensor, users_B: Tensor) -> Tensor:
        return score_BV.masked_fill(seen.mask(users_B, V), -torch.inf)

    found = {
        name: rank(((b, masked(score_V.expand(len(b), -1), b)) for b in users), aims, k)
        for name, score_V in counted.items()
    }
    by_neighbours = ((b, masked(neighbours.scores(now, b), b)) for b in users)
    return {**found, "itemcf": rank(by_neighbours, aims, k)}


def _figures(
    ranked: Ranked, aims: Targets, pinned: Pinned, cutoffs: Sequence[int]
) -> dict[str, float | None]:
    """How well the targets were found, and how widely what was recommended spreads, at each cut-off."""
    tail_V, V = tail(pinned.train_views).numpy(), pinned.videos.num_rows
    found: dict[str, float | None] = {}
    for k in cutoffs:
        given_N = ranked.top_BK[:, :k][ranked.score_BK[:, :k] > -torch.inf].numpy()
        found |= {f"{name}@{k}": float(per_user(of, ranked, aims, k).mean()) for name, of in MEASURES.items()}
        found |= {f"coverage@{k}": coverage(given_N, V), f"gini@{k}": gini(given_N, V)}
        found |= {f"tail_share@{k}": share(given_N, tail_V)}
    return found


def _differences(ranked: Mapping[str, Ranked], aims: Targets, params: Evaluate) -> dict[str, dict]:
    """The challenger's measures at `k` minus each other model's, paired by user."""

    def gap(measure: Measure, name: str) -> Floats:
        ours, theirs = (per_user(measure, ranked[one], aims, params.k) for one in ("challenger", name))
        return ours - theirs

    return {
        name: {
            f"{measure}@{params.k}": bootstrap(gap(of, name), params.bootstrap_samples, params.seed)
            for measure, of in MEASURES.items()
        }
        for name in ranked
        if name != "challenger"
    }


def _per_user_table(
    pinned: Pinned,
    scorers: Mapping[str, Scorer],
    ranked: Mapping[str, Ranked],
    weights: Weights,
    changed: Changes,
    aims: Targets,
    k: int,
) -> pa.Table:
    """Of each test user NDCG, Recall, modality weights, and when the interest changed (null: it did not)."""
    users, challenger = aims.users, scorers["challenger"]
    columns: dict[str, object] = {
        "user_id": pinned.users["user_id"].take(pa.array(users.numpy())),
        "history_length": challenger.people.histories.lengths[users].numpy(),
        "targets": torch.unique(aims.user_P, return_counts=True)[1].numpy(),
    }
    for name, one in ranked.items():
        columns[f"ndcg_{name}"] = per_user(ndcg, one, aims, k)
        if name in scorers:
            columns[f"recall_{name}"] = per_user(recall, one, aims, k)
    for i, modality in enumerate(challenger.model.spec.modalities):
        columns[f"alpha_{modality}"] = weights.alpha_BM[:, i].numpy()
    days = changed.days()
    columns["changed_on"] = pa.array([days.get(user) for user in users.tolist()], pa.date32())
    return pa.table(columns)


def _recommendations(
    pinned: Pinned, challenger: Scorer, ranked: Ranked, weights: Weights, aims: Targets
) -> pa.Table:
    """The challenger's best videos for each test user, and why.

    `alpha_<modality>`: the weights in that video. `added_<modality>`: what it adds to the score beside the
    average video's; `carried_by`: the one that adds most, null where none adds anything.
    `history_rows`, `attention`: the past events that the person's newest state looks at most,
    the most looked at first, with their shares of its attention.
    """
    B, K = ranked.top_BK.shape
    user_N = aims.users.repeat_interleave(K)
    columns: dict[str, object] = {
        "user_id": pinned.users["user_id"].take(pa.array(user_N.numpy())),
        "rank": torch.arange(1, K + 1).repeat(B).int().numpy(),
        "video_row": ranked.top_BK.flatten().int().numpy(),
        "score": ranked.score_BK.flatten().numpy(),
    }
    modalities, alpha_NM = list(challenger.model.spec.modalities), weights.alpha_BKM.flatten(0, 1)
    columns |= {f"alpha_{modality}": alpha_NM[:, i].numpy() for i, modality in enumerate(modalities)}
    added_NM = carried(challenger, aims.users, ranked.top_BK).flatten(0, 1)
    columns |= {f"added_{modality}": added_NM[:, i].numpy() for i, modality in enumerate(modalities)}
    columns["carried_by"] = _carried_by(added_NM, modalities)
    row_BE, weight_BE = reasons(challenger, aims.users, REASONS)
    each_N = np.repeat(np.arange(B), K)
    columns["history_rows"] = _lists(row_BE.int(), row_BE >= 0).take(each_N)
    columns["attention"] = _lists(weight_BE, row_BE >= 0).take(each_N)
    return pa.table(columns).filter(pa.array((ranked.score_BK.flatten() > -torch.inf).numpy()))


def _carried_by(added_NM: Tensor, modalities: Sequence[str]) -> pa.Array:
    if not modalities:
        return pa.nulls(len(added_NM), pa.string())
    most_N, at_N = added_NM.max(1)
    return pa.array(modalities, pa.string()).take(pa.array(at_N.numpy(), mask=(most_N <= 0).numpy()))


def _lists(value_BE: Tensor, there_BE: Tensor) -> pa.Array:
    """A list a row, of what is there."""
    offsets = torch.nn.functional.pad(there_BE.sum(1).cumsum(0), (1, 0)).int()
    return pa.ListArray.from_arrays(offsets.numpy(), value_BE[there_BE].numpy())


if __name__ == "__main__":
    sys.exit(step.main("evaluate", run, __doc__))
