"""Compare a model with the ground truth of a simulation: modality weights, oracle ranking.

No model and no step reads the ground truth.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.stats import spearmanr
from torch import Tensor

from evaluation.metrics import metric_per_user
from models.data.sequences import Sequences
from models.data.targets import Targets
from models.evaluation.metrics import Floats, ndcg
from models.evaluation.scoring import Scorer, rank_catalogue
from models.interest_model import InterestModel
from models.retrieval.item_scores import score_all_pairs
from simulator.watching import QUALITY_WEIGHT
from snapshots.reader import SnapshotReader

MIN_EVENTS = 20  # fewer interactions do not determine the weights of a user
BATCH_SIZE = 32  # users that are read at a time


class GroundTruth:
    """The ground truth in the order of the snapshot's users and videos.

    Attributes:
        modalities: names of the simulator's modalities.
        users: ground truth of each user, None for a bot.
        videos: ground truth of each video.
    """

    def __init__(self, folder: Path, snapshot: SnapshotReader) -> None:
        summary = json.loads((folder / "simulator.json").read_text(encoding="utf-8"))
        self.modalities: list[str] = summary["modalities"]
        users_by_id = _rows_by_key(folder / "users.parquet", "user_id")
        self.users: list[Any] = [users_by_id.get(name) for name in snapshot.user_ids.to_pylist()]
        videos_by_id = _rows_by_key(folder / "videos.parquet", "video_id")
        self.videos = [videos_by_id[name] for name in snapshot.videos["video_id"].to_pylist()]

    def preference_on(self, row: int, day: date) -> Floats:
        """Return a user's preference for each topic on a day."""
        user = self.users[row]
        has_drifted = user["drift_day"] is not None and day >= user["drift_day"]
        return np.array(user["drifted_preference" if has_drifted else "initial_preference"])


def _rows_by_key(path: Path, key: str) -> dict[str, Mapping]:
    return {row[key]: row for row in pq.read_table(path).to_pylist()}


def select_users(ground_truth: GroundTruth, sequences: Sequences) -> Tensor:
    """Return the rows of the users with at least MIN_EVENTS interactions, without bots."""
    known_B = torch.tensor([user is not None for user in ground_truth.users])
    return (known_B & (sequences.lengths >= MIN_EVENTS)).nonzero().squeeze(1)


@torch.no_grad()
def learned_modality_weights(scorer: Scorer, sequences: Sequences, users: Tensor) -> Floats:
    """Return α of these users after all their interactions, [U, M].

    It is the mean over the videos that have all modalities.
    """
    model = scorer.model.eval()
    assert isinstance(model, InterestModel)
    items, full_V = model.encode_items(scorer.item_table), scorer.item_table.has_VM.all(1)
    weights = []
    for users_B in users.split(BATCH_SIZE):
        batch = sequences.padded_batch(users_B, int(sequences.lengths.max()))
        u_BSW = model.encode_preferences(batch, scorer.user_data.profiles.select(users_B), items)
        u_BW = u_BSW[torch.arange(len(users_B)), batch.lengths]
        _, alpha_MBV = score_all_pairs(u_BW.new_zeros(len(users_B), model.config.width), u_BW, items)
        weights.append(alpha_MBV[:, :, full_V].mean(2).T)
    return torch.cat(weights).double().numpy()


def weight_correlation(
    alpha_RBM: Sequence[Floats], ground_truth: GroundTruth, users: Tensor, modalities: Sequence[str]
) -> dict:
    """Return the Spearman correlation of learned and true weights over users, for each modality.

    This is stricter than one correlation pooled over modalities, which also rewards a correct mean weight of
    each modality.

    Args:
        alpha_RBM: learned weights, one array for each seed.
        users: their rows.
        modalities: names of the axis M.
    """
    column = [ground_truth.modalities.index(name) for name in modalities]
    planted_BM = np.array([ground_truth.users[row]["modality_weights"] for row in users.tolist()])[:, column]
    rho_RM = [
        [float(spearmanr(alpha_BM[:, m], planted_BM[:, m]).statistic) for m in range(len(modalities))]
        for alpha_BM in alpha_RBM
    ]
    pooled = [float(spearmanr(alpha.ravel(), planted_BM.ravel()).statistic) for alpha in alpha_RBM]
    by_modality = dict(zip(modalities, np.mean(rho_RM, 0).round(3).tolist(), strict=True))
    return {
        "users": len(users),
        "spearman": by_modality,
        "spearman_lowest": min(by_modality.values()),
        "spearman_pooled": round(float(np.mean(pooled)), 3),
        "by_seed": np.round(rho_RM, 3).tolist(),
    }


def ceiling_ndcg(snapshot: SnapshotReader, ground_truth: GroundTruth, targets: Targets, k: int) -> Floats:
    """Return NDCG@k of each test user if videos are ranked by the true affinity.

    Apart from noise, it is an upper bound.
    """
    seen, V = snapshot.seen_items("test"), len(ground_truth.videos)
    quality_V = QUALITY_WEIGHT * np.array([video["quality"] for video in ground_truth.videos])

    def score_batches() -> Iterator[tuple[Tensor, Tensor]]:
        for users_B in targets.users.split(BATCH_SIZE):
            affinities = [
                _true_affinity(ground_truth, row, snapshot.night.day) + quality_V for row in users_B.tolist()
            ]
            yield users_B, torch.tensor(np.stack(affinities)).masked_fill(seen.mask(users_B, V), -torch.inf)

    return metric_per_user(ndcg, rank_catalogue(score_batches(), targets, k), targets, k)


def _true_affinity(ground_truth: GroundTruth, row: int, day: date) -> Floats:
    """Return a user's true affinity to every video, [V]. The visual part is the mean over the segments."""
    preference = ground_truth.preference_on(row, day)
    weight = dict(zip(ground_truth.modalities, ground_truth.users[row]["modality_weights"], strict=True))
    other_modalities = [name for name in ground_truth.modalities if name != "visual"]
    visual_V = np.array([preference[video["segment_topics"]].mean() for video in ground_truth.videos])
    return weight["visual"] * visual_V + sum(
        weight[name] * preference[[video[name] for video in ground_truth.videos]] for name in other_modalities
    )
