"""Our model on IDs alone, through the loop of `tasks.train`: the next item as target, no other loss."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.sasrec.contender import (
    BATCH,
    DROPOUT,
    HEADS,
    LAYERS,
    LENGTH,
    NEGATIVES,
    WIDTH,
    Clock,
    Data,
    Options,
    main,
)
from contracts.params import load
from contracts.place import PROJECT
from models.devices import multiplies_bf16
from models.fusion import Catalogue
from models.histories import Histories, Seen
from models.interest import InterestModel, Spec
from models.profiles import Profiles
from models.scoring import Scorer, Targets, chunks
from models.training import Objective, People, batches
from tasks.fitting import Checkpoint, Progress, fit

DAY = 86_400
FIRST = date(2026, 1, 1).toordinal() - date(1970, 1, 1).toordinal()
PRECISION: Literal["bf16", "fp32"] = "bf16" if multiplies_bf16(torch.device("cpu")) else "fp32"


class Ours:
    def __init__(
        self, data: Data, options: Options, width: int = WIDTH, layers: int = LAYERS, heads: int = HEADS
    ) -> None:
        torch.manual_seed(options.seed)
        train = load(PROJECT / "params.yaml").train
        self.params = replace(
            train,
            dropout=DROPOUT,
            max_length=LENGTH,
            batch_size=BATCH,
            batch_of="events",
            learning_rate=options.rate,
            ranking_weight=0.0,
            align_weight=0.0,
            anchor_weight=0.0,
            id_dropout=0.0,
            horizon=1,
            half_life_days=0.0,
            warmup_epochs=0,
            negatives=NEGATIVES if options.sampled else 0,
            device="cpu",
            precision=PRECISION,
            seed=options.seed,
        )
        model = InterestModel(spec(data, width, layers, heads))
        views_V = torch.bincount(torch.from_numpy(data.items), minlength=data.catalogue)
        model.fusion.start_from(views_V, views_V)
        self.scorer = Scorer(model, catalogue(data), people(data))

    def fit(self, epochs: int, clock: Clock) -> None:
        nobody = Targets(*torch.zeros(2, 0, dtype=torch.long))
        objective = Objective(
            ranking_weight=0.0,
            align_weight=0.0,
            anchor_weight=0.0,
            negatives=self.params.negatives,
            id_dropout=0.0,
            horizon=self.params.horizon,
            half_life_days=0.0,
            last_day=0,
            aligned=torch.zeros(0, dtype=torch.long),
            twin_cosine=1.0,
        )
        params = replace(self.params, epochs=epochs)
        with suppress(EnoughError):
            steps = [self.steps(epoch) for epoch in range(epochs)]
            fit(self.scorer, nobody, params, objective, Watch(clock, steps))

    def steps(self, epoch: int) -> int:
        """Batches of an epoch."""
        lengths = self.scorer.people.histories.lengths.clamp(max=LENGTH)
        users = lengths.nonzero().squeeze(1)
        cut = (self.params.batch_size, self.params.batch_of)
        return len(list(batches(users, lengths[users], *cut, self.params.seed, epoch)))

    def scores(self, users: np.ndarray) -> np.ndarray:
        parts = [score_BV for _, score_BV, _ in chunks(self.scorer, torch.from_numpy(users), rerank=False)]
        return torch.cat(parts).numpy()


class EnoughError(Exception):
    """The clock says that no further epoch is wanted."""


class Watch(Checkpoint):
    """A checkpoint that is never written: it tells the clock when the last step of each epoch was done.

    What closes an epoch counts to the next one. No contender counts how long its optimiser takes to make.
    """

    def __init__(self, clock: Clock, steps: Sequence[int]) -> None:
        super().__init__(Path("never written"), "")
        self.clock, self.steps = clock, steps

    def load(self, *_: Any) -> None:
        """Nothing to go on from: the first epoch begins."""
        self.clock.start()

    def save(self, progress: Progress, *_: Any) -> None:
        if progress.step < self.steps[progress.epoch]:
            return
        if not self.clock.stop():
            raise EnoughError
        self.clock.start()


def spec(data: Data, width: int, layers: int, heads: int) -> Spec:
    return Spec(
        model="interest",
        fusion="uniform",
        encoder="transformer",
        layers=layers,
        heads=heads,
        dropout=DROPOUT,
        positions=True,
        profile=False,
        max_length=LENGTH,
        skip_below=0.2,
        positive_watch_ratio=0.5,
        width=width,
        modalities={},
        fingerprints={},
        behaviours=[],
        categories={},
        numbers={},
        video_numbers={},
        rerank={},
        video_ids=[str(item) for item in range(data.catalogue)],
    )


def catalogue(data: Data) -> Catalogue:
    nothing_VM = torch.zeros(data.catalogue, 0, dtype=torch.bool)
    return Catalogue({}, nothing_VM, torch.arange(data.catalogue))


def people(data: Data) -> People:
    offsets, items = torch.from_numpy(data.offsets), torch.from_numpy(data.items)
    E = len(items)
    histories = Histories(
        offsets=offsets,
        video_E=items,
        second_E=(FIRST * DAY + 60 * torch.arange(E)),
        hour_E=torch.zeros(E, dtype=torch.long),
        ratio_E=torch.ones(E),
        did_EA=torch.zeros(E, 0, dtype=torch.bool),
        sentiment_E=torch.full((E,), torch.nan),
        positive_E=torch.ones(E, dtype=torch.bool),
    )
    nothing = Profiles(torch.zeros(data.users, 0, dtype=torch.long), torch.zeros(data.users, 0))
    return People(histories, nothing, Seen(offsets, items))


if __name__ == "__main__":
    main(Ours)
