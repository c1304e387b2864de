"""What people watched, as tensors: ragged for everybody, padded for a batch.

Legend: B users, E events of all users, T events of a batch's longest history (oldest first, padding on the
right), S = T + 1 states (state i is what is known after i events), A behaviours, C contexts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

GAP_BUCKETS = 16  # log2 of the minutes since the event before; the last bucket is three weeks and more
HOURS = 24
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Batch:
    """Padded histories. What stands where `mask_BT` is False is arbitrary and must not matter."""

    users_B: Tensor
    mask_BT: Tensor
    video_BT: Tensor
    ratio_BT: Tensor
    ratio_known_BT: Tensor
    did_BTA: Tensor
    sentiment_BT: Tensor
    sentiment_known_BT: Tensor
    day_BT: Tensor
    gap_BT: Tensor
    hour_BT: Tensor
    positive_BT: Tensor
    context_BTC: Tensor
    share_BTM: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """Number of events, which is also the index of the newest state."""
        return self.mask_BT.sum(1)

    def among(self, rows_R: Tensor) -> "Batch":
        """The same with videos numbered by their place in `rows_R` (sorted), which holds all of them."""
        at_BT = torch.searchsorted(rows_R, self.video_BT).clamp(max=len(rows_R) - 1)
        return replace(self, video_BT=at_BT * self.mask_BT)


@dataclass(frozen=True)
class Histories:
    """Everybody's events: those of user b are `offsets[b]` to `offsets[b + 1]`, oldest first.

    Attributes:
        offsets: int64 [B + 1].
        video_E: row of the video in the catalogue.
        second_E: start of the viewing, seconds since 1970 UTC.
        hour_E: hour of the day on the person's clock, 0 to 23.
        ratio_E: watched share of the video; NaN: unknown.
        did_EA: bool, what the person did, in the order of the model's `behaviours`.
        sentiment_E: of the comments that the person wrote, in [-1, 1]; NaN: none, or unknown.
        positive_E: bool, whether the viewing counts as liked.
        context_EC: code of each of the model's contexts, 0: unknown; None: the model has none.
        share_EM: of each modality in what the person goes by, as known after the event, of the newest
            events that the model reads (0 before them); None: not read yet (models/scoring.py, `read_once`).
    """

    offsets: Tensor
    video_E: Tensor
    second_E: Tensor
    hour_E: Tensor
    ratio_E: Tensor
    did_EA: Tensor
    sentiment_E: Tensor
    positive_E: Tensor
    context_EC: Tensor | None = None
    share_EM: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        return self.offsets.diff()

    @property
    def last_day(self) -> int:
        """Of the newest event, counted from 1970; 0 without any."""
        return int(self.second_E.max()) // DAY_SECONDS if len(self.second_E) else 0

    def batch(self, users_B: Tensor, max_length: int) -> Batch:
        """The newest `max_length` events of these users."""
        length_B = self.lengths[users_B].clamp(max=max_length)
        step_T = torch.arange(int(length_B.max()) if len(users_B) else 0)
        mask_BT = step_T < length_B[:, None]
        first_B = self.offsets[users_B + 1] - length_B
        at_BT = torch.where(mask_BT, first_B[:, None] + step_T, 0)
        if not len(self.video_E):
            at_BT = at_BT[:, :0]
        ratio_BT, sentiment_BT = self.ratio_E[at_BT], self.sentiment_E[at_BT]
        return Batch(
            users_B=users_B,
            mask_BT=mask_BT,
            video_BT=self.video_E[at_BT],
            ratio_BT=ratio_BT.nan_to_num(0.0).clamp(0.0, 2.0),
            ratio_known_BT=~ratio_BT.isnan(),
            did_BTA=self.did_EA[at_BT],
            sentiment_BT=sentiment_BT.nan_to_num(0.0),
            sentiment_known_BT=~sentiment_BT.isnan(),
            day_BT=self.second_E[at_BT] // DAY_SECONDS,
            gap_BT=gap_buckets(self.second_E[at_BT]),
            hour_BT=self.hour_E[at_BT],
            positive_BT=self.positive_E[at_BT],
            context_BTC=at_BT[:, :, None][:, :, :0] if self.context_EC is None else self.context_EC[at_BT],
            share_BTM=None if self.share_EM is None else self.share_EM[at_BT],
        )


@dataclass(frozen=True)
class Seen:
    """All videos each user ever saw: those of user b are `row_E[offsets[b]:offsets[b + 1]]`."""

    offsets: Tensor
    row_E: Tensor

    def of(self, users_B: Tensor) -> tuple[Tensor, Tensor]:
        """What these users have seen: position in `users_B`, and row."""
        length_B = self.offsets.diff()[users_B]
        user_E = torch.arange(len(users_B)).repeat_interleave(length_B)
        return user_E, self.row_E[_ranges(self.offsets[users_B], length_B)]

    def within(self, users_B: Tensor, rows_C: Tensor) -> "Seen":
        """The places in `rows_C` (any order, a row may come more than once) of what these users have seen."""
        user_E, row_E = self.of(users_B)
        sorted_C, place_C = rows_C.sort()
        first_E = torch.searchsorted(sorted_C, row_E)
        often_E = torch.searchsorted(sorted_C, row_E, right=True) - first_E
        count_B = torch.bincount(user_E.repeat_interleave(often_E), minlength=len(users_B))
        return Seen(torch.nn.functional.pad(count_B.cumsum(0), (1, 0)), place_C[_ranges(first_E, often_E)])

    def mask(self, users_B: Tensor, videos: int) -> Tensor:
        """Bool [B, videos]: True where the user has seen the video."""
        mask_BV = torch.zeros(len(users_B), videos, dtype=torch.bool)
        mask_BV[self.of(users_B)] = True
        return mask_BV

    def counts(self, chosen_V: Tensor) -> Tensor:
        """How many of the chosen videos (bool [V]) each user has seen: [users]."""
        so_far = torch.nn.functional.pad(chosen_V[self.row_E].cumsum(0), (1, 0))
        return so_far[self.offsets].diff()


def _ranges(first_E: Tensor, count_E: Tensor) -> Tensor:
    """first, first + 1, … of each, so many as `count` says, one after the other."""
    start_E = (first_E - (count_E.cumsum(0) - count_E)).repeat_interleave(count_E)
    return start_E + torch.arange(len(start_E))


def recency(day: Tensor, last_day: int, half_life_days: float) -> Tensor:
    """What counts of these days beside the last: half for every half-life before; of 0 days: all the same."""
    return 0.5 ** ((last_day - day) / half_life_days) if half_life_days else torch.ones(day.shape)


def positive(
    ratio_E: Tensor, did_EA: Tensor, behaviours: Sequence[str], positive_watch_ratio: float
) -> Tensor:
    """Which viewings count as liked: by what was done, or watched for long enough; and not disliked.

    The same rule as the snapshot's; an unknown watch time counts as watched.
    """
    did = {name: did_EA[:, i] for i, name in enumerate(behaviours)}
    watched_E = did["viewed"] & ~(ratio_E < positive_watch_ratio)
    return (watched_E | did["liked"] | did["commented"] | did["shared"] | did["followed"]) & ~did["disliked"]


def gap_buckets(second_BT: Tensor) -> Tensor:
    """log2 bucket of the minutes since the event before; bucket 0 also stands for "no event before"."""
    if not second_BT.shape[1]:
        return second_BT.clone()
    minutes_BT = second_BT.diff(dim=1, prepend=second_BT[:, :1]).clamp(min=0) / 60
    return torch.log2(1 + minutes_BT).long().clamp(max=GAP_BUCKETS - 1)


def next_positive(batch: Batch, horizon: int) -> tuple[Tensor, Tensor]:
    """For every state, one of the next `horizon` videos that the person will like, drawn evenly.

    Only videos that the person has not seen earlier in this history count: the rest is never recommended.
    What is measured is the whole next day, not the very next video: so the target is drawn from some way
    ahead.

    Returns:
        at_BS: index of the target's event (0 where there is none), and has_BS: whether there is one.
    """
    B, T = batch.mask_BT.shape
    again_BT = (batch.video_BT[:, :, None] == batch.video_BT[:, None, :]).tril(-1).any(2)
    fit_BT = batch.positive_BT & batch.mask_BT & ~again_BT
    past_BS = torch.nn.functional.pad(fit_BT.cumsum(1), (1, 0))
    left_BS = past_BS[:, -1:] - past_BS
    ahead_BS = (torch.rand(B, T + 1) * left_BS.clamp(max=horizon)).long()
    number_BT = torch.where(fit_BT, fit_BT.cumsum(1), 0)
    event_BS = torch.zeros(B, T + 1, dtype=torch.long).scatter(1, number_BT, torch.arange(T).expand(B, -1))
    has_BS = left_BS > 0
    return event_BS.gather(1, torch.where(has_BS, past_BS + ahead_BS + 1, 0)) * has_BS, has_BS
