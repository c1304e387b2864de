"""Register the challenger, and make it the champion if the verdict promotes it.

Only aliases move. A bundle is identified by its digest and registered once. So running a night again changes
nothing. A champion is replaced only if the verdict compared the challenger with it. So an old or slow night
does not undo a newer decision.
"""

import sys
from collections.abc import Mapping
from importlib.metadata import version as package_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, MLFLOW_UV_AUTO_DETECT
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array

from core import hashing, paths, production, step_cli
from core.config import PromoteConfig
from core.errors import InputError
from core.hashing import BUNDLE_FILES
from core.paths import APPROVAL_FILE, PROJECT_ROOT, Night
from core.run_manifests import RunManifest, read_json, read_manifest
from core.time_split import TEST_FOLD
from evaluation.verdict import Verdict, read_verdict
from models.data.request_contexts import COUNTED_CONTEXTS
from registry import model_registry, tracking
from registry.model_card import model_card
from registry.model_registry import CHALLENGER, CHAMPION, PREVIOUS, ModelRegistry, ModelVersion
from snapshots.reader import SnapshotReader

CODE_PATHS = (PROJECT_ROOT / "registry" / "served_model.py", PROJECT_ROOT / "models")
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "scipy", "torch")


def run(params: PromoteConfig, night: Night) -> RunManifest:
    """Register the bundle if it is new, and move the aliases as the verdict allows.

    Raises:
        InputError: The verdict or the bundle is missing, of another night, or not the one that was judged.
        ServiceUnavailableError: MLflow cannot be reached.
    """
    verdict = read_verdict(night)
    digest = _check_judged_bundle(night, verdict)
    if reason := production.why_read_only():
        return _skipped_manifest(reason, digest)
    with model_registry.promotion_lock(), tracking.translate_errors():
        registry_client = ModelRegistry()
        registry_client.create_if_missing()
        existing = registry_client.find_by_bundle(digest)
        version = existing or _register(registry_client, night, digest, verdict)
        decision = "promote" if verdict.promote else "refuse"
        registry_client.set_tags(version, {"gate_verdict": decision, "gate_summary": verdict.summary})
        outcome = _move_aliases(registry_client, version, verdict, params.freeze, _approval(night, verdict))
        aliases = {name: registry_client.get_by_alias(name) for name in (CHAMPION, CHALLENGER, PREVIOUS)}
    print(f"promote: version {version.number} {outcome}", file=sys.stderr)
    return RunManifest(
        digests={"bundle_digest": digest},
        facts={
            "model": registry_client.name,
            "version": version.number,
            "index_digest": version.tags.get("index_digest"),
            "newly_registered": existing is None,
            "outcome": outcome,
            **{name: holder.number if holder else None for name, holder in aliases.items()},
        },
    )


def _skipped_manifest(reason: str, digest: str) -> RunManifest:
    """Return the run manifest of a run that may not change the registry. MLflow is not read either."""
    print(f"promote: {reason}", file=sys.stderr)
    empty = dict.fromkeys(("version", "index_digest", CHAMPION, CHALLENGER, PREVIOUS))
    facts = {"model": model_registry.model_name(), "newly_registered": False, "outcome": reason, **empty}
    return RunManifest(digests={"bundle_digest": digest}, facts=facts)


def _check_judged_bundle(night: Night, verdict: Verdict) -> str:
    """Return the digest of the bundle. Refuse a verdict about another bundle or evaluation."""
    bundle = night.require_output("train", BUNDLE_FILES[1]).parent
    digest, remedy = hashing.hash_bundle(bundle), f"`python -m tasks.gate --night {night.day}`"
    if digest != verdict.bundle_digest:
        raise InputError(
            f"{bundle}: {digest[:12]} is not the model that the gate judged ({verdict.bundle_digest[:12]!r});"
            f" run `python -m tasks.evaluate --night {night.day}` and {remedy} to judge this model"
        )
    metrics = night.require_output("evaluate", "details.json")
    if (current := hashing.hash_file(metrics)) != verdict.metrics_digest:
        raise InputError(f"{metrics}: {current[:12]} changed after the gate judged it; run {remedy} again")
    return digest


def _approval(night: Night, verdict: Verdict) -> str | None:
    """Return why the verdict is not approved, or None if it is approved or needs no approval."""
    if not verdict.needs_approval:
        return None
    path = night.workspace / APPROVAL_FILE
    remedy = "trigger `promote` in Airflow, which asks for it, or set gate.approval_margin to 0"
    if not path.exists():
        return f"it has no approval; {remedy}"
    approval = read_json(path, remedy, ("approved", "by", "verdict_digest"))
    if approval["verdict_digest"] != hashing.hash_file(night.require_output("gate", "verdict.json")):
        return f"the approval is of another verdict; {remedy}"
    return None if approval["approved"] is True else f"{approval['by']} rejected it"


def _move_aliases(
    registry_client: ModelRegistry,
    version: ModelVersion,
    verdict: Verdict,
    freeze: bool,
    not_approved: str | None,
) -> str:
    """Move the aliases and return the outcome for the version in words."""
    challenger, champion = registry_client.get_by_alias(CHALLENGER), registry_client.get_by_alias(CHAMPION)
    if challenger is None or challenger.night <= verdict.night:
        registry_client.set_alias(CHALLENGER, version)
    if champion and champion.number == version.number:
        return "is already the champion"
    if reason := _reason_to_keep(version, champion, verdict, freeze) or not_approved:
        return f"does not become champion: {reason}"
    registry_client.set_tags(version, {"replaced_version": verdict.champion or ""})
    if champion:
        registry_client.set_alias(PREVIOUS, champion)
    registry_client.set_alias(CHAMPION, version)
    if not champion:
        return "is now the champion; there was none before"
    return f"is now the champion and replaces version {champion.number}"


def _reason_to_keep(
    version: ModelVersion, champion: ModelVersion | None, verdict: Verdict, freeze: bool
) -> str | None:
    """Return why the champion stays, or None if it may be replaced."""
    current = champion.number if champion else None
    if not verdict.promote:
        return "the gate refused it"
    if freeze:
        return "promote.freeze is true"
    if version.tags.get("rolled_back") == "true":
        return f"it was rolled back; `undercurrent rollback --to {version.number}` makes it champion again"
    if current not in verdict.compared_champions:
        compared = " and ".join(
            f"champion {number}" if number else "no champion" for number in verdict.compared_champions
        )
        return f"it was compared with {compared}, but the champion is now {current or 'none'}"
    return None


def _register(registry_client: ModelRegistry, night: Night, digest: str, verdict: Verdict) -> ModelVersion:
    """Log the bundle with its code, signature, example and card, and register it with its origin as tags."""
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    MLFLOW_UV_AUTO_DETECT.set(False)  # otherwise the model requires the whole lock file
    mlflow.set_tracking_uri(paths.tracking_uri())
    mlflow.set_registry_uri(paths.tracking_uri())
    model_json = _read_output(night, "train", BUNDLE_FILES[1])
    details = _read_output(night, "evaluate", "details.json")
    card = model_card(verdict.summary, details, _read_output(night, "snapshot", "manifest.json"), model_json)
    run_id = _training_run(registry_client, night, details)
    with TemporaryDirectory() as folder, mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name=registry_client.name,
            python_model=str(CODE_PATHS[0]),
            code_paths=[str(CODE_PATHS[1])],
            artifacts={name: str(path) for name, path in write_artifacts(night, Path(folder)).items()},
            signature=model_signature(model_json),
            input_example=(input_example(model_json), {"k": 10, "day": str(night.day)}),
            pip_requirements=[f"{name}=={package_version(name).split('+')[0]}" for name in REQUIREMENTS],
        )
        mlflow.log_text(card, "model_card.md")
    fingerprints = {
        f"encoder_fingerprint.{m}": fingerprint
        for m, fingerprint in model_json["encoder_fingerprints"].items()
    }
    origin = {"night": str(night.day), "bundle_digest": digest, "index_digest": index_digest(night)}
    origin |= {"commit": step_cli.code_commit(), **fingerprints}
    registered = mlflow.register_model(logged.model_uri, registry_client.name, tags=origin)
    registry_client.client.update_model_version(registry_client.name, registered.version, card)
    return ModelVersion(str(registered.version), origin)


def _read_output(night: Night, step: str, name: str) -> dict[str, Any]:
    return read_json(night.require_output(step, name), f"run `python -m tasks.{step}` again")


def index_digest(night: Night) -> str:
    """Return one sha256 over the bundle, and the catalogue and features that it is served with."""
    files = _bundle_and_features(night) | {
        name: night.require_output("snapshot", f"{name}.parquet")
        for name in ("catalogue", f"item_statistics_{TEST_FOLD}")
    }
    return hashing.hash_lines([f"{name} {hashing.hash_file(path)}" for name, path in files.items()])


def write_artifacts(night: Night, folder: Path) -> dict[str, Path]:
    """Return name -> file of the artifacts that the served model reads.

    The catalogue is written with the item statistics of the test day, which the snapshot keeps apart.

    Args:
        night: A night after the step train.
        folder: Where to write.
    """
    catalogue = folder / "catalogue.parquet"
    pq.write_table(SnapshotReader(night).catalogue(TEST_FOLD), catalogue)
    return {**_bundle_and_features(night), "catalogue": catalogue}


def _bundle_and_features(night: Night) -> dict[str, Path]:
    weights, config = BUNDLE_FILES
    return {
        "weights": night.require_output("train", weights),
        "config": night.require_output("train", config),
        "features": night.require_output("snapshot", "features.safetensors"),
    }


def _training_run(registry_client: ModelRegistry, night: Night, details: Mapping[str, Any]) -> str:
    """Return the id of the MLflow run that trained the bundle. Create a run if this server has none.

    The metrics of the test day are logged to it. Each model that it was compared with gets a run of its own.
    """
    client, experiment = registry_client.client, tracking.get_or_create_experiment(registry_client.client)
    run_id = read_manifest(night.run_manifests, "train")["facts"].get("mlflow_run")
    runs = client.search_runs([experiment], f"attributes.run_id = '{run_id}'", max_results=1)
    training = runs[0] if runs else tracking.create_child_run(client, str(night.day), "train")
    for name, metrics in details["models"].items():
        is_challenger = name == "challenger"
        run = training if is_challenger else tracking.create_child_run(client, str(night.day), name)
        tracking.log_metrics(client, run, metrics)
        if not is_challenger:
            client.set_terminated(run.info.run_id)
    return training.info.run_id


def input_example(description: Mapping[str, Any]) -> pd.DataFrame:
    """Return a request for two users: one who watched two real videos, and one who is new.

    The sequence is made up, because the sequence of a real user is personal data.

    Args:
        description: The content of `model.json`.
    """
    return pd.DataFrame({"video_ids": [description["video_ids"][:2], []]})


def model_signature(description: Mapping[str, Any]) -> ModelSignature:
    """Build the signature of `registry/served_model.py`: its inputs, outputs and parameters.

    Args:
        description: The content of `model.json`.
    """
    lists = {
        "started_at_ms": DataType.long,
        "watch_ratios": DataType.double,
        "behaviours": DataType.long,
        "comment_sentiments": DataType.double,
    }
    lists |= {f"{name}s": DataType.string for name in description["contexts"]}
    scalars = dict.fromkeys(description["user_categorical_features"], DataType.string)
    scalars |= dict.fromkeys(description["user_numerical_features"], DataType.double)
    scalars |= {
        f"request_{name}": DataType.long if name in COUNTED_CONTEXTS else DataType.string
        for name in description.get("request_contexts", {})
    }
    inputs: list[ColSpec | TensorSpec] = [ColSpec(Array(DataType.string), "video_ids")]
    inputs += [ColSpec(Array(data_type), name, required=False) for name, data_type in lists.items()]
    inputs += [ColSpec(DataType.long, "utc_offset_minutes", required=False)]
    inputs += [ColSpec(data_type, name, required=False) for name, data_type in scalars.items()]
    numbers = ["scores", *(f"alpha_{m}" for m in description["modalities"])]
    outputs: list[ColSpec | TensorSpec] = [ColSpec(Array(DataType.string), "video_ids")]
    outputs += [ColSpec(Array(DataType.double), name) for name in numbers]
    params = [ParamSpec("k", DataType.long, 10), ParamSpec("day", DataType.string, "")]  # empty: today
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))


if __name__ == "__main__":
    sys.exit(step_cli.main("promote", run, __doc__))
