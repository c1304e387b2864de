"""What every contender of `benchmarks.train` shares: the sequences, the clock, the measure, the last line.

It needs numpy and nothing of ours, for each contender runs in an environment of its own.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

LENGTH = 50  # newest events that a model reads
WIDTH, LAYERS, HEADS, BATCH = 64, 2, 2, 256
DROPOUT, RATE = 0.2, 1e-3
NEGATIVES = 1024  # of the sampled loss
JUDGED = 1000  # people whose next item is ranked
K = 10


@dataclass(frozen=True)
class Data:
    """What people did, oldest first: `items[offsets[u] : offsets[u + 1]]`, and what each did next."""

    offsets: np.ndarray
    items: np.ndarray
    next_U: np.ndarray
    catalogue: int

    @property
    def users(self) -> int:
        return len(self.offsets) - 1

    def history(self, user: int) -> np.ndarray:
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def save(self, path: Path) -> None:
        np.savez(path, offsets=self.offsets, items=self.items, next_U=self.next_U, catalogue=self.catalogue)

    @classmethod
    def load(cls, path: Path) -> "Data":
        with np.load(path) as held:
            return cls(held["offsets"], held["items"], held["next_U"], int(held["catalogue"]))


class Contender(Protocol):
    """A model that learns."""

    def fit(self, epochs: int) -> Sequence[float]:
        """Train; returns the seconds of each epoch, everything included that an epoch needs."""

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Of every item for these users, from their whole history: [users, items]."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for. sampled: the loss has NEGATIVES negatives, not the whole catalogue."""

    sampled: bool
    seed: int
    folder: Path
    rate: float = RATE


def main(make: Callable[[Data, Options], Contender]) -> None:
    """Train a contender on the data of a folder, judge it, and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="with data.npz; a contender may leave files there")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--sampled", action="store_true")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate")
    args = parser.parse_args()
    data = Data.load(args.folder / "data.npz")
    contender = make(data, Options(args.sampled, args.seed, args.folder, args.rate))
    seconds = list(contender.fit(args.epochs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # before judging, which holds scores
    found = {
        "sequences_per_s": [data.users / s for s in seconds],
        f"ndcg@{K}": ndcg(contender, data),
        "peak_mib": peak,
    }
    print(json.dumps(found), flush=True)


def ndcg(contender: Contender, data: Data) -> float:
    """Mean NDCG@K of the next item among all items but those of the history; ties count against it."""
    users = np.arange(min(JUDGED, data.users))
    scores = np.array(contender.scores(users), np.float32)
    gains = []
    for user, score in zip(users.tolist(), scores, strict=True):
        target, seen = data.next_U[user], data.history(user)
        if target in seen:
            continue
        own = score[target]
        score[seen] = -np.inf
        rank = int((score >= own).sum()) - 1
        gains.append(1 / np.log2(rank + 2) if rank < K else 0.0)
    return float(np.mean(gains))


class Clock:
    """Seconds between each `start` and the `stop` after it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self) -> None:
        self.seconds.append(time.perf_counter() - self._started)


class EpochClock(Clock):
    """A clock that a Lightning trainer drives, of either of its two packages; mixed into its Callback."""

    def on_train_epoch_start(self, *_: object) -> None:
        self.start()

    def on_train_epoch_end(self, *_: object) -> None:
        self.stop()
