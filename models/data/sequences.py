"""User sequences as tensors: ragged for all users, padded for a batch.

State i of a sequence knows the first i events, so there are S = T + 1 states.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

TIME_GAP_BUCKETS = 16  # log2 of the minutes since the previous event; the last is three weeks and more
HOURS_PER_DAY = 24
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences of some users, padded on the right to the longest.

    Values where `mask_BT` is False are arbitrary and must not influence a result. The fields are those of
    `Sequences`, with unknown numbers as 0 and one flag that says whether a number is known.

    Attributes:
        users_B: Row of each user.
        day_BT: Day of the event, counted from 1970.
        time_gap_BT: Bucket of the time since the previous event (`time_gap_buckets`).
    """

    users_B: Tensor
    mask_BT: Tensor
    video_BT: Tensor
    watch_ratio_BT: Tensor
    watch_ratio_known_BT: Tensor
    behaviour_BTA: Tensor
    sentiment_BT: Tensor
    sentiment_known_BT: Tensor
    day_BT: Tensor
    time_gap_BT: Tensor
    hour_BT: Tensor
    positive_BT: Tensor
    context_BTJ: Tensor
    request_BTJ: Tensor

    @property
    def lengths(self) -> Tensor:
        """Number of events of each user [B]. It is also the index of the newest state."""
        return self.mask_BT.sum(1)

    def oldest(self, count: int) -> "SequenceBatch":
        """Return the oldest `count` events of each user in the batch."""
        return SequenceBatch(
            **{name: x if name == "users_B" else x[:, :count].contiguous() for name, x in vars(self).items()}
        )

    def reindex_videos(self, rows_v: Tensor) -> "SequenceBatch":
        """Return the batch with each video as its position in `rows_v`.

        Args:
            rows_v: Sorted rows that contain every video of the batch.
        """
        index_BT = torch.searchsorted(rows_v, self.video_BT).clamp(max=len(rows_v) - 1)
        return replace(self, video_BT=index_BT * self.mask_BT)


@dataclass(frozen=True)
class Sequences:
    """The events of all users, oldest first. Those of user b are `offsets[b]` to `offsets[b + 1]`.

    Attributes:
        offsets: int64 [U + 1].
        video_E: Row of the video in the catalogue.
        timestamp_E: Start of the interaction, in seconds since 1970 UTC.
        hour_E: Local hour of the day of the user, 0 to 23.
        watch_ratio_E: Watch ratio. NaN is unknown.
        behaviour_EA: Bool, the logged behaviours, in the order of `ModelConfig.behaviours`.
        sentiment_E: Sentiment of the user's comments, in [-1, 1]. NaN is none or unknown.
        positive_E: Bool, whether the interaction is a positive.
        context_EJ: Code of each context of the model. 0 is unknown. None: the model reads no context.
        request_EJ: Code of each context of the request that led to the interaction (`request_codes`). None:
            the model reads none.
    """

    offsets: Tensor
    video_E: Tensor
    timestamp_E: Tensor
    hour_E: Tensor
    watch_ratio_E: Tensor
    behaviour_EA: Tensor
    sentiment_E: Tensor
    positive_E: Tensor
    context_EJ: Tensor | None = None
    request_EJ: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """Number of events of each user [U]."""
        return self.offsets.diff()

    @property
    def last_day(self) -> int:
        """Day of the newest event, counted from 1970. 0 without events."""
        return int(self.timestamp_E.max()) // SECONDS_PER_DAY if len(self.timestamp_E) else 0

    def until(self, last_day: int) -> "Sequences":
        """Return the events of all users up to and including this day."""
        return self.keep(self.timestamp_E < (last_day + 1) * SECONDS_PER_DAY)

    def keep(self, kept_E: Tensor) -> "Sequences":
        """Return the events of all users where `kept_E` (bool) is True."""
        num_before = torch.nn.functional.pad(kept_E.cumsum(0), (1, 0))
        return self._take_events(num_before[self.offsets], kept_E)

    def newest(self, users_B: Tensor, max_length: int) -> "Sequences":
        """Return the newest `max_length` events of these users, who become the users 0, 1, …"""
        length_B = self.lengths[users_B].clamp(max=max_length)
        event_E = _concat_ranges(self.offsets[users_B + 1] - length_B, length_B)
        return self._take_events(torch.nn.functional.pad(length_B.cumsum(0), (1, 0)), event_E)

    def _take_events(self, offsets: Tensor, event_E: Tensor) -> "Sequences":
        kept = {n: x_E[event_E] for n, x_E in vars(self).items() if n != "offsets" and x_E is not None}
        return replace(self, offsets=offsets, **kept)

    def padded_batch(self, users_B: Tensor, max_length: int) -> SequenceBatch:
        """Return the newest `max_length` events of these users as a batch."""
        length_B = self.lengths[users_B].clamp(max=max_length)
        position_T = torch.arange(int(length_B.max()) if len(users_B) else 0)
        mask_BT = position_T < length_B[:, None]
        start_B = self.offsets[users_B + 1] - length_B
        index_BT = torch.where(mask_BT, start_B[:, None] + position_T, 0)
        if not len(self.video_E):
            index_BT = index_BT[:, :0]
        watch_ratio_BT, sentiment_BT = self.watch_ratio_E[index_BT], self.sentiment_E[index_BT]
        no_context_BT0 = index_BT[:, :, None][:, :, :0]
        return SequenceBatch(
            users_B=users_B,
            mask_BT=mask_BT,
            video_BT=self.video_E[index_BT],
            watch_ratio_BT=watch_ratio_BT.nan_to_num(0.0).clamp(0.0, 2.0),
            watch_ratio_known_BT=~watch_ratio_BT.isnan(),
            behaviour_BTA=self.behaviour_EA[index_BT],
            sentiment_BT=sentiment_BT.nan_to_num(0.0),
            sentiment_known_BT=~sentiment_BT.isnan(),
            day_BT=self.timestamp_E[index_BT] // SECONDS_PER_DAY,
            time_gap_BT=time_gap_buckets(self.timestamp_E[index_BT]),
            hour_BT=self.hour_E[index_BT],
            positive_BT=self.positive_E[index_BT],
            context_BTJ=no_context_BT0 if self.context_EJ is None else self.context_EJ[index_BT],
            request_BTJ=no_context_BT0 if self.request_EJ is None else self.request_EJ[index_BT],
        )


@dataclass(frozen=True)
class SeenItems:
    """All videos that each user has ever seen. Those of user b are `row_E[offsets[b]:offsets[b + 1]]`.

    Here E counts the (user, video) pairs of all users.
    """

    offsets: Tensor
    row_E: Tensor

    def user_item_pairs(self, users_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pairs of these users: the position in `users_B`, and the row of the video."""
        length_B = self.offsets.diff()[users_B]
        user_E = torch.arange(len(users_B)).repeat_interleave(length_B)
        return user_E, self.row_E[_concat_ranges(self.offsets[users_B], length_B)]

    def restrict_to(self, users_B: Tensor, rows_C: Tensor) -> "SeenItems":
        """Return the seen videos of these users as positions in `rows_C`.

        Args:
            users_B: The users.
            rows_C: Rows in any order. A row may occur more than once.
        """
        user_E, row_E = self.user_item_pairs(users_B)
        sorted_C, position_C = rows_C.sort()
        first_E = torch.searchsorted(sorted_C, row_E)
        repeats_E = torch.searchsorted(sorted_C, row_E, right=True) - first_E
        count_B = torch.bincount(user_E.repeat_interleave(repeats_E), minlength=len(users_B))
        return SeenItems(
            torch.nn.functional.pad(count_B.cumsum(0), (1, 0)), position_C[_concat_ranges(first_E, repeats_E)]
        )

    def mask(self, users_B: Tensor, num_videos: int) -> Tensor:
        """Bool [B, V]: True if the user has seen the video."""
        mask_BV = torch.zeros(len(users_B), num_videos, dtype=torch.bool)
        mask_BV[self.user_item_pairs(users_B)] = True
        return mask_BV

    def count_in(self, subset_V: Tensor) -> Tensor:
        """Return how many of the videos in `subset_V` (bool) each user has seen, [U]."""
        cumulative = torch.nn.functional.pad(subset_V[self.row_E].cumsum(0), (1, 0))
        return cumulative[self.offsets].diff()


def is_repeat(code_BT: Tensor) -> Tensor:
    """Return whether an earlier step of the row has the same code, bool [B, T]. Memory is linear in T."""
    if not code_BT.shape[1]:
        return torch.zeros_like(code_BT, dtype=torch.bool)
    sorted_BT, order_BT = code_BT.sort(dim=1, stable=True)  # stable, so the first step of a code stays first
    same_BT = torch.nn.functional.pad(sorted_BT[:, 1:] == sorted_BT[:, :-1], (1, 0))
    return torch.zeros_like(same_BT).scatter(1, order_BT, same_BT)


def _concat_ranges(first_E: Tensor, count_E: Tensor) -> Tensor:
    """Concatenate the ranges first, first + 1, …, each with `count_E` numbers."""
    start_E = (first_E - (count_E.cumsum(0) - count_E)).repeat_interleave(count_E)
    return start_E + torch.arange(len(start_E))


def recency_weights(day: Tensor, last_day: int, half_life_days: float) -> Tensor:
    """Return the weight of each day relative to the last: half for every half-life before it.

    A half-life of 0 gives all days the weight 1.
    """
    return 0.5 ** ((last_day - day) / half_life_days) if half_life_days else torch.ones(day.shape)


def time_gap_buckets(timestamp_BT: Tensor) -> Tensor:
    """Return the log2 bucket of the minutes since the previous event. The first event has bucket 0."""
    if not timestamp_BT.shape[1]:
        return timestamp_BT.clone()
    minutes_BT = timestamp_BT.diff(dim=1, prepend=timestamp_BT[:, :1]).clamp(min=0) / 60
    return torch.log2(1 + minutes_BT).long().clamp(max=TIME_GAP_BUCKETS - 1)
