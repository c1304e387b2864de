"""Metrics of the compared models, and paired differences between them."""

from collections.abc import Callable, Mapping, Sequence

import torch

from core.config.model_half import EvaluateConfig
from core.time_split import TEST_FOLD
from evaluation.slices import tail_mask
from models.data.targets import Targets
from models.evaluation.metrics import (
    Floats,
    coverage,
    gini,
    mrr,
    ndcg,
    paired_bootstrap,
    recall,
    subset_share,
)
from models.evaluation.scoring import RankingResult
from snapshots.reader import SnapshotReader

Metric = Callable[..., Floats]

METRICS: Mapping[str, Metric] = {"ndcg": ndcg, "recall": recall, "mrr": mrr}


def metric_per_user(metric: Metric, ranked: RankingResult, targets: Targets, k: int) -> Floats:
    """Return a metric at k of every test user, in the order of `targets.users`.

    Args:
        metric: One of `METRICS`.
        ranked: Ranks of the targets.
        targets: Of the test day.
        k: Cut-off.
    """
    user_P = torch.searchsorted(targets.users, targets.user_P)
    return metric(ranked.rank_P.numpy(), user_P.numpy(), len(targets.users), k)


def model_metrics(
    ranked: RankingResult, targets: Targets, snapshot: SnapshotReader, cutoffs: Sequence[int]
) -> dict[str, float | None]:
    """Return the metrics of one model at each cut-off.

    Args:
        ranked: Ranks of the targets, and the recommendations.
        targets: Of the test day.
        snapshot: Of the night.
        cutoffs: Values of k.

    Returns:
        `<metric>@<k>` -> value: NDCG, Recall and MRR, the coverage and the Gini coefficient of the
        recommendations, and the shares of the long tail and of new videos among them.
    """
    num_interactions_V, V = snapshot.num_interactions(TEST_FOLD), snapshot.videos.num_rows
    tail_V, new_V = tail_mask(num_interactions_V).numpy(), (num_interactions_V == 0).numpy()
    metrics: dict[str, float | None] = {}
    for k in cutoffs:
        recommended_N = ranked.top_BK[:, :k][ranked.score_BK[:, :k] > -torch.inf].numpy()
        metrics |= {
            f"{name}@{k}": float(metric_per_user(metric, ranked, targets, k).mean())
            for name, metric in METRICS.items()
        }
        metrics |= {f"coverage@{k}": coverage(recommended_N, V), f"gini@{k}": gini(recommended_N, V)}
        metrics |= {f"tail_share@{k}": subset_share(recommended_N, tail_V)}
        metrics |= {f"new_share@{k}": subset_share(recommended_N, new_V)}
    return metrics


def paired_difference(
    metric: Metric,
    challenger: RankingResult,
    reference: RankingResult,
    targets: Targets,
    params: EvaluateConfig,
) -> dict[str, float | None]:
    """Return the challenger's metric at `k` minus that of a reference, paired by user.

    Args:
        metric: One of `METRICS`.
        challenger: Ranks of the targets by the challenger.
        reference: Ranks of the targets by the reference.
        targets: Of the test day.
        params: Section `evaluate` of params.yaml.

    Returns:
        The mean difference with its confidence interval.
    """
    challenger_B, reference_B = (
        metric_per_user(metric, ranked, targets, params.k) for ranked in (challenger, reference)
    )
    return paired_bootstrap(challenger_B - reference_B, params.bootstrap_samples, params.seed)


def challenger_differences(
    ranked: Mapping[str, RankingResult], targets: Targets, params: EvaluateConfig
) -> dict[str, dict]:
    """Return the challenger's metrics at `k` minus those of each other model, paired by user.

    Args:
        ranked: Name of the model -> ranks of the targets.
        targets: Of the test day.
        params: Section `evaluate` of params.yaml.

    Returns:
        Model -> metric -> mean difference with its confidence interval.
    """
    return {
        name: {
            f"{metric_name}@{params.k}": paired_difference(
                metric, ranked["challenger"], reference, targets, params
            )
            for metric_name, metric in METRICS.items()
        }
        for name, reference in ranked.items()
        if name != "challenger"
    }
