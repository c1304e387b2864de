"""The snapshot of a night as tensors. The steps align, train and evaluate read nothing else of the data.

A user is a row of users_test.parquet, a video a row of catalogue.parquet. A fold is a day whose positives are
predicted (core/time_split.py). What a fold knows is everything before that day.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from core.errors import InputError
from core.paths import Night
from core.records import LANDED_FINGERPRINT
from core.run_manifests import read_json
from core.tables import BEHAVIOURS, CONTEXT_COLUMNS, MODALITIES
from core.time_split import TEST_FOLD, TimeSplit
from models.config import ModelConfig
from models.data.folds import Fold
from models.data.inputs import (
    Column,
    build_item_table,
    build_sequences,
    build_user_profiles,
    local_hours,
    to_bools,
    to_floats,
    to_ints,
    to_timestamps,
)
from models.data.items import ItemTable
from models.data.request_contexts import first_requests, request_codes, session_depths
from models.data.sequences import SeenItems, Sequences
from models.data.targets import Targets
from models.data.users import UserData, UserProfiles
from snapshots.compared_features import COMPARED_FEATURES, compared_tensor
from snapshots.saved_models import read_tensors

RERUN_SNAPSHOT = "run `python -m tasks.snapshot` again"
DELIVER_AGAIN = "deliver them again in landing/features and ingest them (docs/data-contract.md)"
EMBED_AGAIN = "delete them from the table features of the lake and run `python -m tasks.embed`"
CHECKED_VECTORS = 1 << 14  # vectors at a time, some 50 MiB
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

    def select(self, kept_N: Tensor) -> "Interactions":
        """Return the interactions where `kept_N` (bool) is True."""
        return Interactions(**{name: x_NX[kept_N] for name, x_NX in vars(self).items()})


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
        return read_json(
            self.night.require_output("snapshot", "manifest.json"), RERUN_SNAPSHOT, ("folds", "modalities")
        )

    @cached_property
    def split(self) -> TimeSplit:
        """The validation days and the test day."""
        return TimeSplit.from_json(self.manifest["folds"])

    @property
    def validation_folds(self) -> list[str]:
        """The validation folds, oldest first. What the first one knows is the training data."""
        return [fold for fold in self.split.folds if fold != TEST_FOLD]

    def day(self, fold: str) -> int:
        """Return the day of a fold, counted from 1970."""
        return (self.split.folds[fold] - date(1970, 1, 1)).days

    @cached_property
    def videos(self) -> pa.Table:
        """The catalogue."""
        return self._table("catalogue")

    @cached_property
    def user_ids(self) -> pa.ChunkedArray:
        """The id of each user."""
        return self.users(TEST_FOLD)["user_id"]

    def users(self, fold: str) -> pa.Table:
        """Return the profiles of all users as a fold knows them, always in the same order."""
        return self._table(f"users_{fold}")

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """Modality -> vectors [V, F], and `<modality>.mask` -> whether the video has a vector, [V].

        Raises:
            InputError: A video has a vector with numbers that are not finite.
        """
        path = self.night.require_output("snapshot", "features.safetensors")
        features = read_tensors(path)
        for modality in (name for name in MODALITIES if name in features):
            self._require_finite(path, modality, features[modality], features[f"{modality}.mask"].bool())
        return features

    def _require_finite(self, path: Path, modality: str, x_VF: Tensor, has_V: Tensor) -> None:
        finite_V = torch.cat([x_vF.isfinite().all(1) for x_vF in x_VF.split(CHECKED_VECTORS)])
        rows = (has_V & ~finite_V).nonzero().flatten().tolist()
        if rows:
            is_landed = self.encoder_fingerprint(modality) == LANDED_FINGERPRINT
            raise InputError(
                f"{path}: {modality}: the vectors of {len(rows)} of {int(has_V.sum())} videos have numbers"
                f" that are not finite, such as that of video {self.videos['video_id'][rows[0]]};"
                f" {DELIVER_AGAIN if is_landed else EMBED_AGAIN}, then {RERUN_SNAPSHOT}"
            )

    @cached_property
    def _compared_features(self) -> dict[str, Tensor]:
        """The vectors of other encoders than this night's. Empty if no compared model reads any."""
        path = self.night.workspace / "snapshot" / COMPARED_FEATURES
        return read_tensors(path) if path.exists() else {}

    def features_of(self, config: ModelConfig) -> dict[str, Tensor]:
        """Return `features`. A modality has the vectors of the encoder that the model was trained on.

        If that is not the night's encoder and there are no such vectors, all videos lack the modality. The
        segments of videos lack it in any case.
        """
        features = dict(self.features)
        others = config.encoder_fingerprints.items() - self.encoder_fingerprints.items()
        for modality, fingerprint in others:
            for name in (modality, f"{modality}.mask"):
                features.pop(name, None)
            name = compared_tensor(modality, fingerprint)
            if name in self._compared_features:
                features[modality] = self._compared_features[name]
                features[f"{modality}.mask"] = self._compared_features[f"{name}.mask"]
            if f"{modality}.segments" in features:
                features[f"{modality}.segments"] = torch.zeros(1, config.modalities[modality])
                features[f"{modality}.segment_rows"] = torch.zeros(0, 2, dtype=torch.long)
        return features

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
        return {m: self.encoder_fingerprint(m) for m in self.modalities}

    def encoder_fingerprint(self, modality: str) -> str:
        """Return the fingerprint of the encoder of a modality."""
        return self.manifest["modalities"][modality]["fingerprint"]

    def item_statistics(self, fold: str) -> pa.Table:
        """Return what the interactions that a fold knows tell about each video."""
        return self._table(f"item_statistics_{fold}")

    def catalogue(self, fold: str) -> pa.Table:
        """Return the catalogue with the item statistics that a fold knows as further columns."""
        videos, statistics = self.videos, self.item_statistics(fold)
        for column in statistics.column_names:
            videos = videos.append_column(column, statistics[column])
        return videos

    def num_interactions(self, fold: str) -> Tensor:
        """Return the number of interactions with each video that a fold knows, [V]. Each has a view."""
        return torch.from_numpy(self.item_statistics(fold)["num_interactions"].to_numpy().astype(np.int64))

    @cached_property
    def hash_buckets(self) -> Tensor:
        """Hash bucket of each video, [V], float64. Stable across nights."""
        ids = self.videos["video_id"].to_pylist()
        hashes = [int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:6]) for video_id in ids]
        return torch.tensor(hashes, dtype=torch.float64) / 2**48

    @cached_property
    def alignment_rows(self) -> Tensor:
        """Rows of the videos that alignment is trained on: with training interactions, and not held out."""
        has_interactions_V = self.num_interactions(self.validation_folds[0]) > 0
        is_trained_V = has_interactions_V & (self.hash_buckets >= HELD_OUT_SHARE)
        return is_trained_V.nonzero().squeeze(1)

    @property
    def held_out_rows(self) -> Tensor:
        """Rows of all other videos, ordered by hash bucket.

        Neither this night's alignment nor that of a champion was trained on them.
        """
        order = self.hash_buckets.argsort(stable=True)
        return order[~torch.isin(order, self.alignment_rows)]

    def fold(self, name: str, config: ModelConfig) -> Fold:
        """Return what a fold knows, and its targets, as inputs of a model.

        Args:
            name: Name of the fold.
            config: Configuration of the model.
        """
        item_table = build_item_table(
            self.catalogue(name),
            self.features_of(config),
            config.modalities,
            config.video_ids,
            config.item_features,
            config.item_attributes,
            config.words,
        )
        profiles = build_user_profiles(self.users(name), config)
        sequences = self.sequences(name, config.contexts, len(config.behaviours))
        next_request_UJ = None
        if config.request_contexts:
            sequences = replace(sequences, request_EJ=self._sequence_requests(name, sequences, config))
            user_N = self.interactions(name).user_N
            next_request_UJ = first_requests(user_N, self.request_contexts(name, config), len(self.user_ids))
        users = UserData(sequences, profiles, self.seen_items(name), next_request_UJ)
        return self._with_targets(name, item_table, users)

    def content_fold(self, name: str) -> Fold:
        """Return what a fold knows, and its targets, without profiles and item features.

        Every modality is in the item table. The videos with an ID row are those with an interaction.
        """
        is_known = pa.array((self.num_interactions(name) > 0).numpy())
        video_ids = self.videos["video_id"].filter(is_known).to_pylist()
        item_table = build_item_table(self.videos, self.features, self.widths, video_ids, {})
        no_profile = torch.zeros(len(self.user_ids), 0)
        profiles = UserProfiles(no_profile.long(), no_profile)
        return self._with_targets(
            name, item_table, UserData(self.sequences(name), profiles, self.seen_items(name))
        )

    def _with_targets(self, name: str, item_table: ItemTable, users: UserData) -> Fold:
        day = self.day(name)
        targets = unseen_positives(self.interactions(name), users.seen, item_table.available_on(day))
        return Fold(day, item_table, users, targets)

    def item_table(self, modalities: Mapping[str, int], video_ids: Sequence[str]) -> ItemTable:
        """Return the content of the catalogue as tensors, without item features.

        Args:
            modalities: Modality that the model reads -> width.
            video_ids: Videos of the model's ID rows, in order.
        """
        return build_item_table(self.videos, self.features, modalities, video_ids, {})

    def sequences(
        self,
        fold: str,
        contexts: Mapping[str, Sequence[str]] | None = None,
        num_behaviours: int = len(BEHAVIOURS),
    ) -> Sequences:
        """Return the sequences of all users that a fold knows. A user without a row has an empty one.

        Args:
            fold: Name of the fold.
            contexts: Context that the model reads -> known values.
            num_behaviours: A, the bits that the model reads of the behaviours.
        """
        table = self._table(f"sequences_{fold}")
        offsets, order = self._in_user_order(table["user_id"], table["video_rows"])
        flat = {
            column: _flatten(table[column], order) for column in table.schema.names if column != "user_id"
        }
        context_columns = {
            name: (flat[CONTEXT_COLUMNS[name]], values) for name, values in (contexts or {}).items()
        }
        return build_sequences(offsets, flat, num_behaviours, context_columns)

    def context_vocabularies(self, fold: str, contexts: Sequence[str]) -> dict[str, list[str]]:
        """Return context -> sorted values that occur in the sequences that a fold knows."""
        table = self._table(f"sequences_{fold}")
        columns = {name: pc.unique(pc.list_flatten(table[CONTEXT_COLUMNS[name]])) for name in contexts}
        return {name: sorted(values.drop_null().to_pylist()) for name, values in columns.items()}

    def seen_items(self, fold: str) -> SeenItems:
        """Return all distinct videos that each user had watched before the day of a fold."""
        table = self._table("seen_items")
        offsets, order = self._in_user_order(table["user_id"], table["video_rows"])
        rows, first_days = (
            to_ints(_flatten(table[name], order).cast(pa.int32())) for name in ("video_rows", "first_days")
        )
        user_E = torch.arange(len(offsets) - 1).repeat_interleave(offsets.diff())
        known_E = first_days < self.day(fold)
        count_B = torch.bincount(user_E[known_E], minlength=len(offsets) - 1)
        return SeenItems(torch.nn.functional.pad(count_B.cumsum(0), (1, 0)), rows[known_E])

    def interactions(self, fold: str) -> Interactions:
        """Return the interactions of the day of a fold."""
        table = self._table(f"interactions_{fold}")
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

    def request_contexts(self, fold: str, config: ModelConfig) -> Tensor:
        """Return the code of each context of the interactions of the day of a fold, [N, J].

        The platform knows the context of a request when it serves. Depths count from the start of the day.
        """
        table = self._table(f"interactions_{fold}")
        if not config.request_contexts:
            return torch.zeros(table.num_rows, 0, dtype=torch.long)
        timestamp_N = to_timestamps(table["started_at"])
        hour_N = local_hours(timestamp_N, table["utc_offset_minutes"])
        columns = {name: table[name] for name in CONTEXT_COLUMNS}
        return self._request_codes(
            fold, config, self._user_rows(table["user_id"]), timestamp_N, hour_N, columns
        )

    def _sequence_requests(self, fold: str, sequences: Sequences, config: ModelConfig) -> Tensor:
        """Return the code of each context of the interactions of the sequences, [E, J]."""
        table = self._table(f"sequences_{fold}")
        _, order = self._in_user_order(table["user_id"], table["video_rows"])
        columns = {name: _flatten(table[column], order) for name, column in CONTEXT_COLUMNS.items()}
        user_E = torch.arange(len(sequences.lengths)).repeat_interleave(sequences.lengths)
        return self._request_codes(fold, config, user_E, sequences.timestamp_E, sequences.hour_E, columns)

    def _request_codes(
        self,
        fold: str,
        config: ModelConfig,
        user_N: Tensor,
        timestamp_N: Tensor,
        hour_N: Tensor,
        columns: Mapping[str, Column],
    ) -> Tensor:
        users = self.users(fold)
        profiles = {
            name: users[name].take(pa.array(user_N.numpy()))
            for name in config.request_contexts
            if name in users.schema.names
        }
        counted = {
            "hour": pa.array(hour_N.numpy()),
            "depth": pa.array(session_depths(user_N, timestamp_N).numpy()),
        }
        return request_codes(config.request_contexts, {**profiles, **columns, **counted}, len(user_N))

    def _table(self, name: str) -> pa.Table:
        """Return a Parquet file of the snapshot."""
        path = self.night.require_output("snapshot", f"{name}.parquet")
        try:
            return pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise InputError(f"{path} cannot be read as Parquet ({error}); {RERUN_SNAPSHOT}") from None

    def _user_rows(self, ids: pa.ChunkedArray) -> Tensor:
        """Return the row of each user."""
        rows = pc.index_in(ids, self.user_ids.combine_chunks())
        if rows.null_count:
            path = self.night.workspace / "snapshot" / "users_test.parquet"
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
        length_U = torch.zeros(len(self.user_ids), dtype=torch.long)
        length_U[row_B] = to_ints(pc.list_value_length(lists))
        return torch.nn.functional.pad(length_U.cumsum(0), (1, 0)), pa.array(row_B.argsort().numpy())


def unseen_positives(interactions: Interactions, seen: SeenItems, available_V: Tensor) -> Targets:
    """Return the targets of a day: distinct positives of each user that are new to the user.

    Args:
        interactions: Interactions of the day.
        seen: Videos that each user watched before the day.
        available_V: Bool, the videos that can be recommended on the day.
    """
    num_videos = len(available_V)
    key_P = (interactions.user_N * num_videos + interactions.video_N)[interactions.positive_N].unique()
    users_B = (key_P // num_videos).unique()
    position_E, row_E = seen.user_item_pairs(users_B)
    seen_key_E = users_B[position_E] * num_videos + row_E
    new_P = key_P[~torch.isin(key_P, seen_key_E) & available_V[key_P % num_videos]]
    return Targets(new_P // num_videos, new_P % num_videos)


def _flatten(column: pa.ChunkedArray, order: pa.Array) -> pa.Array:
    """Return the values of a list column with its rows in this order."""
    return pc.list_flatten(column.take(order).combine_chunks())
