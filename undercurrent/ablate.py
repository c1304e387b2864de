"""Ablation: leave out one part of the model, then train and test it again.

Every variant is aligned and trained like a night, with several seeds and without a champion. Then it is
tested on the test day. Writes ablations.json, ablations.md, ablations.svg and per_user.parquet to `ablate/`.
Do not choose a model by these results, because they are of the test day.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tqdm import tqdm

from core.config import Params
from core.config.models import InterestModelConfig
from core.errors import InputError
from core.paths import Night
from core.run_manifests import write_json
from core.schema import replace_nested
from core.time_split import TEST_FOLD
from evaluation.metrics import metric_per_user
from evaluation.ranking import load_scorer, rank_model, read_test_targets
from evaluation.sampled_users import sample_test_users
from models.data.sequences import Sequences
from models.data.targets import Targets
from models.evaluation.metrics import classify_difference, ndcg, paired_bootstrap
from models.evaluation.scoring import Scorer
from reporting.plots import ablation_differences
from snapshots.reader import SnapshotReader
from tasks import align, train
from undercurrent.ablation_variants import FULL, Variant, variants

NO_USERS = "no users"  # shown in place of the significance if a group has no users


def run(params: Params, night: Night, seeds: int, variant_names: Sequence[str]) -> dict[str, Any]:
    """Train and test variants, and write the results after each seed from the second on.

    Args:
        params: Parameters of the full model.
        night: The night of the snapshot. Its folder `ablate/` is written.
        seeds: Number of trainings of each variant, at least 2.
        variant_names: Variants in addition to the full model. Empty for all.

    Returns:
        The content of ablations.json.

    Raises:
        InputError: There are fewer than two seeds, no such variant, no snapshot or no test targets, or the
            parameters choose a baseline.
    """
    if seeds < 2:
        raise InputError(f"--seeds is {seeds}; give at least 2, because the intervals also need seeds")
    if not isinstance(model := params.train.model, InterestModelConfig):
        raise InputError(
            f"{night.params_path}: train.model.name is {model.name}, but ablate leaves out parts of the model"
            " interest; choose it"
        )
    snapshot = SnapshotReader(night)
    selected = _select_variants(variants(snapshot.modalities, model.fusion), variant_names)
    per_user: dict[str, list[NDArray]] = {name: [] for name in selected}
    progress = tqdm(total=seeds * len(selected), desc="ablate", unit="variant")
    with progress, tempfile.TemporaryDirectory(prefix="undercurrent-ablate-") as folder:
        for seed in range(1, seeds + 1):
            for name in selected:
                per_user[name].append(_measure_variant(params, night, selected, name, seed, Path(folder)))
                progress.update()
            if seed > 1:
                results = _write_results(params, snapshot, per_user, selected)
    return results


def _write_results(
    params: Params,
    snapshot: SnapshotReader,
    per_user: Mapping[str, Sequence[NDArray]],
    selected: Mapping[str, Variant],
) -> dict[str, Any]:
    """Write the folder `ablate/` of the night, and return the content of ablations.json."""
    night, fold = snapshot.night, snapshot.content_fold(TEST_FOLD)
    targets = fold.targets.of_users(sample_test_users(fold.targets.users))
    cold_B = (fold.users.sequences.lengths[targets.users] < params.evaluate.cold_events).numpy()
    results: dict[str, Any] = {
        "night": str(night.day),
        "metric": f"ndcg@{params.evaluate.k}",
        "seeds": len(per_user[FULL]),
        "variants": _summarise(per_user, selected, cold_B, params),
    }
    out = night.fresh_folder("ablate")
    pq.write_table(_per_user_table(per_user, snapshot, targets), out / "per_user.parquet")
    write_json(out / "ablations.json", results)
    (out / "ablations.md").write_text(format_markdown(results), encoding="utf-8")
    (out / "ablations.svg").write_text(
        ablation_differences(results["variants"], results["metric"]), encoding="utf-8"
    )
    return results


def _select_variants(available: Mapping[str, Variant], variant_names: Sequence[str]) -> dict[str, Variant]:
    """Return the full model and the variants of these names. Empty for all.

    Raises:
        InputError: There is no variant of that name.
    """
    for name in variant_names:
        if name not in available:
            raise InputError(f"--variant: there is no variant {name!r}; choose from {', '.join(available)}")
    return {
        name: variant
        for name, variant in available.items()
        if not variant_names or name in (FULL, *variant_names)
    }


def _measure_variant(
    params: Params, night: Night, selected: Mapping[str, Variant], name: str, seed: int, folder: Path
) -> NDArray[np.float64]:
    """Train a variant with one seed unless it reuses a model, and return the NDCG of every test user.

    Args:
        params: Of the full model.
        night: Holds the snapshot.
        selected: All selected variants.
        name: The variant.
        seed: Of all steps.
        folder: For the files of the variants.
    """
    variant = selected[name]
    variant_night = Night(night.day, folder / str(seed) / (variant.reuse_model or name), night.params_path)
    if not variant.reuse_model:
        _write_snapshot(SnapshotReader(night), variant_night, variant, seed)
        align.run(replace_nested(params.align, {"seed": seed, **variant.align}), variant_night)
        train.train_and_save(replace_nested(params.train, {"seed": seed, **variant.train}), variant_night)
    snapshot = SnapshotReader(variant_night)
    scorer = load_scorer(variant_night.folder("train"), snapshot)
    targets = read_test_targets(scorer, snapshot)
    if variant.hide_sequences:
        scorer = _hide_sequences(scorer)
    ranked, _ = rank_model(name, scorer, targets, params.evaluate.k)
    return metric_per_user(ndcg, ranked, targets, params.evaluate.k)


def _write_snapshot(snapshot: SnapshotReader, variant_night: Night, variant: Variant, seed: int) -> None:
    """Link the files of the night's snapshot, without the champion, and write changed features."""
    out = variant_night.fresh_folder("snapshot")
    for path in (snapshot.night.workspace / "snapshot").glob("*.*"):  # folders of models have no dot
        (out / path.name).symlink_to(path.resolve())
    if variant.transform_features:
        (out / "features.safetensors").unlink()
        torch.manual_seed(seed)
        features = variant.transform_features(snapshot.features)
        save_file(
            {name: tensor.contiguous() for name, tensor in features.items()}, out / "features.safetensors"
        )


def _hide_sequences(scorer: Scorer) -> Scorer:
    """Return the scorer with an empty sequence for every user."""
    sequences = scorer.user_data.sequences
    empty: dict[str, Any] = {name: None if x is None else x[:0] for name, x in vars(sequences).items()}
    empty["offsets"] = sequences.offsets * 0
    return replace(scorer, user_data=replace(scorer.user_data, sequences=Sequences(**empty)))


def _per_user_table(
    per_user: Mapping[str, Sequence[NDArray]], snapshot: SnapshotReader, targets: Targets
) -> pa.Table:
    """Return NDCG with one row for each user and one column for each variant and seed."""
    columns = {
        f"{name}, seed {i + 1}": ndcg_B for name, rows in per_user.items() for i, ndcg_B in enumerate(rows)
    }
    return pa.table({"user_id": snapshot.user_ids.take(pa.array(targets.users.numpy())), **columns})


def _summarise(
    per_user: Mapping[str, Sequence[NDArray]],
    selected: Mapping[str, Variant],
    cold_B: NDArray,
    params: Params,
) -> dict[str, dict]:
    """Return NDCG and the paired difference from the full model, for all users and for cold users."""
    ndcg_RB = {name: np.stack(rows) for name, rows in per_user.items()}
    return {
        name: {
            "description": selected[name].description,
            "all_users": _compare_to_full(ndcg_RB[name], ndcg_RB[FULL], params),
            "cold_users": _compare_to_full(ndcg_RB[name][:, cold_B], ndcg_RB[FULL][:, cold_B], params),
        }
        for name in ndcg_RB
    }


def _compare_to_full(variant_RB: NDArray, full_RB: NDArray, params: Params) -> dict[str, Any]:
    """Return mean NDCG, NDCG of each seed, difference from the full model, and its significance.

    Args:
        variant_RB: NDCG of the variant, a row for each seed.
        full_RB: NDCG of the full model.
        params: Hold the settings of the bootstrap.
    """
    if not variant_RB.shape[1]:
        return {
            "ndcg": None,
            "by_seed": [],
            "difference": paired_bootstrap(np.array([]), 0, 0),
            "significance": NO_USERS,
        }
    settings = params.evaluate
    difference = paired_bootstrap(variant_RB - full_RB, settings.bootstrap_samples, settings.seed)
    by_seed = [round(float(mean), 6) for mean in variant_RB.mean(1)]
    return {
        "ndcg": float(variant_RB.mean()),
        "by_seed": by_seed,
        "difference": difference,
        "significance": classify_difference(difference),
    }


def format_markdown(results: Mapping[str, Any]) -> str:
    """Return the table of the variants, compared with the full model, as Markdown.

    Args:
        results: Content of ablations.json.
    """
    k = results["metric"].upper()
    lines = [
        f"Test day {results['night']}, {results['seeds']} seeds; 95 % paired bootstrap over users and seeds.",
        "",
        f"| variant | description | {k} | variant − full | | {k}, cold users | variant − full | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, variant in results["variants"].items():
        cells = [
            cell for group in ("all_users", "cold_users") for cell in _cells(variant[group], name == FULL)
        ]
        lines.append(f"| {' | '.join([name, variant['description'], *cells])} |")
    full = results["variants"][FULL]
    counts = [full[group]["difference"]["num_users"] for group in ("all_users", "cold_users")]
    return "\n".join([*lines, "", f"{counts[0]} users, {counts[1]} of them cold."]) + "\n"


def _cells(summary: Mapping[str, Any], is_full: bool) -> list[str]:
    """Return the cells NDCG, difference in percent with its interval, and significance."""
    ndcg, difference = summary["ndcg"], summary["difference"]
    if ndcg is None:
        return ["–", "", summary["significance"]]
    if is_full:
        return [f"{ndcg:.4f}", "", ""]
    if difference["low"] is None:
        return [f"{ndcg:.4f}", f"{difference['mean']:+.4f}", summary["significance"]]
    percent = (
        f" ({difference['mean'] / (ndcg - difference['mean']):+.1%})" if ndcg > difference["mean"] else ""
    )
    text = f"{difference['mean']:+.4f}{percent} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    return [f"{ndcg:.4f}", text, summary["significance"]]
