"""The `ModelConfig` of a night. Its vocabularies and statistics are of what one fold knows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.config.models import AnyModelConfig, InterestModelConfig
from core.errors import InputError
from core.tables import BEHAVIOURS, CONTEXT_COLUMNS, PLAYBACK_SIGNALS
from models.baselines import BASELINES, ContentBaseline
from models.config import ModelConfig
from models.data.inputs import attribute_values, caption_words
from models.data.request_contexts import COUNTED_CONTEXTS
from snapshots.reader import SnapshotReader

MAX_VOCABULARY, MIN_WORD_VIDEOS = 4096, 2  # words of captions that token fusion knows
# The fields of `ModelConfig` that not every model reads.
NOT_READ: Mapping[str, Any] = {
    "fusion": "none",
    "encoder": "none",
    "layers": 1,
    "heads": 1,
    "dropout": 0.0,
    "positions": False,
    "profile": False,
    "max_length": 1,
    "skip_watch_ratio": 0.0,
    "num_negatives": 0,
    "share_negatives": True,
    "trends": 1,
    "rerank": {},
    "modalities": {},
    "encoder_fingerprints": {},
    "user_categorical_features": {},
    "user_numerical_features": {},
    "item_features": {},
    "item_attributes": {},
    "contexts": {},
    "request_contexts": {},
    "sources": [],
}


def build_model_config(
    model: AnyModelConfig, snapshot: SnapshotReader, fold: str, width: int, knows_all_videos: bool = False
) -> ModelConfig:
    """Return the configuration that the bundle stores.

    Args:
        model: Section `train.model` of params.yaml.
        snapshot: Of the night.
        fold: The vocabularies and statistics are of what this fold knows.
        width: D, width of the shared space.
        knows_all_videos: Whether every video of the catalogue has an ID row. Otherwise those with an
            interaction have one.

    Raises:
        InputError: A list of `train.model` names something twice, parts of the model do not fit together, or
            a baseline reads content and there is none. Or see `item_feature_statistics`.
    """
    if isinstance(model, InterestModelConfig):
        _require_distinct_names(model)
        _require_compatible_parts(model, len(snapshot.modalities))
    videos = snapshot.catalogue(fold)
    known_videos = videos if knows_all_videos else videos.filter(pc.greater(videos["num_interactions"], 0))
    if isinstance(model, InterestModelConfig):
        content = _content_fields(model, snapshot, fold, known_videos)
    elif issubclass(BASELINES[model.name], ContentBaseline):
        content = _encoder_fields(model.name, snapshot)
    else:
        content = {}
    return ModelConfig(
        **{
            **NOT_READ,
            **stored_settings(model),
            "model": model.name,
            "positive_watch_ratio": snapshot.manifest["positive_watch_ratio"],
            "width": width,
            "behaviours": list(BEHAVIOURS),
            "video_ids": known_videos["video_id"].to_pylist(),
            **content,
        }
    )


def _require_distinct_names(model: InterestModelConfig) -> None:
    for key in ("sources", "contexts", "request_contexts", "item_features", "item_attributes"):
        names = getattr(model, key)
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(
                f"params.yaml: train.model.{key} names {', '.join(repeated)} twice; name it once"
            )


def stored_settings(model: AnyModelConfig) -> dict[str, Any]:
    """Return the keys of the section that `ModelConfig` has under the same name and with the same content."""
    counted = {"contexts", "request_contexts", "item_attributes", "item_features"}
    stored = {field.name for field in fields(ModelConfig)} - counted
    settings = {name: value for name, value in asdict(model).items() if name in stored}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def _encoder_fields(name: str, snapshot: SnapshotReader) -> dict[str, Any]:
    """Return the modalities that a content baseline reads, and their encoders.

    Raises:
        InputError: There are none.
    """
    if not snapshot.modalities:
        raise InputError(
            f"params.yaml: train.model.name is {name}, which reads content, but no video of the snapshot has"
            " any; run the step embed, or choose a baseline of IDs such as sasrec"
        )
    return {"modalities": snapshot.widths, "encoder_fingerprints": snapshot.encoder_fingerprints}


def _content_fields(
    model: InterestModelConfig, snapshot: SnapshotReader, fold: str, videos: pa.Table
) -> dict[str, Any]:
    """Return the fields that only the interest model reads: modalities, profile, item features, contexts."""
    has_sequence = pa.array((snapshot.sequences(fold).lengths > 0).numpy())
    profiles = snapshot.users(fold).filter(has_sequence).drop_columns("user_id")
    columns = profiles.schema.names if model.profile else []
    types = {field.name: field.type for field in profiles.schema}
    categorical_columns = [name for name in columns if pa.types.is_string(types[name])]
    numerical_columns = [name for name in columns if pa.types.is_floating(types[name])]
    return {
        "modalities": snapshot.widths,
        "encoder_fingerprints": snapshot.encoder_fingerprints,
        "user_categorical_features": {
            name: sorted(pc.unique(profiles[name].drop_null()).to_pylist()) for name in categorical_columns
        },
        "user_numerical_features": {name: _mean_and_std(profiles[name]) for name in numerical_columns},
        "item_features": item_feature_statistics(model, videos),
        "item_attributes": {
            name: sorted(pc.unique(attribute_values(videos, name).drop_null()).to_pylist())
            for name in model.item_attributes
        },
        "behaviours": [*BEHAVIOURS, *(PLAYBACK_SIGNALS if model.playback_signals else ())],
        "contexts": snapshot.context_vocabularies(fold, model.contexts),
        "words": frequent_words(videos) if model.fusion == "tokens" else [],
        "request_contexts": request_vocabularies(model.request_contexts, snapshot, fold),
    }


def request_vocabularies(
    names: Sequence[str], snapshot: SnapshotReader, fold: str
) -> dict[str, Sequence[str]]:
    """Return context of a request -> its known values, from what a fold knows.

    Args:
        names: `train.model.request_contexts`.
        snapshot: Of the night.
        fold: The fold.

    Raises:
        InputError: A name is neither a context nor a categorical profile column of the snapshot.
    """
    if not names:
        return {}
    users = snapshot.users(fold).drop_columns("user_id")
    profiles = {
        field.name: sorted(pc.unique(users[field.name].drop_null()).to_pylist())
        for field in users.schema
        if pa.types.is_string(field.type)
    }
    logged = snapshot.context_vocabularies(fold, tuple(CONTEXT_COLUMNS))
    values: dict[str, Sequence[str]] = {**profiles, **logged, **COUNTED_CONTEXTS}
    for name in names:
        if name not in values:
            raise InputError(
                f"params.yaml: train.model.request_contexts has {name!r}; choose from"
                f" {', '.join(sorted(values))}, or add a profile column to snapshot.profile_categories"
            )
    return {name: list(values[name]) for name in names}


def frequent_words(videos: pa.Table) -> list[str]:
    """Return the most frequent words of the captions, at most `MAX_VOCABULARY`, in alphabetical order.

    A word must be in `MIN_WORD_VIDEOS` captions. Words that are equally frequent are taken in that order.

    Args:
        videos: The videos with an ID row.
    """
    lists = caption_words(videos)
    pairs = pa.table({"video": pc.list_parent_indices(lists), "word": pc.list_flatten(lists)})
    distinct = pairs.group_by(["video", "word"]).aggregate([])
    counts = distinct.group_by("word").aggregate([("video", "count")])
    known = counts.filter(
        pc.and_(pc.greater_equal(counts["video_count"], MIN_WORD_VIDEOS), pc.not_equal(counts["word"], ""))
    )
    ordered = known.sort_by([("video_count", "descending"), ("word", "ascending")])
    return sorted(ordered["word"][:MAX_VOCABULARY].to_pylist())


def _require_compatible_parts(model: InterestModelConfig, num_modalities: int) -> None:
    """Raise InputError if a part of the model lacks what it reads, or would have no effect."""
    if model.reliability and num_modalities < 2:
        raise InputError(
            "params.yaml: train.model.reliability compares the modalities of a video, but the snapshot has"
            f" {num_modalities}; set it to false"
        )
    if model.normalisation == "adaptive" and not num_modalities:
        raise InputError(
            "params.yaml: train.model.normalisation is adaptive, but the snapshot has no modality; write"
            " fixed"
        )
    if model.token_budget >= model.max_length:
        raise InputError(
            f"params.yaml: train.model.token_budget is {model.token_budget}, not below train.model.max_length"
            f" ({model.max_length}), so it would have no effect; lower it or write 0"
        )
    if model.normalisation == "adaptive" and "category" not in model.item_attributes:
        raise InputError(
            "params.yaml: train.model.normalisation is adaptive, but train.model.item_attributes lacks"
            " category; add it there, or write fixed"
        )
    if model.reliability and model.fusion == "tokens":
        raise InputError(
            "params.yaml: train.model.reliability weighs pooled modalities, but train.model.fusion is tokens;"
            " choose another level, or set train.model.reliability to false"
        )


def item_feature_statistics(model: InterestModelConfig, videos: pa.Table) -> dict[str, tuple[float, float]]:
    """Return the statistics of the item features that the ranking heads read.

    Args:
        model: Section `train.model` of params.yaml.
        videos: The videos with an ID row, with their item features (`SnapshotReader.catalogue`).

    Returns:
        Item feature -> (mean, standard deviation).

    Raises:
        InputError: `train.model.item_features` names a column that is missing or not numeric. Or it lacks the
            comment sentiment, which `train.model.rerank.negative_comments` needs.
    """
    if model.rerank.negative_comments and "comment_sentiment" not in model.item_features:
        raise InputError(
            "params.yaml: train.model.rerank.negative_comments needs comment_sentiment, which is not in"
            " train.model.item_features; add it there, or set the weight to 0"
        )
    types = {field.name: field.type for field in videos.schema}
    numeric_columns = [
        name for name, dtype in types.items() if pa.types.is_floating(dtype) or pa.types.is_integer(dtype)
    ]
    for name in model.item_features:
        if name not in numeric_columns:
            raise InputError(
                f"params.yaml: train.model.item_features has {name!r}, which is not a numeric column of the"
                f" snapshot's catalogue; choose from {', '.join(numeric_columns)}"
            )
    return {name: _mean_and_std(videos[name]) for name in model.item_features}


def _mean_and_std(column: pa.ChunkedArray) -> tuple[float, float]:
    """Return mean and standard deviation. The latter is 1 if all values are equal or unknown."""
    mean, std = pc.mean(column).as_py(), pc.stddev(column).as_py()
    return (mean or 0.0, std if std and std > 1e-9 else 1.0)
