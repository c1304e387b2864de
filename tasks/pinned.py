"""The night's snapshot as tensors: what align, train and evaluate read.

Users are numbered by their row in users.parquet, videos by their row in catalogue.parquet.
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

from contracts.errors import InputError
from contracts.place import Night
from contracts.receipts import read_json
from contracts.tables import BEHAVIOURS, CONTEXTS
from models.fusion import Catalogue
from models.histories import HOURS, Histories, Seen
from models.interest import Spec
from models.profiles import Profiles
from models.scoring import Targets
from tasks.saved import read_tensors

MODALITIES = ("visual", "text", "audio")
AGAIN = "run `python -m tasks.snapshot` again"
HELD_OUT = 0.1  # share of the videos that alignment never learns from


@dataclass(frozen=True)
class Views:
    """Every viewing of one day: N rows, in the snapshot's order."""

    user_N: Tensor
    row_N: Tensor
    positive_N: Tensor
    ratio_N: Tensor
    did_NA: Tensor


class Pinned:
    """A night's snapshot, each file read when first asked for.

    Raises:
        InputError: a file is missing; says which step writes it.
    """

    def __init__(self, night: Night) -> None:
        self.night = night

    @cached_property
    def manifest(self) -> dict:
        return read_json(self.night.output("snapshot", "manifest.json"), AGAIN)

    @property
    def days_ahead(self) -> int:
        """Days from the end of training to the test day."""
        until, test = (date.fromisoformat(self.manifest[key]) for key in ("train_until", "test_day"))
        return (test - until).days

    @cached_property
    def videos(self) -> pa.Table:
        return self._table("catalogue")

    @cached_property
    def users(self) -> pa.Table:
        """Profiles as they were known when the test began."""
        return self._table("users")

    @cached_property
    def users_train(self) -> pa.Table:
        """The same people, as they were known when training ended."""
        return self._table("users_train")

    @cached_property
    def features(self) -> dict[str, Tensor]:
        return read_tensors(self.night.output("snapshot", "features.safetensors"))

    @property
    def modalities(self) -> list[str]:
        """The modalities that at least one video has."""
        return [m for m in MODALITIES if m in self.features]

    @property
    def widths(self) -> dict[str, int]:
        """Modality -> width of its features."""
        return {m: self.features[m].shape[1] for m in self.modalities}

    @property
    def encoders(self) -> dict[str, str]:
        """Modality -> fingerprint of its encoder."""
        return {m: self.manifest["modalities"][m]["fingerprint"] for m in self.modalities}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of each modality's encoder, and of how those numbers of a video were made that have one."""
        return self.encoders | self.manifest["video_numbers"]

    @cached_property
    def train_views(self) -> Tensor:
        return torch.from_numpy(self.videos["train_views"].to_numpy().astype(np.int64))

    @cached_property
    def lots(self) -> Tensor:
        """A number in [0, 1) drawn for each video by its id: the same every night."""
        ids = self.videos["video_id"].to_pylist()
        drawn = [int.from_bytes(hashlib.sha256(video.encode()).digest()[:6]) for video in ids]
        return torch.tensor(drawn, dtype=torch.float64) / 2**48

    @cached_property
    def aligned(self) -> Tensor:
        """Rows of the videos that alignment learns from: with training views, and never those held out."""
        return ((self.train_views > 0) & (self.lots >= HELD_OUT)).nonzero().squeeze(1)

    @property
    def held_out(self) -> Tensor:
        """Rows of all other videos by lot: neither tonight's alignment nor a champion's has seen them."""
        order = self.lots.argsort(stable=True)
        return order[~torch.isin(order, self.aligned)]

    def catalogue(
        self,
        modalities: Mapping[str, int],
        video_ids: Sequence[str],
        numbers: Mapping[str, tuple[float, float]] | None = None,
    ) -> Catalogue:
        """The videos for a model that reads these modalities and has ID rows for these videos.

        `numbers`: catalogue column -> (mean, standard deviation), of what its ranking heads read.
        """
        V = self.videos.num_rows
        features = {m: self.features.get(m, torch.zeros(V, size)) for m, size in modalities.items()}
        masks = [self._mask(m) for m in modalities]
        has_VM = torch.stack(masks, 1) if masks else torch.zeros(V, 0, dtype=torch.bool)
        known = pc.index_in(self.videos["video_id"], pa.array(video_ids, pa.string()))
        number_VP = _standardised(self.videos, numbers or {})
        return Catalogue(features, has_VM, _ints(pc.fill_null(known, -1)), self._born(), number_VP)

    def profiles(self, spec: Spec, name: str) -> Profiles:
        """`train` or `test`: everybody's profile as it was known then, in the model's vocabulary.

        A value that the model does not know is unknown.
        """
        users = self.users_train if name == "train" else self.users
        categories = [_codes(_column(users, column), values) for column, values in spec.categories.items()]
        none = torch.zeros(users.num_rows, 0, dtype=torch.long)
        return Profiles(
            torch.stack(categories, 1) if categories else none, _standardised(users, spec.numbers)
        )

    def histories(self, name: str, contexts: Mapping[str, Sequence[str]] | None = None) -> Histories:
        """`train` or `test`: everybody's events, none for those who have no row.

        `contexts`: context -> known values, of those that a model reads.
        """
        table = self._table(name)
        offsets, order = self._align(table["user_id"], table["video_rows"])
        flat = {
            column: _flatten(table[column], order) for column in table.schema.names if column != "user_id"
        }
        second_E = torch.from_numpy(flat["started_at"].cast(pa.int64()).to_numpy() // 1_000_000)
        return Histories(
            offsets=offsets,
            video_E=_ints(flat["video_rows"]),
            second_E=second_E,
            hour_E=(second_E + 60 * _ints(flat["utc_offset_minutes"])) // 3600 % HOURS,
            ratio_E=_floats(flat["watch_ratios"]),
            did_EA=(_ints(flat["behaviours"])[:, None] >> torch.arange(len(BEHAVIOURS))) & 1 > 0,
            sentiment_E=_floats(flat["comment_sentiments"]),
            positive_E=_bools(flat["positive"]),
            context_EC=torch.stack([_codes(flat[CONTEXTS[name]], v) for name, v in contexts.items()], 1)
            if contexts
            else None,
        )

    def contexts(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Context -> the values that the training days knew."""
        table = self._table("train")
        found = {name: pc.unique(pc.list_flatten(table[CONTEXTS[name]])) for name in names}
        return {name: sorted(values.drop_null().to_pylist()) for name, values in found.items()}

    def seen(self, name: str) -> Seen:
        """`train` or `test`: all distinct videos each user ever saw by then."""
        table = self._table(f"seen_{name}")
        offsets, order = self._align(table["user_id"], table["video_rows"])
        return Seen(offsets, _ints(_flatten(table["video_rows"], order)))

    def views(self, name: str) -> Views:
        """`valid` or `test`: the viewings of that day; a viewing is always `viewed`."""
        table = self._table(f"{name}_views")
        did = [_bools(table[b]) if b in table.schema.names else None for b in BEHAVIOURS]
        always = torch.ones(table.num_rows, dtype=torch.bool)
        return Views(
            user_N=self._user_rows(table["user_id"]),
            row_N=_ints(table["video_row"]),
            positive_N=_bools(table["positive"]),
            ratio_N=_floats(table["watch_ratio"]),
            did_NA=torch.stack([always if d is None else d for d in did], 1),
        )

    def _table(self, name: str) -> pa.Table:
        path = self.night.output("snapshot", f"{name}.parquet")
        try:
            return pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise InputError(f"{path} cannot be read as Parquet ({error}); {AGAIN}") from None

    def _mask(self, modality: str) -> Tensor:
        mask = self.features.get(f"{modality}.mask")
        return torch.zeros(self.videos.num_rows, dtype=torch.bool) if mask is None else mask.bool()

    def _born(self) -> Tensor:
        """Day of upload, counted from 1970; day 0 where unknown: such a video was always there."""
        return _ints(self.videos["upload_day"].cast(pa.int32()))

    def _user_rows(self, ids: pa.ChunkedArray) -> Tensor:
        rows = pc.index_in(ids, self.users["user_id"].combine_chunks())
        if rows.null_count:
            raise InputError(
                f"{self.night.workspace / 'snapshot' / 'users.parquet'}: {rows.null_count} users of other"
                " files are missing; run `python -m tasks.snapshot` again"
            )
        return _ints(rows)

    def _align(self, ids: pa.ChunkedArray, lists: pa.ChunkedArray) -> tuple[Tensor, pa.Array]:
        """Offsets over all users, and the order of the table's rows that follows them."""
        row_B = self._user_rows(ids)
        length_U = torch.zeros(self.users.num_rows, dtype=torch.long)
        length_U[row_B] = _ints(pc.list_value_length(lists))
        return torch.nn.functional.pad(length_U.cumsum(0), (1, 0)), pa.array(row_B.argsort().numpy())


def targets(views: Views, seen: Seen, videos: int) -> Targets:
    """Each user's distinct positive videos of the day that the user had never seen before."""
    key_P = (views.user_N * videos + views.row_N)[views.positive_N].unique()
    old = torch.arange(len(seen.offsets) - 1).repeat_interleave(seen.offsets.diff()) * videos + seen.row_E
    new_P = key_P[~torch.isin(key_P, old)]
    return Targets(new_P // videos, new_P % videos)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column, nulls where the snapshot no longer has it."""
    return table[name] if name in table.schema.names else pa.chunked_array([pa.nulls(table.num_rows)])


def _standardised(table: pa.Table, numbers: Mapping[str, tuple[float, float]]) -> Tensor:
    """Columns as numbers around 0 [N, P]; NaN: unknown."""
    columns = [(_floats(_column(table, name)) - mean) / scale for name, (mean, scale) in numbers.items()]
    return torch.stack(columns, 1) if columns else torch.zeros(table.num_rows, 0)


def _flatten(column: pa.ChunkedArray, order: pa.Array) -> pa.Array:
    array = column.take(order).combine_chunks()
    return pc.list_flatten(array)


def _ints(column: pa.Array | pa.ChunkedArray) -> Tensor:
    return torch.from_numpy(pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(np.int64))


def _floats(column: pa.Array | pa.ChunkedArray) -> Tensor:
    return torch.from_numpy(column.cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32))


def _bools(column: pa.Array | pa.ChunkedArray) -> Tensor:
    return torch.from_numpy(pc.fill_null(column, False).to_numpy(zero_copy_only=False).astype(bool))


def _codes(column: pa.Array | pa.ChunkedArray, values: Sequence[str]) -> Tensor:
    """1 + place of the value in the vocabulary; 0: unknown."""
    found = pc.index_in(column.cast(pa.string()), pa.array(values, pa.string()))
    return _ints(pc.add(pc.fill_null(found, -1), 1))
