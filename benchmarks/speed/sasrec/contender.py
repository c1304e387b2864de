"""What all contenders of `benchmarks.speed.training` share: data, command line, timer and metric.

The module needs only numpy and nothing of the project, because each contender runs in its own environment.
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

MAX_LENGTH = 50  # a model reads the newest events
WIDTH, LAYERS, HEADS, BATCH_SIZE = 64, 2, 2, 256
DROPOUT, LEARNING_RATE = 0.2, 1e-3
NUM_NEGATIVES = 1024  # of the sampled loss
NUM_EVALUATED_USERS = 4000  # the first users are evaluated
EVALUATION_BATCH_SIZE = 250  # users that are scored at a time
K = 10  # cut-off of NDCG


@dataclass(frozen=True)
class SequenceData:
    """The sequences of all users.

    Attributes:
        offsets, items: user u has `items[offsets[u] : offsets[u + 1]]`, oldest first.
        next_U: the item after each user's sequence, which is the target.
        num_items: number of items.
    """

    offsets: np.ndarray
    items: np.ndarray
    next_U: np.ndarray
    num_items: int

    @property
    def num_users(self) -> int:
        return len(self.offsets) - 1

    def sequence(self, user: int) -> np.ndarray:
        """Return the items of a user, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def save(self, path: Path) -> None:
        """Write the data to an .npz file."""
        np.savez(path, offsets=self.offsets, items=self.items, next_U=self.next_U, catalogue=self.num_items)

    @classmethod
    def load(cls, path: Path) -> "SequenceData":
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["offsets"], arrays["items"], arrays["next_U"], int(arrays["catalogue"]))


class Contender(Protocol):
    """A model that is trained and then scores items."""

    def fit(self, epochs: int, timer: "EpochTimer") -> None:
        """Train for at most `epochs` epochs.

        Start the timer before all work of an epoch and stop it after the epoch. End if `timer.stop()` is
        false.
        """

    def score_users(self, users: np.ndarray) -> np.ndarray:
        """Score all items for these users from their whole sequences, [users, items]."""


@dataclass(frozen=True)
class Options:
    """Options of the command line.

    Attributes:
        sampled: the loss has NUM_NEGATIVES negatives instead of the whole catalogue.
        folder: folder for temporary files.
    """

    sampled: bool
    seed: int
    folder: Path
    learning_rate: float = LEARNING_RATE


def main(make_contender: Callable[[SequenceData, Options], Contender]) -> None:
    """Train and evaluate a contender on the data of a folder, and print its result as one line of JSON.

    Args:
        make_contender: makes the model from data and options.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="folder with data.npz, also for temporary files")
    parser.add_argument("--epochs", type=int, required=True, help="largest number of epochs")
    parser.add_argument("--seed", type=int, required=True, help="random seed")
    parser.add_argument("--sampled", action="store_true", help=f"loss with {NUM_NEGATIVES} negatives")
    parser.add_argument("--rate", type=float, default=LEARNING_RATE, help="learning rate")
    parser.add_argument("--level", type=float, help=f"evaluate each epoch and stop at this NDCG@{K}")
    parser.add_argument("--within", type=float, default=math.inf, help="stop after these seconds of training")
    args = parser.parse_args()
    data = SequenceData.load(args.folder / "data.npz")
    contender = make_contender(data, Options(args.sampled, args.seed, args.folder, args.rate))
    evaluate = None if args.level is None else lambda: compute_ndcg(contender, data)
    timer = EpochTimer(evaluate, args.level or math.inf, args.within)
    contender.fit(args.epochs, timer)
    # Without --level the peak excludes evaluation.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result = {
        "seconds": timer.seconds,
        f"ndcg@{K}": timer.ndcg or [compute_ndcg(contender, data)],
        "peak_mib": peak,
    }
    print(json.dumps(result), flush=True)


def compute_ndcg(contender: Contender, data: SequenceData) -> float:
    """Return the mean NDCG@K of the next item among all unseen items. Ties count as above it."""
    users, gains = np.arange(min(NUM_EVALUATED_USERS, data.num_users)), []
    for batch in np.split(users, range(EVALUATION_BATCH_SIZE, len(users), EVALUATION_BATCH_SIZE)):
        scores = np.array(contender.score_users(batch), np.float32)
        for user, score in zip(batch.tolist(), scores, strict=True):
            target, seen = data.next_U[user], data.sequence(user)
            if target in seen:
                continue
            target_score = score[target]
            score[seen] = -np.inf
            rank = int((score >= target_score).sum()) - 1
            gains.append(1 / np.log2(rank + 2) if rank < K else 0.0)
    return float(np.mean(gains))


class EpochTimer:
    """Measures the seconds of each epoch, without evaluation.

    Args:
        evaluate: returns NDCG; it is called after each epoch.
        target_ndcg: training stops at this NDCG.
        max_seconds: training stops after so many seconds in all.

    Attributes:
        seconds: seconds of each epoch.
        ndcg: NDCG after each epoch, empty without `evaluate`.
    """

    def __init__(
        self,
        evaluate: Callable[[], float] | None = None,
        target_ndcg: float = math.inf,
        max_seconds: float = math.inf,
    ) -> None:
        self.evaluate, self.target_ndcg, self.max_seconds = evaluate, target_ndcg, max_seconds
        self.seconds: list[float] = []
        self.ndcg: list[float] = []
        self._started = 0.0

    def start(self) -> None:
        """Start an epoch."""
        self._started = time.perf_counter()

    def stop(self) -> bool:
        """End an epoch. Returns whether training goes on."""
        self.seconds.append(time.perf_counter() - self._started)
        if self.evaluate:
            self.ndcg.append(self.evaluate())
        return max(self.ndcg, default=0.0) < self.target_ndcg and sum(self.seconds) < self.max_seconds


class EpochTimerCallback:
    """Mixin for a Lightning callback that drives a timer. It fits both packages of Lightning."""

    def __init__(self, timer: EpochTimer) -> None:
        self.timer = timer

    def on_train_epoch_start(self, *_: object) -> None:
        self.timer.start()

    def on_train_epoch_end(self, trainer: Any, *_: object) -> None:
        trainer.should_stop = not self.timer.stop()
