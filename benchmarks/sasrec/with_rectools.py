"""RecTools' SASRec with its own loader, through Lightning."""

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.sasrec.contender import (
    BATCH,
    DROPOUT,
    HEADS,
    LAYERS,
    LENGTH,
    WIDTH,
    Clock,
    Data,
    Epochs,
    Options,
    main,
)


class Watched(Epochs, pytorch_lightning.Callback):
    """The clock of an epoch; RecTools trains with a copy of its trainer, but the clock is one."""

    def __deepcopy__(self, _: object) -> "Watched":
        return self


class RecTools:
    def __init__(self, data: Data, options: Options) -> None:
        if options.sampled:
            raise ValueError(
                "RecTools draws negatives for every event, which is another loss than the others'"
            )
        pytorch_lightning.seed_everything(options.seed)
        self.data, self.rate = data, options.rate
        self.dataset = Dataset.construct(
            pd.DataFrame(
                {
                    Columns.User: np.repeat(np.arange(data.users), np.diff(data.offsets)),
                    Columns.Item: data.items,
                    Columns.Weight: 1.0,
                    Columns.Datetime: pd.Timestamp("2026-01-01")
                    + pd.to_timedelta(np.arange(len(data.items)), "s"),
                }
            )
        )

    def fit(self, epochs: int, clock: Clock) -> None:
        def trainer() -> pytorch_lightning.Trainer:
            return pytorch_lightning.Trainer(
                max_epochs=epochs,
                accelerator="cpu",
                callbacks=[Watched(clock)],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )

        self.model = SASRecModel(
            n_blocks=LAYERS,
            n_heads=HEADS,
            n_factors=WIDTH,
            dropout_rate=DROPOUT,
            session_max_len=LENGTH,
            loss="softmax",
            lr=self.rate,
            batch_size=BATCH,
            epochs=epochs,
            get_trainer_func=trainer,
        )
        self.model.fit(self.dataset)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """By what it recommends: of the items that it leaves out, the score is −inf."""
        self.model.is_fitted = True  # between two epochs it is not yet said to be
        found = self.model.recommend(users, self.dataset, k=10, filter_viewed=True)
        self.model.lightning_model.train()
        scores = np.full((len(users), self.data.catalogue), -np.inf, np.float32)
        scores[np.searchsorted(users, found[Columns.User]), found[Columns.Item]] = -found[Columns.Rank]
        # What is left out stands below whatever was recommended, and a target among it has no place.
        return np.where(np.isinf(scores), -1e6, scores)


if __name__ == "__main__":
    torch.set_float32_matmul_precision("highest")
    main(RecTools)
