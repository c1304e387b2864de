"""The snapshot of a night as tensors. The steps align, train and evaluate read nothing else of the data.

A user is a row of users_before_test.parquet, a video a row of catalogue.parquet.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from core.errors import InputError
from core.paths import Night
from core.run_manifests import read_json
from core.tables import BEHAVIOURS, CONTEXT_COLUMNS, MODALITIES
from models.config import ModelConfig
from models.data.inputs import (
    build_item_table,
    build_sequences,
    build_user_profiles,
    to_bools,
    to_floats,
    to_ints,
)
from models.data.items import ItemTable
from models.data.sequences import SeenItems, Sequences
from models.data.targets import Targets
from models.data.users import UserProfiles
from snapshots.saved_models import read_tensors

RERUN_SNAPSHOT = "run `python -m tasks.snapshot` again"
# Share of all videos that alignment is never trained on. Videos without training interactions come on top.
HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Interactions:
    """All interactions of one day, in the order of the snapshot.

    Attributes:
        user_N: Row of the user.
        video_N: Row of the video.
        positive_N: Bool, whether the interaction is positive.
        watch_ratio_N: NaN if unknown.
        behaviour_NA: Bool, in the order of `core.tables.BEHAVIOURS`.
    """

    user_N: Tensor
    video_N: Tensor
    positive_N: Tensor
    watch_ratio_N: Tensor
    behaviour_NA: Tensor


class SnapshotReader:
    """Reads the snapshot of a night. Each file is read when it is first needed.

    Args:
        night: A night after the step snapshot.

    Raises:
        InputError: By every method, if a file is missing or damaged. The message names the step to run.
    """

    def __init__(self, night: Night) -> None:
        self.night = night

    @cached_property
    def manifest(self) -> dict:
        """The content of manifest.json."""
        return read_json(self.night.require_output("snapshot", "manifest.json"), RERUN_SNAPSHOT)

    @property
    def days_to_test(self) -> int:
        """Days from the end of training to the test day."""
        until, test = (date.fromisoformat(self.manifest[key]) for key in ("train_until", "test_day"))
        return (test - until).days

    @cached_property
    def videos(self) -> pa.Table:
        """The catalogue."""
        return self._table("catalogue")

    @cached_property
    def users_before_test(self) -> pa.Table:
        """Profiles of all users as of the start of the test day."""
        return self._table("users_before_test")

    @cached_property
    def users_train(self) -> pa.Table:
        """Profiles of the same users, in the same order, as of the end of training."""
        return self._table("users_train")

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """Modality -> vectors [V, F], and `<modality>.mask` -> whether the video has a vector, [V]."""
        return read_tensors(self.night.require_output("snapshot", "features.safetensors"))

    @property
    def modalities(self) -> list[str]:
        """The modalities that at least one video has."""
        return [m for m in MODALITIES if m in self.features]

    @property
    def widths(self) -> dict[str, int]:
        """Modality -> width of its features."""
        return {m: self.features[m].shape[1] for m in self.modalities}

    @property
    def encoder_fingerprints(self) -> dict[str, str]:
        """Modality -> fingerprint of its encoder."""
        return {m: self.manifest["modalities"][m]["fingerprint"] for m in self.modalities}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of each modality's encoder, and of the method of each item feature that has one."""
        return self.encoder_fingerprints | self.manifest["item_features"]

    @cached_property
    def num_train_interactions(self) -> Tensor:
        """Number of training interactions with each video, [V]. Only interactions with a view are counted."""
        return torch.from_numpy(self.videos["num_train_interactions"].to_numpy().astype(np.int64))

    @cached_property
    def hash_buckets(self) -> Tensor:
        """Hash bucket of each video, [V], float64. Stable across nights."""
        ids = self.videos["video_id"].to_pylist()
        hashes = [int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:6]) for video_id in ids]
        return torch.tensor(hashes, dtype=torch.float64) / 2**48

    @cached_property
    def alignment_rows(self) -> Tensor:
        """Rows of the videos that alignment is trained on: with training interactions, and not held out."""
        is_trained_V = (self.num_train_interactions > 0) & (self.hash_buckets >= HELD_OUT_SHARE)
        return is_trained_V.nonzero().squeeze(1)

    @property
    def held_out_rows(self) -> Tensor:
        """Rows of all other videos, ordered by hash bucket.

        Neither this night's alignment nor that of a champion was trained on them.
        """
        order = self.hash_buckets.argsort(stable=True)
        return order[~torch.isin(order, self.alignment_rows)]

    def item_table(
        self,
        modalities: Mapping[str, int],
        video_ids: Sequence[str],
        feature_statistics: Mapping[str, tuple[float, float]] | None = None,
    ) -> ItemTable:
        """Return the catalogue as tensors for one model.

        Args:
            modalities: Modality that the model reads -> width.
            video_ids: Videos of the model's ID rows, in order.
            feature_statistics: Item feature of the ranking heads -> (mean, standard deviation).
        """
        statistics = feature_statistics or {}
        return build_item_table(self.videos, self.features, modalities, video_ids, statistics)

    def user_profiles(self, config: ModelConfig, split: str) -> UserProfiles:
        """Return the profiles of all users in the vocabulary of a model.

        Args:
            config: Configuration of the model. A value outside its vocabulary is unknown.
            split: `train` for profiles as of the end of training, `before_test` as of the test day.
        """
        return build_user_profiles(self.users_train if split == "train" else self.users_before_test, config)

    def sequences(self, split: str, contexts: Mapping[str, Sequence[str]] | None = None) -> Sequences:
        """Return the sequences of all users. A user without a row has an empty one.

        Args:
            split: `train` for sequences up to the end of training, `before_test` up to the test day.
            contexts: Context that the model reads -> known values.
        """
        table = self._table(f"sequences_{split}")
        offsets, order = self._in_user_order(table["user_id"], table["video_rows"])
        flat = {
            column: _flatten(table[column], order) for column in table.schema.names if column != "user_id"
        }
        context_columns = {
            name: (flat[CONTEXT_COLUMNS[name]], values) for name, values in (contexts or {}).items()
        }
        return build_sequences(offsets, flat, len(BEHAVIOURS), context_columns)

    def context_vocabularies(self, contexts: Sequence[str]) -> dict[str, list[str]]:
        """Return context -> sorted values that occur in the training sequences."""
        table = self._table("sequences_train")
        columns = {name: pc.unique(pc.list_flatten(table[CONTEXT_COLUMNS[name]])) for name in contexts}
        return {name: sorted(values.drop_null().to_pylist()) for name, values in columns.items()}

    def seen_items(self, split: str) -> SeenItems:
        """Return all distinct videos that each user ever watched.

        Args:
            split: `train` for videos watched up to the end of training, `before_test` up to the test day.
        """
        table = self._table(f"seen_items_{split}")
        offsets, order = self._in_user_order(table["user_id"], table["video_rows"])
        return SeenItems(offsets, to_ints(_flatten(table["video_rows"], order)))

    def interactions(self, split: str) -> Interactions:
        """Return the interactions of one day.

        Args:
            split: `valid` for the validation day, `test` for the test day.
        """
        table = self._table(f"{split}_interactions")
        all_true_N = torch.ones(table.num_rows, dtype=torch.bool)
        # The file has no column `viewed`: all of its interactions count as viewed.
        behaviours = [
            to_bools(table[name]) if name in table.schema.names else all_true_N for name in BEHAVIOURS
        ]
        return Interactions(
            user_N=self._user_rows(table["user_id"]),
            video_N=to_ints(table["video_row"]),
            positive_N=to_bools(table["positive"]),
            watch_ratio_N=to_floats(table["watch_ratio"]),
            behaviour_NA=torch.stack(behaviours, 1),
        )

    def _table(self, name: str) -> pa.Table:
        """Return a Parquet file of the snapshot."""
        path = self.night.require_output("snapshot", f"{name}.parquet")
        try:
            return pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise InputError(f"{path} cannot be read as Parquet ({error}); {RERUN_SNAPSHOT}") from None

    def _user_rows(self, ids: pa.ChunkedArray) -> Tensor:
        """Return the row of each user."""
        rows = pc.index_in(ids, self.users_before_test["user_id"].combine_chunks())
        if rows.null_count:
            path = self.night.workspace / "snapshot" / "users_before_test.parquet"
            raise InputError(
                f"{path}: {rows.null_count} users of other snapshot files are missing; {RERUN_SNAPSHOT}"
            )
        return to_ints(rows)

    def _in_user_order(self, ids: pa.ChunkedArray, lists: pa.ChunkedArray) -> tuple[Tensor, pa.Array]:
        """Return the offsets of all users, and the order of the table's rows that fits them.

        Args:
            ids: User of each row of a table.
            lists: A list column of that table.
        """
        row_B = self._user_rows(ids)
        length_U = torch.zeros(self.users_before_test.num_rows, dtype=torch.long)
        length_U[row_B] = to_ints(pc.list_value_length(lists))
        return torch.nn.functional.pad(length_U.cumsum(0), (1, 0)), pa.array(row_B.argsort().numpy())


def unseen_positives(interactions: Interactions, seen: SeenItems, num_videos: int) -> Targets:
    """Return the targets of a day: distinct positives of each user that are new to the user.

    Args:
        interactions: Interactions of the day.
        seen: Videos that each user watched before the day.
        num_videos: Size of the catalogue.
    """
    key_P = (interactions.user_N * num_videos + interactions.video_N)[interactions.positive_N].unique()
    seen_key_E = (
        torch.arange(len(seen.offsets) - 1).repeat_interleave(seen.offsets.diff()) * num_videos + seen.row_E
    )
    new_P = key_P[~torch.isin(key_P, seen_key_E)]
    return Targets(new_P // num_videos, new_P % num_videos)


def _flatten(column: pa.ChunkedArray, order: pa.Array) -> pa.Array:
    """Return the values of a list column with its rows in this order."""
    return pc.list_flatten(column.take(order).combine_chunks())
