"""TikTok in DiffMM's form: the set of past videos says what comes next; the release's own three parts.

There are no times, so nothing that reads an order is measured here. Training pairs are masked, validation
pairs are not, as in the published tables. The user vectors of MF-BPR and LightGCN are the trained ones, as
published; folded in from their videos, as a night would read people, they are told beside them.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from benchmarks.sets.protocol import (
    NO_RERANK,
    Measured,
    Moment,
    Split,
    baseline,
    difference,
    mean_of,
    measured,
    ours,
    outcome,
    plain_histories,
    say,
    spec,
)
from contracts.errors import InputError
from contracts.model_params import Train
from models.baselines.baseline import Known
from models.baselines.fitting import Fitting
from models.baselines.lightgcn import LightGCN
from models.baselines.mf_bpr import MFBPR
from models.fusion import Catalogue
from models.histories import Seen
from models.interest import Spec
from models.profiles import Profiles
from models.ranks import ranks, users_at_once
from models.scoring import Targets
from tasks.importers.release import need_folder
from tasks.importers.tiktok import LOG, SPLITS, VECTORS

WIDTH, KS = 64, (10, 20)
SEEDS = (1, 2, 3)
KNOBS = {
    "popularity": Fitting(1, 1, 1024, 0.001, 0.0, 5.0, 1),
    "itemcf": Fitting(1, 1, 1024, 0.001, 0.0, 5.0, 1),
    "mf_bpr": Fitting(100, 10, 256, 0.003, 0.1, 5.0, 1),
    "lightgcn": Fitting(100, 10, 1024, 0.003, 0.0, 5.0, 1),
}
# The user side is a set: the mean of the history, read in an order drawn by lot; any other video is the next.
OURS = Train(
    model="interest", fusion="uniform", encoder="mean", layers=1, heads=1, dropout=0.2, positions=False,
    profile=False, video_numbers=(), max_length=50, epochs=10, patience=3, batch_size=256, batch_of="people",
    learning_rate=0.0005, weight_decay=0.01, clip_norm=5.0, ranking_weight=0.0, align_weight=0.0,
    anchor_weight=0.0, negatives=0, skip_below=0.2, id_dropout=0.0, horizon=1000, half_life_days=0.0,
    warmup_epochs=1, seed=1, device="auto", precision="auto", contexts=(), walk=1.0, rerank=NO_RERANK,
)  # fmt: skip
PUBLISHED = {
    "popularity": (0.0597, 0.0255),
    "mf_bpr": (0.0346, 0.0130),
    "lightgcn": (0.0653, 0.0282),
    "diffmm": (0.1129, 0.0456),
}  # fmt: skip - Recall@20 and NDCG@20


def measure(path: Path) -> tuple[dict, dict]:
    """Recall@k and NDCG@k of ours (picture and sound) and of the baselines, beside what was published."""
    split = read(path)
    runs: dict[str, list[Measured]] = {}
    for seed in SEEDS:
        found = _baselines(split, seed) | {"ours": _ours(split, replace(OURS, seed=seed))}
        for name, one in found.items():
            runs.setdefault(name, []).append(one)
            say(seed, name, one.means(KS))
    figures: dict = {"published_recall@20_ndcg@20": {name: list(both) for name, both in PUBLISHED.items()}}
    figures |= {name: mean_of(run, KS) | {"training": run[0].trained()} for name, run in runs.items()}
    figures["seeds"] = len(SEEDS)
    figures["ours_minus"] = {
        name: {measure: difference(runs["ours"], run, measure) for measure in ("recall@20", "ndcg@20")}
        for name, run in runs.items()
        if name != "ours"
    }
    ratios = {
        f"{name}_over_published_recall@20": round(figures[name]["recall@20"] / PUBLISHED[name][0], 3)
        for name in KNOBS if name in PUBLISHED
    }  # fmt: skip
    best = figures["ours"]["recall@20"]
    ratios |= {f"ours_over_{n}_recall@20": round(best / value, 3) for n, (value, _) in PUBLISHED.items()}
    return figures, ratios


def _baselines(split: Split, seed: int) -> dict[str, Measured]:
    sizes, found = _sizes(split), {}
    for name, knobs in KNOBS.items():
        trained = baseline(name, split, sizes, replace(knobs, seed=seed))
        found[name] = outcome(trained, split)
        if isinstance(trained.model, MFBPR | LightGCN):
            found[f"{name}_folded_in"] = found[name]
            found[name] = trained_users(trained.model, split, trained.curve)
    return found


def _ours(split: Split, params: Train) -> Measured:
    same = ("fusion", "encoder", "positions", "dropout", "max_length", "walk")
    return outcome(
        ours(split, replace(_sizes(split), **{k: getattr(params, k) for k in same}), params), split
    )


def _sizes(split: Split) -> Spec:
    return spec(int((split.catalogue.id_row_V >= 0).sum()), WIDTH, 1, 1, 0.0, 1 << 20)


@torch.no_grad()
def trained_users(model: MFBPR | LightGCN, split: Split, curve: list[dict[str, float]]) -> Measured:
    """The test with the vector that was learned of each user."""
    targets, rows, places = split.later.targets, Known(split.catalogue.id_row_V), []
    for users_B in targets.users.split(users_at_once(len(rows.row_V))):
        score_BV, _ = model.eval().scores(model.known(users_B), rows)
        seen_BV = split.later.seen.mask(users_B, len(rows.row_V))
        places.append(ranks(score_BV.masked_fill(seen_BV, -torch.inf), *targets.of(users_B)))
    return measured(torch.cat(places), targets, curve)


def read(path: Path) -> Split:
    """The release: its parts, and its vectors in float32.

    Raises:
        InputError: a file or column is missing, a part is unknown or empty, a video has no row of features.
    """
    need_folder(path, [LOG, *VECTORS.values()])
    user_E, video_E, split_E = _pairs(path / LOG)
    features = {modality: _vectors(path / name) for modality, name in VECTORS.items()}
    videos = min(map(len, features.values()))
    if int(video_E.max()) >= videos:
        raise InputError(f"{path / LOG}: video_id is {int(video_E.max())}, but there are vectors of {videos}")
    users = int(user_E.max()) + 1
    train = _moment(user_E, video_E, split_E == SPLITS[0], split_E == SPLITS[1], users, videos)
    later = _moment(user_E, video_E, split_E == SPLITS[0], split_E == SPLITS[2], users, videos)
    trained_V = torch.bincount(train.histories.video_E, minlength=videos) > 0
    row_V = torch.where(trained_V, trained_V.cumsum(0) - 1, -1)
    has_VM = torch.ones(videos, len(features), dtype=torch.bool)
    nobody = torch.zeros(users, 0)
    widths = {modality: x_VF.shape[1] for modality, x_VF in features.items()}
    vocabulary = {"modalities": widths, "fingerprints": dict.fromkeys(widths, "-")}
    return Split(
        Catalogue(features, has_VM, row_V), Profiles(nobody.long(), nobody), train, later, vocabulary
    )


def _pairs(path: Path) -> tuple[Tensor, Tensor, np.ndarray]:
    """user_E, video_E and the part that each pair belongs to."""
    try:
        table = pq.read_table(path, columns=["user_id", "video_id", "split"])
        user_E, video_E = (
            torch.from_numpy(table[c].to_numpy().astype(np.int64)) for c in table.schema.names[:2]
        )
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not the table expected ({error}); get the release's own file") from None
    split_E = np.array(table["split"].to_pylist(), dtype=object)
    for name in SPLITS:
        if name not in split_E:
            raise InputError(f"{path}: no row has split {name!r}; the release has {', '.join(SPLITS)}")
    return user_E, video_E, split_E


def _vectors(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path).astype(np.float32))  # in float16 the deviation overflows
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a NumPy array ({error}); get the release's own file") from None


def _moment(
    user_E: Tensor, video_E: Tensor, known_E: np.ndarray, next_E: np.ndarray, users: int, videos: int
) -> Moment:
    """The training pairs as everybody's history, and the pairs of another part as the targets.

    Nobody knows in which order videos were watched, so it is drawn: in the order of their numbers, what comes
    next would always have a higher one.
    """
    known, aims = torch.from_numpy(known_E.astype(bool)), torch.from_numpy(next_E.astype(bool))
    order = (user_E[known] * videos + video_E[known]).unique()
    order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(1))]
    order = order[(order // videos).argsort(stable=True)]
    histories = plain_histories(torch.bincount(order // videos, minlength=users), order % videos)
    key_P = (user_E[aims] * videos + video_E[aims]).unique()
    key_P = key_P[~torch.isin(key_P, order)]
    return Moment(
        histories, Seen(histories.offsets, histories.video_E), Targets(key_P // videos, key_P % videos)
    )
