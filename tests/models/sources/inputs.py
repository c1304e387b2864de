"""Small inputs of sources: users as lists of events, and a catalogue."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.sequences import SECONDS_PER_DAY, SequenceBatch, Sequences
from models.sources import Source
from tests.support.model_inputs import BEHAVIOURS, all_users


class Event(NamedTuple):
    video: int
    positive: bool = True
    day: float = 0
    followed: bool = False
    watch_ratio: float = float("nan")


def to_sequences(users: Sequence[Sequence[Event]]) -> Sequences:
    events = [event for user in users for event in user]
    behaviour_EA = torch.zeros(len(events), len(BEHAVIOURS), dtype=torch.bool)
    behaviour_EA[:, BEHAVIOURS.index("followed")] = torch.tensor([event.followed for event in events]).bool()
    return Sequences(
        offsets=torch.tensor([0, *map(len, users)]).cumsum(0),
        video_E=torch.tensor([event.video for event in events], dtype=torch.long),
        timestamp_E=(torch.tensor([event.day for event in events]) * SECONDS_PER_DAY).long(),
        hour_E=torch.zeros(len(events), dtype=torch.long),
        watch_ratio_E=torch.tensor([event.watch_ratio for event in events]),
        behaviour_EA=behaviour_EA,
        sentiment_E=torch.full((len(events),), torch.nan),
        positive_E=torch.tensor([event.positive for event in events], dtype=torch.bool),
    )


def likes(*videos: int) -> list[Event]:
    return [Event(video) for video in videos]


def catalogue(id_rows: Sequence[int], **columns: Tensor) -> ItemTable:
    """A catalogue without content; the ID row of each video."""
    return ItemTable({}, torch.zeros(len(id_rows), 0, dtype=torch.bool), torch.tensor(id_rows), **columns)


def batch_of(users: Sequence[Sequence[Event]]) -> SequenceBatch:
    sequences = to_sequences(users)
    return sequences.padded_batch(all_users(sequences), 50)


def score(source: Source, users: Sequence[Sequence[Event]], items: ItemTable) -> Tensor:
    return source(batch_of(users), items)
