"""The served model: sequences of users in, recommended videos out. MLflow stores a copy of this file.

MLflow also stores the package `models`, the two files of the bundle, the catalogue with its item statistics,
and its features. This file must import nothing else of the project.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from safetensors.torch import load_file
from torch import Tensor

from models.bundle import load_bundle
from models.config import ModelConfig
from models.data.inputs import build_item_table, build_sequences, build_user_profiles
from models.data.labels import has_behaviour, is_positive
from models.data.request_contexts import COUNTED_CONTEXTS, request_codes
from models.data.sequences import SeenItems, Sequences
from models.data.users import UserProfiles
from models.retrieval.full_ranking import top_k

DEFAULT_K = 10
COUNTED_TYPES = dict.fromkeys(COUNTED_CONTEXTS, pa.int64())
VIEWED = 1  # bits of an interaction without given behaviours: viewed only


class Recommender(PythonModel):
    """Recommends videos to many users at a time. The bundle is loaded once."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model and the catalogue, and compute the embeddings of all videos."""
        self.model = load_bundle(Path(context.artifacts["weights"]).parent)
        videos, config = pq.read_table(context.artifacts["catalogue"]), self.model.config
        self.video_ids = videos["video_id"].combine_chunks()
        self.item_table = build_item_table(
            videos,
            load_file(context.artifacts["features"]),
            config.modalities,
            config.video_ids,
            config.item_features,
            config.item_attributes,
            config.words,
        )
        with torch.no_grad():
            self.items: Any = self.model.encode_items(self.item_table)

    @torch.no_grad()
    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return the best available videos that each user has not seen, with score and modality weights.

        Args:
            context: Not used.
            model_input: One row for each user. `video_ids` lists the watched videos, oldest first. Videos
                outside the catalogue are left out. Optional lists of the same length: `started_at_ms`
                (since 1970), `watch_ratios`, `behaviours` (bits, in the order of the bundle's `behaviours`),
                `comment_sentiments` (in [-1, 1], NaN: none), and the model's contexts (`devices`,
                `networks`). Optional values: `utc_offset_minutes`, the columns of the user profile, and
                `request_<name>` for each of the model's `request_contexts`. The hour and the depth are whole
                numbers, the others text. A context that is not given is unknown.
            params: `k`, the number of videos. Default: `DEFAULT_K`. `day`, the day of the recommendations as
                YYYY-MM-DD. Default: today in UTC.

        Returns:
            One row for each user with lists, best first: `video_ids`, `scores` and `alpha_<modality>`. They
            are shorter than k if the user has seen almost all available videos.

        Raises:
            ValueError: `day` is not a date, or a list has another length than the `video_ids` of its user.
        """
        params = params or {}
        k, day = int(params.get("k", DEFAULT_K)), _day_number(params.get("day"))
        config, users_B = self.model.config, torch.arange(len(model_input))
        sequences = self._sequences(model_input)
        batch = sequences.padded_batch(users_B, config.max_length)
        user_state = self.model.encode_user(batch, _user_profiles(model_input, config), self.items)
        score_BV, alpha_MBV = self.model.score_items(user_state, self.items)
        score_BV = self.model.final_scores(score_BV, self.items, batch, self.item_table, day)
        seen_BV = SeenItems(sequences.offsets, sequences.video_E).mask(users_B, score_BV.shape[1])
        hidden_BV = seen_BV | ~self.item_table.available_on(day)
        score_BV = score_BV.masked_fill(hidden_BV, -torch.inf)
        score_BV = self.model.rerank(user_state, self.items, score_BV, _requests(model_input, config))
        best_BK = top_k(score_BV, k)
        score_BK = score_BV.gather(1, best_BK)
        num_shown_B = (score_BK > -torch.inf).sum(1).tolist()
        video_ids = self.video_ids.to_numpy(zero_copy_only=False)
        columns = {"video_ids": video_ids[best_BK.numpy()], "scores": score_BK.numpy()}
        for alpha_BV, name in zip(alpha_MBV, config.modalities, strict=True):
            columns[f"alpha_{name}"] = alpha_BV.gather(1, best_BK).numpy()
        lists = {
            name: [row[:n].tolist() for row, n in zip(values, num_shown_B, strict=True)]
            for name, values in columns.items()
        }
        return pd.DataFrame(lists)

    def _sequences(self, rows: pd.DataFrame) -> Sequences:
        """Return the sequences of the users, with videos of the catalogue only."""
        config = self.model.config
        lengths = [len(_as_list(cell, 0, None)) for cell in rows["video_ids"]]
        contexts = {name: _flat(rows, f"{name}s", lengths, None, pa.string()) for name in config.contexts}
        offset_minutes = [
            int(_value_or(value, 0)) for value in rows.get("utc_offset_minutes", [0] * len(rows))
        ]
        events = pa.table(
            {
                "user": pa.array(np.repeat(np.arange(len(rows)), lengths), pa.int64()),
                "video_rows": pc.index_in(
                    _flat(rows, "video_ids", lengths, None, pa.string()), self.video_ids
                ),
                "started_at": _flat(rows, "started_at_ms", lengths, 0, pa.int64()).cast(pa.timestamp("ms")),
                "utc_offset_minutes": pa.array(np.repeat(offset_minutes, lengths), pa.int64()),
                "watch_ratios": _flat(rows, "watch_ratios", lengths, None, pa.float64()),
                "behaviours": _flat(rows, "behaviours", lengths, VIEWED, pa.int64()),
                "comment_sentiments": _flat(rows, "comment_sentiments", lengths, None, pa.float64()),
                **contexts,
            }
        )
        events = events.filter(pc.is_valid(events["video_rows"])).combine_chunks()
        flags = {name: has_behaviour(events["behaviours"], i) for i, name in enumerate(config.behaviours)}
        positive = is_positive(flags, events["watch_ratios"], config.positive_watch_ratio)
        count_B = np.bincount(events["user"].to_numpy(), minlength=len(rows))
        return build_sequences(
            torch.from_numpy(np.concatenate([[0], count_B.cumsum()])).long(),
            {name: events[name] for name in events.schema.names} | {"positive": positive},
            len(config.behaviours),
            {name: (events[name], values) for name, values in config.contexts.items()},
        )


def _day_number(day: str | None) -> int:
    """Return a day, counted from 1970. None or empty: today in UTC."""
    value = date.fromisoformat(day) if day else datetime.now(UTC).date()
    return (value - date(1970, 1, 1)).days


def _user_profiles(rows: pd.DataFrame, config: ModelConfig) -> UserProfiles:
    """Return the profiles. Missing columns, and values that are no strings or numbers, are unknown."""
    nulls = [None] * len(rows)
    categories = {
        name: pa.array([v if isinstance(v, str) else None for v in rows.get(name, nulls)], pa.string())
        for name in config.user_categorical_features
    }
    numbers = {
        name: pa.array([_value_or(v, None) for v in rows.get(name, nulls)], pa.float64())
        for name in config.user_numerical_features
    }
    # Without this column, a table of no profile columns would have no rows.
    row_numbers = {"row": pa.array(range(len(rows)), pa.int64())}
    return build_user_profiles(pa.table({**row_numbers, **categories, **numbers}), config)


def _requests(rows: pd.DataFrame, config: ModelConfig) -> Tensor:
    """Return the code of each context of the requests, [B, J]. A context that is not given is unknown."""
    columns = {
        name: pa.array(list(rows[f"request_{name}"]), COUNTED_TYPES.get(name, pa.string()), from_pandas=True)
        for name in config.request_contexts
        if f"request_{name}" in rows
    }
    return request_codes(config.request_contexts, columns, len(rows))


def _flat(
    rows: pd.DataFrame, name: str, lengths: Sequence[int], fill: Any, data_type: pa.DataType
) -> pa.Array:
    """Return one value for each interaction of all users, as one flat list. NaN becomes null.

    Args:
        rows: One row for each user.
        name: Column of lists.
        lengths: Number of interactions of each user.
        fill: Value of the interactions of a user without such a list.
        data_type: Of the result.

    Raises:
        ValueError: A list has another length.
    """
    cells = [
        _as_list(cell, n, fill) for cell, n in zip(rows.get(name, [None] * len(rows)), lengths, strict=True)
    ]
    for row, (cell, n) in enumerate(zip(cells, lengths, strict=True)):
        if len(cell) != n:
            raise ValueError(f"row {row}: {name} has {len(cell)} values, but video_ids has {n}")
    return pa.array([value for cell in cells for value in cell], data_type, from_pandas=True)


def _as_list(value: Any, length: int, fill: Any) -> list:
    """Return a cell as a list. If it is empty, `fill` is repeated."""
    return [fill] * length if value is None or np.ndim(value) == 0 else list(value)


def _value_or(value: Any, fallback: Any) -> Any:
    """Return the value, or the fallback if it is missing or NaN."""
    return fallback if value is None or pd.isna(value) else value


set_model(Recommender())  # MLflow needs this call to find the model in this file
