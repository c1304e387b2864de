"""What every contender of `benchmarks.train` shares: the sequences, the clock, the measure, the last line.

It needs numpy and nothing of ours, for each contender runs in an environment of its own.
"""

import argparse
import json
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

LENGTH = 50  # newest events that a model reads
WIDTH, LAYERS, HEADS, BATCH = 64, 2, 2, 256
DROPOUT, RATE = 0.2, 1e-3
NEGATIVES = 1024  # of the sampled loss
JUDGED = 4000  # people whose next item is ranked
AT_ONCE = 250  # of them
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

    def fit(self, epochs: int, clock: "Clock") -> None:
        """Train; the clock runs in each epoch, with all that an epoch needs, and may say to stop after it."""

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
    parser.add_argument("--epochs", type=int, required=True, help="at most")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--sampled", action="store_true")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate")
    parser.add_argument("--level", type=float, help=f"judge each epoch, and stop at this NDCG@{K}")
    parser.add_argument(
        "--within", type=float, default=math.inf, help="stop after so many seconds of training"
    )
    args = parser.parse_args()
    data = Data.load(args.folder / "data.npz")
    contender = make(data, Options(args.sampled, args.seed, args.folder, args.rate))
    judge = None if args.level is None else lambda: ndcg(contender, data)
    clock = Clock(judge, args.level or math.inf, args.within)
    contender.fit(args.epochs, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # without --level before judging
    found = {
        "seconds": clock.seconds,
        f"ndcg@{K}": clock.ndcg or [ndcg(contender, data)],
        "peak_mib": peak,
    }
    print(json.dumps(found), flush=True)


def ndcg(contender: Contender, data: Data) -> float:
    """Mean NDCG@K of the next item among all items but those of the history; ties count against it."""
    users, gains = np.arange(min(JUDGED, data.users)), []
    for some in np.split(users, range(AT_ONCE, len(users), AT_ONCE)):
        scores = np.array(contender.scores(some), np.float32)
        for user, score in zip(some.tolist(), scores, strict=True):
            target, seen = data.next_U[user], data.history(user)
            if target in seen:
                continue
            own = score[target]
            score[seen] = -np.inf
            rank = int((score >= own).sum()) - 1
            gains.append(1 / np.log2(rank + 2) if rank < K else 0.0)
    return float(np.mean(gains))


class Clock:
    """Seconds of each epoch and, if somebody is to judge, what was learned by its end; that is not counted.

    Enough is what reaches `level`, or takes more than `within` seconds in all.
    """

    def __init__(
        self,
        judge: Callable[[], float] | None = None,
        level: float = math.inf,
        within: float = math.inf,
    ) -> None:
        self.judge, self.level, self.within = judge, level, within
        self.seconds: list[float] = []
        self.ndcg: list[float] = []
        self._started = 0.0

    def start(self) -> None:
        """An epoch begins."""
        self._started = time.perf_counter()

    def stop(self) -> bool:
        """An epoch is over; returns whether another is wanted."""
        self.seconds.append(time.perf_counter() - self._started)
        if self.judge:
            self.ndcg.append(self.judge())
        return max(self.ndcg, default=0.0) < self.level and sum(self.seconds) < self.within


class Epochs:
    """Lets a Lightning trainer drive a clock, of either of its two packages; mixed into its Callback."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, *_: object) -> None:
        self.clock.start()

    def on_train_epoch_end(self, trainer: Any, *_: object) -> None:
        trainer.should_stop = not self.clock.stop()
