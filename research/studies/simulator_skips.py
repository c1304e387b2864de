"""In which segment will a user leave? Compares the model with positions only and IDs only on the test day.

It is the first part of the study `research.studies.simulator_segments`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from lake.client import Lake
from models.data.interaction_log import InteractionLog
from models.evaluation.metrics import Floats, paired_bootstrap
from models.seeding import seed_everything
from models.segments.segment_interest import (
    WATCHED_TO_END,
    SegmentInteractions,
    SegmentInterest,
    SegmentTable,
    position_baseline,
    segment_mask,
    skip_metrics,
    skip_ranks,
)
from models.segments.training import build_segment_interactions, fit, predict_interest
from snapshots.reader import SnapshotReader

EPOCH = date(1970, 1, 1)
SEGMENT_MODALITIES = ("visual", "audio")
SEGMENT_MS = 5000
MAX_SEGMENTS, MAX_LENGTH = 40, 30  # the paper has N = 40 and M = 100; M = 100 costs ten times as much
EPOCHS, PATIENCE, BATCH_SIZE = 5, 2, 512
MAX_TRAIN_INTERACTIONS = 60_000  # the newest ones are used


@dataclass(frozen=True)
class SkipDataset:
    """The interactions of a simulation in order of time, split by day as in a night.

    Attributes:
        train, valid, test: interactions of the three parts.
        valid_row_E, test_row_E: rows of the validation and test interactions in the table.
        user_E: user row of each test interaction.
        catalogue: features of the segments.
        num_users: number of users of the snapshot.
        max_segments: number of segments of the longest video.
    """

    train: SegmentInteractions
    valid: SegmentInteractions
    test: SegmentInteractions
    valid_row_E: np.ndarray
    test_row_E: np.ndarray
    user_E: np.ndarray
    catalogue: SegmentTable
    num_users: int
    max_segments: int


def prepare_dataset(snapshot: SnapshotReader, table: pa.Table) -> SkipDataset:
    """Split the interactions with videos of known duration into training, validation and test.

    Args:
        table: from `simulator_lake.read_interactions`.
    """
    length_V = np.array([d or 0 for d in snapshot.videos["duration_ms"].to_pylist()])
    watched_E = table["watched_ms"].to_numpy(zero_copy_only=False)
    video_E, start_E = table["video_row"].to_numpy(), table["started_at"].cast(pa.int64()).to_numpy()
    usable_E = ~np.isnan(watched_E.astype(float)) & (length_V[video_E] > 0)
    row_E = np.flatnonzero(usable_E)
    row_E = row_E[np.argsort(start_E[row_E], kind="stable")]
    day_E = table["day"].cast(pa.int32()).to_numpy()[row_E]
    log = InteractionLog(
        table["user_row"].to_numpy()[row_E],
        video_E[row_E],
        watched_E[row_E].astype(np.int64),
        length_V[video_E[row_E]],
    )
    night = (snapshot.night.day - EPOCH).days
    cut = np.searchsorted(day_E, [night - 1, night])
    max_segments = int(min(MAX_SEGMENTS, -(-length_V.max() // SEGMENT_MS)))
    interactions = build_segment_interactions(log, SEGMENT_MS, max_segments, MAX_LENGTH, int(cut[0]))
    rows = torch.arange(len(row_E)).tensor_split(cut.tolist())
    train, valid, test = (
        interactions.select(part) for part in (rows[0][-MAX_TRAIN_INTERACTIONS:], *rows[1:])
    )
    count_V = torch.from_numpy(-(-length_V // SEGMENT_MS)).clamp(max=max_segments)
    return SkipDataset(
        train,
        valid,
        test,
        row_E[cut[0] : cut[1]],
        row_E[cut[1] :],
        log.user_E[cut[1] :],
        _make_segment_catalogue(snapshot, count_V, max_segments),
        len(snapshot.user_ids),
        max_segments,
    )


def _make_segment_catalogue(snapshot: SnapshotReader, length_V: Tensor, max_segments: int) -> SegmentTable:
    """Make the table of the segments' features.

    The features are standardised over the videos with training interactions.

    Args:
        length_V: number of segments of each video.
        max_segments: later segments are left out.
    """
    features, has = {}, {}
    for modality in (m for m in SEGMENT_MODALITIES if m in snapshot.encoder_fingerprints):
        fingerprint = snapshot.encoder_fingerprints[modality]
        row_filter = f"modality = '{modality}' and fingerprint = '{fingerprint}' and segment >= 0"
        features_table = Lake().scan("features", row_filter, ("video_id", "segment", "vector"))
        rows = pc.index_in(features_table["video_id"], snapshot.videos["video_id"].combine_chunks())
        keep = pc.and_(pc.is_valid(rows), pc.less(features_table["segment"], max_segments))
        video_row_N = rows.filter(keep).to_numpy()
        segment_N = features_table["segment"].filter(keep).to_numpy()
        vector_NF = np.stack(features_table["vector"].filter(keep).to_numpy())
        x_VTF = torch.zeros(len(length_V), max_segments, vector_NF.shape[1])
        has_VT = torch.zeros(len(length_V), max_segments, dtype=torch.bool)
        x_VTF[video_row_N, segment_N], has_VT[video_row_N, segment_N] = torch.tensor(vector_NF), True
        train_NF = x_VTF[has_VT & (snapshot.num_interactions("valid_1") > 0)[:, None]]
        x_VTF = (x_VTF - train_NF.mean(0)) / train_NF.std(0).clamp(min=1e-6)
        features[modality], has[modality] = x_VTF.masked_fill(~has_VT.unsqueeze(2), 0.0), has_VT
    return SegmentTable(features, has, length_V)


def train_model(dataset: SkipDataset, seed: int, content: bool = True) -> SegmentInterest:
    """Train a model.

    Args:
        content: whether it reads content features, or only IDs.
    """
    seed_everything(seed)
    catalogue = dataset.catalogue
    widths = {m: x.shape[2] for m, x in catalogue.features.items()} if content else {}
    model = SegmentInterest(widths, dataset.num_users, len(catalogue.num_segments_V), dataset.max_segments)
    fit(
        model,
        catalogue,
        dataset.train,
        dataset.valid,
        seed=seed,
        epochs=EPOCHS,
        patience=PATIENCE,
        batch_size=BATCH_SIZE,
    )
    return model


def evaluate_skips(
    dataset: SkipDataset, seeds: Sequence[int], samples: int
) -> tuple[dict, list[SegmentInterest]]:
    """Train and evaluate the models.

    Args:
        seeds: one training for each.
        samples: number of bootstrap samples.

    Returns:
        HR@1 and NDCG@10 of each model with the differences over users and seeds, and the trained models.
    """
    models = [train_model(dataset, seed) for seed in seeds]
    id_only_models = [train_model(dataset, seed, content=False) for seed in seeds]
    runs_by_model = {
        "undercurrent": [_skip_metrics(model, dataset) for model in models],
        "ids_only": [_skip_metrics(model, dataset) for model in id_only_models],
        "position_only": [_skip_metrics(None, dataset)] * len(seeds),
    }
    user_E = dataset.user_E[_is_measured(dataset)]
    results: dict = {"interactions": len(user_E), "users": len(np.unique(user_E))}
    for name in ("hr@1", "ndcg@10"):
        values_by_model = {
            model_name: np.stack([run[name] for run in runs]) for model_name, runs in runs_by_model.items()
        }
        results[name] = {
            model_name: round(float(values_RE.mean()), 4) for model_name, values_RE in values_by_model.items()
        }
        for baseline in ("position_only", "ids_only"):
            difference_RB = mean_by_user(values_by_model["undercurrent"] - values_by_model[baseline], user_E)
            results[f"{name}_undercurrent_minus_{baseline}"] = paired_bootstrap(difference_RB, samples, 1)
    return results, models


def _skip_metrics(model: SegmentInterest | None, dataset: SkipDataset) -> dict[str, Floats]:
    """Return HR@k and NDCG@k of each evaluated test interaction. Without a model: positions only."""
    test = dataset.test
    if model is None:
        p_BT = position_baseline(dataset.train, dataset.max_segments).expand(len(test.user_B), -1)
    else:
        p_BT = predict_interest(model, dataset.catalogue, test)
    rank_E = skip_ranks(p_BT, test.exit_segment_B, segment_mask(test, dataset.catalogue))
    has_several_E = _has_several_segments(dataset)[test.exit_segment_B != WATCHED_TO_END]
    return {name: value_E[has_several_E].double().numpy() for name, value_E in skip_metrics(rank_E).items()}


def _has_several_segments(dataset: SkipDataset) -> Tensor:
    """Whether the video of a test interaction has several segments. With one, every score is right."""
    return dataset.catalogue.num_segments_V[dataset.test.video_B] > 1


def _is_measured(dataset: SkipDataset) -> np.ndarray:
    """Whether a test interaction is evaluated: several segments, and the user left in one."""
    return (_has_several_segments(dataset) & (dataset.test.exit_segment_B != WATCHED_TO_END)).numpy()


def mean_by_user(value_RE: Floats, user_E: np.ndarray) -> Floats:
    """Return the mean of each user's values, [R, U].

    Args:
        value_RE: values of each repetition and interaction.
        user_E: user of each interaction.
    """
    _, user_row_E, count_B = np.unique(user_E, return_inverse=True, return_counts=True)
    return np.stack([np.bincount(user_row_E, value_E) / count_B for value_E in value_RE])
