"""Embedding drift: how far the embeddings of probe videos moved from one model to the next."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from models.losses.info_nce import cosine_distance


def embedding_drift(
    x_vMD: Tensor, reference_vMD: Tensor, has_vM: Tensor, modalities: Sequence[str]
) -> dict[str, dict]:
    """Return mean and 95th percentile of the cosine distance, for each modality that a probe video has."""
    distance_vM, by_modality = cosine_distance(x_vMD, reference_vMD).double(), {}
    for i, modality in enumerate(modalities):
        if bool(has_vM[:, i].any()):
            distance_N = distance_vM[has_vM[:, i], i]
            by_modality[modality] = {
                "num_videos": len(distance_N),
                "mean": float(distance_N.mean()),
                "p95": float(distance_N.quantile(0.95)),
            }
    return by_modality


def max_p95_drift(drift_by_modality: Mapping[str, Mapping[str, float]]) -> float:
    """Return the largest 95th percentile of all modalities. It is 0 if nothing was compared."""
    return max((drift["p95"] for drift in drift_by_modality.values()), default=0.0)
