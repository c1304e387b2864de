"""Is interest drift detected where a simulated platform planted it (research/studies/interest_drift.py)?

The study reads the ground truth and the landed vectors of a folder that
`python -m simulator make --features --out DIR` wrote. A drift is an abrupt change of a taste, `drift_day`.
The last line is the JSON result.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import REFUSED_INPUT
from core.tables import MODALITIES
from models.data.sequences import Sequences
from models.sources.engagement import EngagementResidual
from research.studies.interest_drift import DriftTest, UserEvents, detect_interest_drift
from simulator.ground_truth import FOLDER_NAME

COMPONENTS = 12  # principal components of each modality
LARGE_ANGLE = 40.0  # degrees: a large gradual change
WITHIN_DAYS = 1
EPOCH = date(1970, 1, 1)
# reaction -> behaviour
BEHAVIOURS = {
    "like": "liked",
    "comment": "commented",
    "share": "shared",
    "follow": "followed",
    "dislike": "disliked",
}


def main() -> int:
    """Run the study.

    Returns:
        0: done. 2: the folder is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m research.studies.simulator_drift", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="folder of a simulated platform")
    path = parser.parse_args().path
    if not (path / FOLDER_NAME).is_dir() or not (path / "landing/features").is_dir():
        print(
            f"simulator_drift: refused: {path} has no ground truth with landed vectors; make it with "
            "python -m simulator make --features --out DIR",
            file=sys.stderr,
        )
        return REFUSED_INPUT
    users = pq.read_table(path / FOLDER_NAME / "users.parquet")
    result = detect_interest_drift(read_events(path))
    print(json.dumps({"name": "simulator_drift", "figures": drift_metrics(result, users)}))
    return 0


def read_events(path: Path) -> UserEvents:
    """Return the true interactions of all users, in the order of the ground truth."""
    truth = path / FOLDER_NAME
    users, videos = (pq.read_table(truth / f"{name}.parquet") for name in ("users", "videos"))
    table = pq.read_table(truth / "interactions.parquet")
    user_E = pc.index_in(table["user_id"], users["user_id"].combine_chunks()).to_numpy()
    order_E = np.lexsort((table["started_at"].to_numpy(), user_E))
    sequences = _sequences(table.take(order_E), np.bincount(user_E, minlength=len(users)), videos)
    residual = EngagementResidual(list(BEHAVIOURS.values()), len(videos))
    residual.init_from_statistics(sequences, torch.arange(len(videos)))
    batch = sequences.padded_batch(torch.arange(len(users)), int(sequences.lengths.max()))
    return UserEvents(
        content_vectors(path, videos["video_id"].to_pylist())[batch.video_BT],
        residual(batch, torch.arange(len(videos))),
        batch.day_BT,
        batch.mask_BT,
    )


def _sequences(table: pa.Table, count_U: NDArray[np.int64], videos: pa.Table) -> Sequences:
    video_E = pc.index_in(table["video_id"], videos["video_id"].combine_chunks()).to_numpy()
    watched_E = table["watched_ms"].cast(pa.float64()).fill_null(0.0).to_numpy()
    reactions = table["reactions"].to_pylist()
    behaviour_EA = np.array([[name in row for name in BEHAVIOURS] for row in reactions], bool)
    nothing_E = torch.zeros(len(table))
    return Sequences(
        offsets=torch.nn.functional.pad(torch.tensor(count_U).cumsum(0), (1, 0)),
        video_E=torch.tensor(video_E).long(),
        timestamp_E=torch.tensor(table["started_at"].to_numpy()).long(),
        hour_E=nothing_E.long(),
        watch_ratio_E=torch.tensor(watched_E / videos["duration_ms"].to_numpy()[video_E]).float(),
        behaviour_EA=torch.tensor(behaviour_EA),
        sentiment_E=nothing_E,
        positive_E=nothing_E.bool(),
    )


def content_vectors(path: Path, video_ids: Sequence[str]) -> Tensor:
    """Return the principal components of all modalities side by side, [V, D]. A missing modality is 0."""
    landed = ds.dataset(path / "landing/features", format="parquet", partitioning="hive").to_table()
    row_of = {video_id: row for row, video_id in enumerate(video_ids)}
    by_modality = []
    for modality in MODALITIES:
        rows = landed.filter(pc.field("modality") == modality)
        vectors = {
            row_of[name]: vector
            for name, vector in zip(rows["video_id"].to_pylist(), rows["vector"].to_pylist(), strict=True)
            if name in row_of
        }
        content_VF = torch.zeros(len(video_ids), COMPONENTS)
        content_VF[list(vectors)] = principal_components(torch.tensor(list(vectors.values())))
        by_modality.append(content_VF * len(MODALITIES) ** -0.5)
    return torch.cat(by_modality, 1)


def principal_components(vector_VF: Tensor) -> Tensor:
    """Return the first COMPONENTS principal components, scaled to a mean squared length of 1."""
    u_VX, singular_X, _ = torch.linalg.svd(vector_VF - vector_VF.mean(0), full_matrices=False)
    content_VX = (u_VX * singular_X)[:, :COMPONENTS]
    return content_VX / content_VX.square().sum(1).mean().sqrt()


def drift_metrics(result: DriftTest, users: pa.Table) -> dict[str, float | int | None]:
    """Compare the detected days with the planted ones, over the judged users.

    Args:
        result: The result, in the order of `users`.
        users: The ground truth of the users.
    """
    judged_B = result.p_value_B.isfinite().numpy()
    flagged_B = result.has_drifted.numpy()[judged_B]
    days = users["drift_day"].to_pylist()
    planted_B = np.array([-1 if day is None else (day - EPOCH).days for day in days])[judged_B]
    day_B, drifts_B = result.day_B.numpy()[judged_B], planted_B >= 0
    gradual_B = ~drifts_B & (users["total_drift_angle"].to_numpy()[judged_B] >= LARGE_ANGLE)
    correct_B, error_B = flagged_B & drifts_B, np.abs(day_B - planted_B)
    _, users_by_day = np.unique(day_B[flagged_B], return_counts=True)
    p_value_B = result.p_value_B.numpy()[judged_B]
    return {
        "users": int(judged_B.sum()),
        "base_rate": _mean(drifts_B),
        "flagged": int(flagged_B.sum()),
        "precision": _mean(drifts_B[flagged_B]),
        "recall": _mean(flagged_B[drifts_B]),
        "precision_within_1_day": _mean((drifts_B & (error_B <= WITHIN_DAYS))[flagged_B]),
        "mean_day_error": _mean(error_B[correct_B]),
        "share_of_commonest_day": _mean(users_by_day.max(initial=0) / flagged_B.sum())
        if flagged_B.any()
        else None,
        "share_below_.05_without_abrupt_drift": _mean(p_value_B[~drifts_B] <= 0.05),
        "share_below_.05_with_abrupt_drift": _mean(p_value_B[drifts_B] <= 0.05),
        "large_gradual_users": int(gradual_B.sum()),
        "flagged_of_large_gradual": _mean(flagged_B[gradual_B]),
    }


def _mean(value_X: NDArray) -> float | None:
    return round(float(np.mean(value_X)), 3) if np.size(value_X) else None


if __name__ == "__main__":
    sys.exit(main())
