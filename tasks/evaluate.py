"""Evaluate the challenger on the test day, with the champion and the counted baselines.

A repeated night is also compared with the incumbent, the champion that an earlier run of this night made.
Every model ranks the available videos for the same users by the same code. Videos that a user has seen are
masked. Ties are broken by row. The step does not decide about promotion.
"""

import sys
from pathlib import Path

import pyarrow.parquet as pq

from core import step_cli
from core.config.model_half import EvaluateConfig
from core.errors import InputError
from core.hashing import hash_bundle, hash_folder
from core.paths import Night
from core.run_manifests import RunManifest, write_json
from evaluation import model_audit
from evaluation.baselines import rank_counted_baselines
from evaluation.experiment_files import write_experiment_files
from evaluation.explanations import write_explanations
from evaluation.metrics import challenger_differences, model_metrics
from evaluation.ranking import load_scorer, rank_model, read_test_targets
from evaluation.segments import segment_metrics
from evaluation.slices import VideoSliceRanks, slice_metrics, video_slices
from evaluation.user_tables import per_user_table, recommendations_table
from models.seeding import seed_everything
from snapshots.compared_features import COMPARED_MODELS
from snapshots.reader import SnapshotReader


def run(params: EvaluateConfig, night: Night) -> RunManifest:
    """Write details.json, metrics.json, plots/, explanations/, per_user.parquet and recommendations.parquet.

    Raises:
        InputError: No user has a target, or `k` is not among the cut-offs. Or a model cannot be read, or was
            trained with other encoders.
    """
    if params.k not in params.cutoffs:
        raise InputError(
            f"params.yaml: evaluate.k is {params.k}, which is not among evaluate.cutoffs"
            f" ({', '.join(map(str, params.cutoffs))}); add it"
        )
    seed_everything()
    snapshot, out = SnapshotReader(night), night.fresh_folder("evaluate")
    folders = model_folders(night)
    bundles = {name: hash_bundle(folder) for name, folder in folders.items()}
    scorers = {
        name: load_scorer(folder, snapshot)
        for name, folder in folders.items()
        if name != "incumbent" or bundles[name] != bundles["challenger"]
    }
    challenger = scorers["challenger"]
    targets = read_test_targets(challenger, snapshot)

    slices_V = video_slices(challenger, snapshot)
    slice_ranks = {name: VideoSliceRanks(targets, slices_V) for name in scorers}
    rankings = {
        name: rank_model(name, scorer, targets, max(params.cutoffs), slice_ranks[name])
        for name, scorer in scorers.items()
    }
    ranked = {name: ranking for name, (ranking, _) in rankings.items()}
    ranked |= rank_counted_baselines(snapshot, targets, params)
    weights = rankings["challenger"][1]

    head_metrics = {name: model_audit.ranking_head_metrics(s, snapshot) for name, s in scorers.items()}
    details = {
        "test_day": str(night.day),
        "num_users": len(targets.users),
        "primary_metric": f"ndcg@{params.k}",
        "models": {
            name: model_metrics(ranking, targets, snapshot, params.cutoffs)
            | model_audit.headline_metrics(head_metrics.get(name))
            for name, ranking in ranked.items()
        },
        "ranking_heads": head_metrics,
        "differences": challenger_differences(ranked, targets, params),
        "slices": slice_metrics(ranked, slice_ranks, targets, challenger, snapshot, params),
        "modality_weights": model_audit.audit_modality_weights(weights, targets.users, challenger, snapshot)
        | model_audit.measure_modality_weight_gain(challenger, ranked["challenger"], targets, params),
        "embedding_drift": model_audit.measure_embedding_drift(challenger, snapshot),
        "bundle_digests": bundles,
        "privacy": dict(challenger.model.config.privacy),
        **segment_metrics(challenger, snapshot, params),
        **write_explanations(out, snapshot, challenger, targets, params),
    }
    per_user = per_user_table(snapshot, scorers, ranked, weights, targets, params.k)
    recommendations = recommendations_table(snapshot, challenger, ranked["challenger"], weights, targets)
    pq.write_table(per_user, out / "per_user.parquet")
    pq.write_table(recommendations, out / "recommendations.parquet")
    write_json(out / "details.json", details)
    write_experiment_files(out, details)
    facts = {"num_users": len(targets.users), "differences": details["differences"]}
    return RunManifest(digests=hash_folder(out), facts=facts)


def model_folders(night: Night) -> dict[str, Path]:
    """Return name -> folder of the saved models: the challenger, and those that the snapshot holds."""
    challenger = night.require_output("train", "model.json").parent
    compared = {name: night.workspace / "snapshot" / name for name in COMPARED_MODELS}
    return {"challenger": challenger} | {name: path for name, path in compared.items() if path.is_dir()}


if __name__ == "__main__":
    sys.exit(step_cli.main("evaluate", run, __doc__))
