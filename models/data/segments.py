"""Video segments as tensors: the vectors of each segment, and views with the segment where the user left.

In this module X counts the watched segments of all users, O the newest of them before a view, and T the
segments of a video.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.data.interaction_log import InteractionLog
from models.data.segment_grid import MAX_SEGMENTS, SEGMENT_MS_KEY
from models.data.sequences import SequenceBatch, Sequences

WATCHED_TO_END = -1  # `exit_segment` of a video that was watched to its end


@dataclass(frozen=True)
class SegmentTable:
    """The segments of all videos.

    Attributes:
        features: Modality -> vectors of segments [N, F]. Without modalities of which no segment has a vector.
        row_VT: Modality -> row of each segment in `features`. −1: the segment has no vector.
        num_segments_V: Number of segments of each video. 0: its duration is unknown.
        duration_V: Duration in milliseconds. 0 is unknown.
        id_row_V: Row of the video's ID embedding. 0 is unknown.
        segment_ms: Length of a segment in milliseconds.
    """

    features: Mapping[str, Tensor]
    row_VT: Mapping[str, Tensor]
    num_segments_V: Tensor
    duration_V: Tensor
    id_row_V: Tensor
    segment_ms: int

    @property
    def max_segments(self) -> int:
        """T of the longest video."""
        return int(self.num_segments_V.max()) if len(self.num_segments_V) else 0

    def mask(self, video_B: Tensor) -> Tensor:
        """Return which segments these videos have, bool [B, T]."""
        return torch.arange(self.max_segments) < self.num_segments_V[video_B][:, None]

    def select(self, rows: Tensor, is_present: Tensor) -> "SegmentTable":
        """Return the videos of these rows. Where `is_present` is False, nothing is known of the video."""
        return replace(
            self,
            row_VT={m: row_VT[rows] for m, row_VT in self.row_VT.items()},
            num_segments_V=torch.where(is_present, self.num_segments_V[rows], 0),
            duration_V=torch.where(is_present, self.duration_V[rows], 0),
            id_row_V=torch.where(is_present, self.id_row_V[rows], 0),
        )


def build_segment_table(
    duration_V: Tensor, features: Mapping[str, Tensor], id_row_V: Tensor
) -> SegmentTable | None:
    """Return the segments of the catalogue. None if the snapshot was written without segments.

    Args:
        duration_V: Duration in milliseconds. 0 is unknown.
        features: Tensors of the snapshot. `<modality>.segments` [N, F] has the vectors, and
            `<modality>.segment_rows` [N, 2] the video and the segment of each.
        id_row_V: Row of the video's ID embedding. 0 is unknown.
    """
    if SEGMENT_MS_KEY not in features:
        return None
    segment_ms = int(features[SEGMENT_MS_KEY])
    num_segments_V = (-(-duration_V // segment_ms)).clamp(max=MAX_SEGMENTS)
    T = int(num_segments_V.max()) if len(num_segments_V) else 0
    names = [key.removesuffix(".segments") for key in features if key.endswith(".segments")]
    rows = {}
    for name in names:
        video_N, segment_N = features[f"{name}.segment_rows"].long().unbind(1)
        row_VT = torch.full((len(duration_V), MAX_SEGMENTS), -1)
        row_VT[video_N, segment_N] = torch.arange(len(video_N))
        rows[name] = row_VT[:, :T]
    vectors = {name: features[f"{name}.segments"] for name in names}
    return SegmentTable(vectors, rows, num_segments_V, duration_V, id_row_V, segment_ms)


@dataclass(frozen=True)
class SegmentInteractions:
    """Views to learn from or to score, with what the user watched before.

    Attributes:
        user_B: Row of the user. 0 is unknown.
        video_B: Row of the video in the catalogue.
        exit_segment_B: The segment in which the user left, or WATCHED_TO_END.
        history_BO2: (video row, segment) of what the user watched before, newest first.
        history_mask_BO: Bool, which of them exist.
        history_exit_BO: Bool, in which of them the user left.
    """

    user_B: Tensor
    video_B: Tensor
    exit_segment_B: Tensor
    history_BO2: Tensor
    history_mask_BO: Tensor
    history_exit_BO: Tensor


@dataclass(frozen=True)
class SegmentViews:
    """Views, with the range of watched segments before each. `batch` makes inputs of a model of them.

    Attributes:
        user_E: Row of the user. 0 is unknown.
        video_E: Row of the video in the catalogue.
        exit_segment_E: The segment in which the user left, or WATCHED_TO_END.
        start_E, end_E: Of the segments that the user watched before, as a range of `watched_X3`.
        watched_X3: Video row, segment and whether the user left in it (1 or 0), of all users.
        history_length: O, the number of newest segments that a model reads.
    """

    user_E: Tensor
    video_E: Tensor
    exit_segment_E: Tensor
    start_E: Tensor
    end_E: Tensor
    watched_X3: Tensor
    history_length: int

    def __len__(self) -> int:
        return len(self.user_E)

    def select(self, rows: Tensor) -> "SegmentViews":
        """Return these views only."""
        names = ("user_E", "video_E", "exit_segment_E", "start_E", "end_E")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def batch(self) -> SegmentInteractions:
        """Return all views with the segments that the user watched before."""
        position_EO = self.end_E[:, None] - 1 - torch.arange(self.history_length)
        mask_EO = position_EO >= self.start_E[:, None]
        # One more segment, so that position 0 exists even if no segment was watched.
        padded_X3 = F.pad(self.watched_X3, (0, 0, 0, 1))
        history_EO3 = padded_X3[torch.where(mask_EO, position_EO, len(self.watched_X3))]
        return SegmentInteractions(
            user_B=self.user_E,
            video_B=self.video_E,
            exit_segment_B=self.exit_segment_E,
            history_BO2=history_EO3[:, :, :2],
            history_mask_BO=mask_EO,
            history_exit_BO=history_EO3[:, :, 2] > 0,
        )


@dataclass(frozen=True)
class SegmentLog:
    """Views whose watch time and duration are known, by user and, for each user, by time.

    Attributes:
        offsets: Start of each user's views, and the end of the last, [U + 1].
        video_E: Row of the video.
        watched_E: Position at which the user left, in milliseconds.
    """

    offsets: Tensor
    video_E: Tensor
    watched_E: Tensor

    @classmethod
    def from_sequences(cls, sequences: Sequences, segment_table: SegmentTable) -> "SegmentLog":
        """Return the views of all sequences."""
        return cls._from_ratios(sequences.offsets, sequences.video_E, sequences.watch_ratio_E, segment_table)

    @classmethod
    def from_batch(cls, batch: SequenceBatch, segment_table: SegmentTable) -> "SegmentLog":
        """Return the views of a batch of sequences."""
        ratio_BT = batch.watch_ratio_BT.masked_fill(~batch.watch_ratio_known_BT, torch.nan)
        mask_BT, offsets = batch.mask_BT, F.pad(batch.lengths.cumsum(0), (1, 0))
        return cls._from_ratios(offsets, batch.video_BT[mask_BT], ratio_BT[mask_BT], segment_table)

    @classmethod
    def _from_ratios(
        cls, offsets: Tensor, video_E: Tensor, watch_ratio_E: Tensor, segment_table: SegmentTable
    ) -> "SegmentLog":
        watched_E, known_E = watch_positions(watch_ratio_E, segment_table.duration_V[video_E])
        num_before = F.pad(known_E.cumsum(0), (1, 0))
        return cls(num_before[offsets], video_E[known_E], watched_E[known_E])

    def views(self, segment_table: SegmentTable, history_length: int) -> SegmentViews:
        """Return each view with what the user watched before it."""
        watched_X3, first_E = self._watched_segments(segment_table)
        user_E = torch.arange(len(self.offsets) - 1).repeat_interleave(self.offsets.diff())
        return SegmentViews(
            user_E=user_E + 1,
            video_E=self.video_E,
            exit_segment_E=self._exit_segments(segment_table),
            start_E=first_E[self.offsets[user_E]],
            end_E=first_E[:-1],
            watched_X3=watched_X3,
            history_length=history_length,
        )

    def later_views(
        self,
        user_N: Tensor,
        video_N: Tensor,
        exit_segment_N: Tensor,
        segment_table: SegmentTable,
        history_length: int,
    ) -> SegmentViews:
        """Return views that come after all views of the log.

        Args:
            user_N: Number of the user of each later view, from 0.
            video_N: Row of its video.
            exit_segment_N: The segment in which the user left it, or WATCHED_TO_END.
            segment_table: The segments of all videos.
            history_length: O, the number of newest segments that a model reads.
        """
        watched_X3, first_E = self._watched_segments(segment_table)
        start_N, end_N = first_E[self.offsets[user_N]], first_E[self.offsets[user_N + 1]]
        return SegmentViews(user_N + 1, video_N, exit_segment_N, start_N, end_N, watched_X3, history_length)

    def _exit_segments(self, segment_table: SegmentTable) -> Tensor:
        return exit_segment(self.watched_E, segment_table.duration_V[self.video_E], segment_table.segment_ms)

    def _watched_segments(self, segment_table: SegmentTable) -> tuple[Tensor, Tensor]:
        """Return watched_X3, and the position of the first segment of each view and the end, [E + 1]."""
        num_segments_E = segment_table.num_segments_V[self.video_E]
        count_E = (-(-self.watched_E // segment_table.segment_ms)).minimum(num_segments_E)
        first_E = F.pad(count_E.cumsum(0), (1, 0))
        view_X = torch.arange(len(count_E)).repeat_interleave(count_E)
        segment_X = torch.arange(len(view_X)) - first_E[view_X]
        is_exit_X = segment_X == self._exit_segments(segment_table)[view_X]
        return torch.stack([self.video_E[view_X], segment_X, is_exit_X.long()], 1), first_E


def views_in_order_of_time(
    log: InteractionLog, segment_table: SegmentTable, history_length: int, num_train: int
) -> SegmentViews:
    """Return the interactions of a log, in its order, each with what its user watched before it.

    Args:
        log: In order of time.
        segment_table: The segments of all videos, with their durations.
        history_length: O, the number of newest segments that a model reads.
        num_train: The first `num_train` interactions are for training. Users without one are unknown.
    """
    user_E, num_users = torch.from_numpy(log.user_E).long(), int(log.user_E.max(initial=-1)) + 1
    by_user_E = user_E.argsort(stable=True)
    offsets = F.pad(torch.bincount(user_E, minlength=num_users).cumsum(0), (1, 0))
    video_E, watched_E = (torch.from_numpy(x_E).long()[by_user_E] for x_E in (log.video_E, log.watched_ms_E))
    views = SegmentLog(offsets, video_E, watched_E).views(segment_table, history_length)
    views = views.select(by_user_E.argsort())
    is_known_E = torch.isin(user_E, user_E[:num_train])
    return replace(views, user_E=torch.where(is_known_E, views.user_E, 0))


def views_after(
    sequences: Sequences,
    user_N: Tensor,
    video_N: Tensor,
    watch_ratio_N: Tensor,
    segment_table: SegmentTable,
    history_length: int,
) -> tuple[SegmentViews, Tensor]:
    """Return views that come after all sequences, and whether the end of each is known, bool [N].

    Args:
        sequences: What the users watched before.
        user_N: The user of each view, as a row of the sequences.
        video_N: Row of its video.
        watch_ratio_N: Its watch ratio. NaN is unknown.
        segment_table: The segments of all videos.
        history_length: O, the number of newest segments that a model reads.

    Returns:
        The views whose end is known, and which they are.
    """
    duration_N = segment_table.duration_V[video_N]
    watched_N, known_N = watch_positions(watch_ratio_N, duration_N)
    exit_segment_N = exit_segment(watched_N, duration_N, segment_table.segment_ms)
    log = SegmentLog.from_sequences(sequences, segment_table)
    views = log.later_views(
        user_N[known_N], video_N[known_N], exit_segment_N[known_N], segment_table, history_length
    )
    return views, known_N


def watch_positions(watch_ratio_N: Tensor, duration_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position at which the user left, in milliseconds, and whether it is known.

    Args:
        watch_ratio_N: Watch ratio. NaN is unknown.
        duration_N: Duration of the video in milliseconds. 0 is unknown.
    """
    known_N = ~watch_ratio_N.isnan() & (duration_N > 0)
    return (watch_ratio_N.nan_to_num(0.0).double() * duration_N).round().long(), known_N


def exit_segment(watched_N: Tensor, duration_N: Tensor, segment_ms: int) -> Tensor:
    """Return the segment with the last watched millisecond. It is the first if nothing was watched.

    A user who left after `MAX_SEGMENTS` segments counts as having watched to the end.

    Args:
        watched_N: Position at which the user left, in milliseconds.
        duration_N: Duration of the video in milliseconds.
        segment_ms: Length of a segment in milliseconds.

    Returns:
        The number of the segment from 0, or WATCHED_TO_END.
    """
    last_N = (-(-watched_N // segment_ms) - 1).clamp(min=0)
    return torch.where((watched_N >= duration_N) | (last_N >= MAX_SEGMENTS), WATCHED_TO_END, last_N)
