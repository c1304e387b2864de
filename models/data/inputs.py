"""Model inputs from Arrow columns, for training, evaluation and the served model alike."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from models.config import ModelConfig
from models.data.items import ALWAYS_AVAILABLE, ItemTable
from models.data.segments import build_segment_table
from models.data.sequences import HOURS_PER_DAY, Sequences
from models.data.users import UserProfiles

ATTRIBUTE_COLUMNS = {"creator": "author_id", "category": "category", "duration": "duration_ms"}
MAX_WORDS = 16  # words of a caption that a model reads
Column: TypeAlias = "pa.Array | pa.ChunkedArray"


def build_item_table(
    videos: pa.Table,
    features: Mapping[str, Tensor],
    modalities: Mapping[str, int],
    video_ids: Sequence[str],
    feature_statistics: Mapping[str, tuple[float, float]],
    attributes: Mapping[str, Sequence[str]] | None = None,
    words: Sequence[str] = (),
) -> ItemTable:
    """Return the catalogue as tensors for one model.

    Args:
        videos: Column `video_id`, the item features, and these columns if known: `upload_day`, `author_id`,
            `category`, `duration_ms`, `caption`, `available_until` (date, null: no last day).
        features: Modality -> vectors [V, F]. `<modality>.mask` -> whether the video has a vector, [V]. With
            segments also the tensors of `build_segment_table`.
        modalities: Modality that the model reads -> width. All videos lack a modality that is not in
            `features`.
        video_ids: Videos of the model's ID rows, in order.
        feature_statistics: Item feature -> (mean, standard deviation).
        attributes: Attribute of the item embedding -> its known values (`attribute_values`).
        words: Words that the model knows. Empty: it reads no captions.
    """
    V = videos.num_rows
    no_mask = torch.zeros(V, dtype=torch.bool)
    masks = [features.get(f"{modality}.mask", no_mask).bool() for modality in modalities]
    id_rows = pc.index_in(videos["video_id"], pa.array(video_ids, pa.string()))
    id_row_V = to_ints(pc.fill_null(id_rows, -1))
    return ItemTable(
        modality_features={m: features.get(m, torch.zeros(V, width)) for m, width in modalities.items()},
        has_VM=torch.stack(masks, 1) if masks else torch.zeros(V, 0, dtype=torch.bool),
        id_row_V=id_row_V,
        upload_day_V=_upload_days(videos),
        item_features_VQ=standardise(videos, feature_statistics),
        author_V=_codes_or_none(videos, "author_id"),
        category_V=_codes_or_none(videos, "category"),
        duration_V=to_floats(videos["duration_ms"]) / 1000 if "duration_ms" in videos.schema.names else None,
        attribute_VA=_attribute_codes(videos, attributes) if attributes else None,
        available_until_V=_last_days(videos),
        word_VX=_word_codes(videos, words) if words else None,
        segments=build_segment_table(
            to_ints(_column_or_nulls(videos, "duration_ms").cast(pa.int64())), features, id_row_V + 1
        ),
    )


def attribute_values(videos: pa.Table, attribute: str) -> pa.ChunkedArray:
    """Return the value of an attribute of each video as text. Null is unknown.

    Args:
        videos: May lack the column of the attribute.
        attribute: `creator`, `category`, or `duration`: log2 of the seconds, rounded down.
    """
    column = _column_or_nulls(videos, ATTRIBUTE_COLUMNS[attribute])
    if attribute == "duration":
        seconds = pc.max_element_wise(pc.divide(column.cast(pa.float64()), 1000), 1.0, skip_nulls=False)
        column = pc.floor(pc.log2(seconds)).cast(pa.int32())
    return column.cast(pa.string())


def caption_words(videos: pa.Table) -> pa.ListArray:
    """Return the words of each caption in lower case, in order. They may be repeated or empty.

    Args:
        videos: May lack the column `caption`.
    """
    captions = pc.fill_null(_column_or_nulls(videos, "caption").cast(pa.string()), "")
    lists = pc.split_pattern_regex(pc.utf8_lower(captions), r"[^\p{L}\p{N}]+")
    return lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists


def _word_codes(videos: pa.Table, words: Sequence[str]) -> Tensor:
    """Return the codes of the first `MAX_WORDS` known words of each caption, [V, MAX_WORDS]. 0 is no word."""
    lists = caption_words(videos)
    code_N = vocabulary_codes(pc.list_flatten(lists), words)
    video_N = to_ints(pc.list_parent_indices(lists))
    video_N, code_N = video_N[code_N > 0], code_N[code_N > 0]
    first_V = torch.bincount(video_N, minlength=len(lists)).cumsum(0).roll(1)
    first_V[:1] = 0
    position_N = torch.arange(len(video_N)) - first_V[video_N]
    kept_N = position_N < MAX_WORDS
    word_VX = torch.zeros(len(lists), MAX_WORDS, dtype=torch.long)
    word_VX[video_N[kept_N], position_N[kept_N]] = code_N[kept_N]
    return word_VX


def _attribute_codes(videos: pa.Table, attributes: Mapping[str, Sequence[str]]) -> Tensor:
    """Return the code of each attribute [V, A]. 0 is unknown."""
    codes = [vocabulary_codes(attribute_values(videos, name), values) for name, values in attributes.items()]
    return torch.stack(codes, 1)


def build_user_profiles(users: pa.Table, config: ModelConfig) -> UserProfiles:
    """Return the profiles of these users in the vocabulary of a model.

    A missing column, a null and a value outside the vocabulary are unknown.
    """
    codes = [
        vocabulary_codes(_column_or_nulls(users, name), values)
        for name, values in config.user_categorical_features.items()
    ]
    category_BJ = torch.stack(codes, 1) if codes else torch.zeros(users.num_rows, 0, dtype=torch.long)
    return UserProfiles(category_BJ, standardise(users, config.user_numerical_features))


def build_sequences(
    offsets: Tensor,
    events: Mapping[str, Column],
    num_behaviours: int,
    contexts: Mapping[str, tuple[Column, Sequence[str]]],
) -> Sequences:
    """Return the sequences of all users.

    Args:
        offsets: Start of each user's interactions, and the end of the last, [U + 1].
        events: Column -> values of all interactions, user by user. `video_rows`, `started_at` (timestamp),
            `utc_offset_minutes`, `watch_ratios` (null: unknown), `behaviours` (bits), `comment_sentiments`
            (null: none), `positive`.
        num_behaviours: Number of bits in `behaviours`.
        contexts: Context -> its column and its known values.
    """
    timestamp_E = to_timestamps(events["started_at"])
    codes = [vocabulary_codes(column, values) for column, values in contexts.values()]
    return Sequences(
        offsets=offsets,
        video_E=to_ints(events["video_rows"]),
        timestamp_E=timestamp_E,
        hour_E=local_hours(timestamp_E, events["utc_offset_minutes"]),
        watch_ratio_E=to_floats(events["watch_ratios"]),
        behaviour_EA=behaviour_flags(events["behaviours"], num_behaviours),
        sentiment_E=to_floats(events["comment_sentiments"]),
        positive_E=to_bools(events["positive"]),
        context_EJ=torch.stack(codes, 1) if codes else None,
    )


def behaviour_flags(bits: Column, num_behaviours: int) -> Tensor:
    """Return bool [E, A] from a column of bit sets. Bit i is behaviour i."""
    return (to_ints(bits)[:, None] >> torch.arange(num_behaviours)) & 1 > 0


def standardise(table: pa.Table, statistics: Mapping[str, tuple[float, float]]) -> Tensor:
    """Return (column − mean) / standard deviation of each column, [rows, Q]. NaN is unknown.

    Args:
        table: May lack some columns.
        statistics: Column -> (mean, standard deviation).
    """
    columns = [
        (to_floats(_column_or_nulls(table, name)) - mean) / std for name, (mean, std) in statistics.items()
    ]
    return torch.stack(columns, 1) if columns else torch.zeros(table.num_rows, 0)


def vocabulary_codes(column: Column, values: Sequence[str]) -> Tensor:
    """Return 1 + the position of each value in the vocabulary. 0 is unknown."""
    positions = pc.index_in(column.cast(pa.string()), pa.array(values, pa.string()))
    return to_ints(pc.add(pc.fill_null(positions, -1), 1))


def to_timestamps(column: Column) -> Tensor:
    """Return seconds since 1970."""
    return torch.from_numpy(column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy() // 1_000_000)


def local_hours(timestamp_N: Tensor, utc_offset_minutes: Column) -> Tensor:
    """Return the hour of the day on the clock of the user. An unknown offset counts as UTC."""
    return (timestamp_N + 60 * to_ints(utc_offset_minutes)) // 3600 % HOURS_PER_DAY


def to_ints(column: Column) -> Tensor:
    """Return int64 with 0 for null."""
    return torch.from_numpy(pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(np.int64))


def to_floats(column: Column) -> Tensor:
    """Return float32 with NaN for null."""
    return torch.from_numpy(column.cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32))


def to_bools(column: Column) -> Tensor:
    """Return bool with False for null."""
    return torch.from_numpy(pc.fill_null(column, False).to_numpy(zero_copy_only=False).astype(bool))


def _upload_days(videos: pa.Table) -> Tensor | None:
    """Return days since 1970. 0 if unknown, so that the video counts as always present."""
    return to_ints(videos["upload_day"].cast(pa.int32())) if "upload_day" in videos.schema.names else None


def _last_days(videos: pa.Table) -> Tensor | None:
    """Return the last day of each video in days since 1970, or None without the column."""
    if "available_until" not in videos.schema.names:
        return None
    return to_ints(pc.fill_null(videos["available_until"].cast(pa.int32()), ALWAYS_AVAILABLE))


def _codes_or_none(table: pa.Table, name: str) -> Tensor | None:
    """Return 1 + a number of each distinct value, in the order of the rows. 0 is null. None: no column."""
    if name not in table.schema.names:
        return None
    column = table[name].cast(pa.string())
    return vocabulary_codes(column, pc.unique(column).drop_null())


def _column_or_nulls(table: pa.Table, name: str) -> Column:
    return table[name] if name in table.schema.names else pa.chunked_array([pa.nulls(table.num_rows)])
