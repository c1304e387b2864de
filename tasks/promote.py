"""Register tonight's challenger and, on a promoting verdict, make it the champion: only pointers move.

A bundle is registered once, known by its digest; running a night again changes nothing. A champion is
replaced only if the verdict compared with it: neither an old night nor a slow one undoes a newer decision.
"""

import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, MLFLOW_UV_AUTO_DETECT
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array

from contracts import digests, place, production, step
from contracts.digests import BUNDLE_FILES
from contracts.errors import InputError
from contracts.params import Promote
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, read_json, read_receipt
from tasks import registry, tracking
from tasks.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry, Version
from tasks.verdict import Verdict, read_verdict

CODE = (PROJECT / "tasks" / "recommender.py", PROJECT / "models")
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "torch")


def run(params: Promote, night: Night) -> Receipt:
    """Register the bundle if it is new, and move the aliases that the verdict allows to move.

    Raises:
        InputError: the verdict or the bundle is missing, or of another night, or not what was judged.
    """
    verdict = read_verdict(night)
    digest = _judged(night, verdict)
    if why := production.left_alone():
        return _left_alone(why, digest)
    with registry.alone(), tracking.answering():
        models = Registry()
        models.make()
        known = models.with_bundle(digest)
        version = known or _register(models, night, digest)
        word = "promote" if verdict.promote else "refuse"
        models.tag(version, {"verdict": word, "summary": verdict.summary})
        outcome = _move(models, version, verdict, params.freeze)
        aliases = {name: models.holder(name) for name in (CHAMPION, CHALLENGER, PREVIOUS)}
    print(f"promote: version {version.number} {outcome}", file=sys.stderr)
    return Receipt(
        digests={"bundle": digest},
        facts={
            "model": models.name,
            "version": version.number,
            "index": version.tags.get("index"),
            "registered": known is None,
            "outcome": outcome,
            **{name: holder.number if holder else None for name, holder in aliases.items()},
        },
    )


def _left_alone(why: str, digest: str) -> Receipt:
    """What is told where nothing may move; not even the aliases are looked up."""
    print(f"promote: {why}", file=sys.stderr)
    nothing = dict.fromkeys(("version", "index", CHAMPION, CHALLENGER, PREVIOUS))
    facts = {"model": registry.model_name(), "registered": False, "outcome": why, **nothing}
    return Receipt(digests={"bundle": digest}, facts=facts)


def _judged(night: Night, verdict: Verdict) -> str:
    """Digest of the bundle, which must be the one that the verdict is of."""
    bundle = night.output("train", BUNDLE_FILES[1]).parent
    digest, again = digests.of_bundle(bundle), f"`python -m tasks.gate --night {night.day}`"
    if digest != verdict.bundle:
        raise InputError(
            f"{bundle}: {digest[:12]} is not the model that the gate judged ({verdict.bundle[:12]!r});"
            f" run `python -m tasks.evaluate --night {night.day}` and {again} to judge this one"
        )
    metrics = night.output("evaluate", "metrics.json")
    if (now := digests.of_file(metrics)) != verdict.metrics:
        raise InputError(f"{metrics}: {now[:12]} changed after the gate judged it; run {again} again")
    return digest


def _move(models: Registry, version: Version, verdict: Verdict, freeze: bool) -> str:
    """Move the aliases; returns what happened to the version, in words."""
    challenger, champion = models.holder(CHALLENGER), models.holder(CHAMPION)
    if challenger is None or challenger.night <= verdict.night:
        models.point(CHALLENGER, version)
    if champion and champion.number == version.number:
        return "is the champion already"
    if why := _stays(version, champion, verdict, freeze):
        return f"is not made champion: {why}"
    models.tag(version, {"replaced": verdict.champion or ""})
    if champion:
        models.point(PREVIOUS, champion)
    models.point(CHAMPION, version)
    return f"is the champion now, after {champion.number if champion else 'none'}"


def _stays(version: Version, champion: Version | None, verdict: Verdict, freeze: bool) -> str | None:
    """Why the champion stays; None when it may be replaced."""
    now = champion.number if champion else None
    if not verdict.promote:
        return "the gate refused it"
    if freeze:
        return "promote.freeze is true"
    if version.tags.get("rolled_back") == "true":
        return f"it was rolled back; `python -m tasks.rollback --to {version.number}` brings it back"
    if now not in verdict.compared:
        met = " and ".join(f"champion {number}" if number else "no champion" for number in verdict.compared)
        return f"it was compared with {met}, but the champion is {now} now"
    return None


def _register(models: Registry, night: Night, digest: str) -> Version:
    """Log the bundle with its code and signature, and make it a version that carries its origin as tags."""
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    MLFLOW_UV_AUTO_DETECT.set(False)  # or the whole project's lock would become the model's requirements
    mlflow.set_tracking_uri(place.tracking_uri())
    mlflow.set_registry_uri(place.tracking_uri())
    model_json = read_json(night.output("train", BUNDLE_FILES[1]), "run `python -m tasks.train` again")
    run_id = _run(models, night)
    with warnings.catch_warnings(), mlflow.start_run(run_id=run_id):
        warnings.filterwarnings(
            "ignore", ".*An input example was not provided"
        )  # the signature is built by hand
        logged = mlflow.pyfunc.log_model(
            name=models.name,
            python_model=str(CODE[0]),
            code_paths=[str(CODE[1])],
            artifacts={name: str(path) for name, path in _files(night).items()},
            signature=signature(model_json),
            pip_requirements=[f"{name}=={installed(name).split('+')[0]}" for name in REQUIREMENTS],
        )
    fingerprints = {f"encoder.{m}": found for m, found in model_json["fingerprints"].items()}
    origin = {"night": str(night.day), "bundle": digest, "index": index_digest(night)}
    origin |= {"commit": step.code_commit(), **fingerprints}
    made = mlflow.register_model(logged.model_uri, models.name, tags=origin)
    return Version(str(made.version), origin)


def index_digest(night: Night) -> str:
    """One sha256 over the bundle and the videos it is served with: they belong together."""
    return digests.of_lines([f"{name} {digests.of_file(path)}" for name, path in _files(night).items()])


def _files(night: Night) -> dict[str, Path]:
    weights, description = BUNDLE_FILES
    return {
        "model": night.output("train", weights),
        "description": night.output("train", description),
        "catalogue": night.output("snapshot", "catalogue.parquet"),
        "features": night.output("snapshot", "features.safetensors"),
    }


def _run(models: Registry, night: Night) -> str:
    """The MLflow run that trained the bundle, or a new one where this server does not know it."""
    client, experiment = models.mlflow, tracking.experiment(models.mlflow)
    trained = read_receipt(night.receipts, "train")["facts"].get("mlflow_run")
    found = client.search_runs([experiment], f"attributes.run_id = '{trained}'", max_results=1)
    run = (
        found[0]
        if found
        else client.create_run(experiment, run_name=str(night.day), tags={"night": str(night.day)})
    )
    metrics = read_json(night.output("evaluate", "metrics.json"), "run `python -m tasks.evaluate` again")
    figures = metrics["models"]["challenger"]
    points = [
        Metric(f"test_{name.replace('@', '_at_')}", value, run.info.start_time, 0)
        for name, value in figures.items()
        if isinstance(value, float)
    ]
    client.log_batch(run.info.run_id, metrics=points)
    return run.info.run_id


def signature(description: Mapping[str, Any]) -> ModelSignature:
    """What `tasks/recommender.py` takes and gives, from the bundle's description."""
    lists = {
        "started_at_ms": DataType.long,
        "watch_ratios": DataType.double,
        "behaviours": DataType.long,
        "comment_sentiments": DataType.double,
    }
    lists |= {f"{name}s": DataType.string for name in description["contexts"]}
    single = dict.fromkeys(description["categories"], DataType.string)
    single |= dict.fromkeys(description["numbers"], DataType.double)
    inputs: list[ColSpec | TensorSpec] = [ColSpec(Array(DataType.string), "video_ids")]
    inputs += [ColSpec(Array(kind), name, required=False) for name, kind in lists.items()]
    inputs += [ColSpec(DataType.long, "utc_offset_minutes", required=False)]
    inputs += [ColSpec(kind, name, required=False) for name, kind in single.items()]
    numbers = ["scores", *(f"alpha_{m}" for m in description["modalities"])]
    outputs: list[ColSpec | TensorSpec] = [ColSpec(Array(DataType.string), "video_ids")]
    outputs += [ColSpec(Array(DataType.double), name) for name in numbers]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema([ParamSpec("k", DataType.long, 10)]))


if __name__ == "__main__":
    sys.exit(step.main("promote", run, __doc__))
