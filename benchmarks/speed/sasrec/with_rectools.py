"""RecTools' SASRec with its own loader, through Lightning."""

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.speed.sasrec.contender import (
    BATCH_SIZE,
    DROPOUT,
    HEADS,
    LAYERS,
    MAX_LENGTH,
    WIDTH,
    EpochTimer,
    EpochTimerCallback,
    Options,
    SequenceData,
    main,
)


class TimerCallback(EpochTimerCallback, pytorch_lightning.Callback):
    """Times the epochs. RecTools copies its trainer, but the copy keeps the same timer."""

    def __deepcopy__(self, _: object) -> "TimerCallback":
        return self


class RecTools:
    """RecTools' model and data set."""

    def __init__(self, data: SequenceData, options: Options) -> None:
        if options.sampled:
            raise ValueError(
                "RecTools' sampled loss draws negatives for each event, unlike that of the other contenders"
            )
        pytorch_lightning.seed_everything(options.seed)
        self.data, self.learning_rate = data, options.learning_rate
        self.dataset = Dataset.construct(
            pd.DataFrame(
                {
                    Columns.User: np.repeat(np.arange(data.num_users), np.diff(data.offsets)),
                    Columns.Item: data.items,
                    Columns.Weight: 1.0,
                    Columns.Datetime: pd.Timestamp("2026-01-01")
                    + pd.to_timedelta(np.arange(len(data.items)), "s"),
                }
            )
        )

    def fit(self, epochs: int, timer: EpochTimer) -> None:
        def trainer() -> pytorch_lightning.Trainer:
            return pytorch_lightning.Trainer(
                max_epochs=epochs,
                accelerator="cpu",
                callbacks=[TimerCallback(timer)],
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
            session_max_len=MAX_LENGTH,
            loss="softmax",
            lr=self.learning_rate,
            batch_size=BATCH_SIZE,
            epochs=epochs,
            get_trainer_func=trainer,
        )
        self.model.fit(self.dataset)

    def score_users(self, users: np.ndarray) -> np.ndarray:
        """Score items by their rank among the first 10 recommendations. All others get −1e6."""
        self.model.is_fitted = True  # between two epochs it is still False
        recommendations = self.model.recommend(users, self.dataset, k=10, filter_viewed=True)
        self.model.lightning_model.train()
        scores = np.full((len(users), self.data.num_items), -np.inf, np.float32)
        scores[
            np.searchsorted(users, recommendations[Columns.User]), recommendations[Columns.Item]
        ] = -recommendations[Columns.Rank]
        # All other items rank below the recommended ones.
        return np.where(np.isinf(scores), -1e6, scores)


if __name__ == "__main__":
    torch.set_float32_matmul_precision("highest")
    main(RecTools)
