"""The interest model on IDs only, trained by the loop of `tasks.train` with only the next-item loss."""

from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import Literal

import numpy as np
import torch

from benchmarks.speed.sasrec.contender import (
    BATCH_SIZE,
    DROPOUT,
    HEADS,
    LAYERS,
    MAX_LENGTH,
    NUM_NEGATIVES,
    WIDTH,
    EpochTimer,
    Options,
    SequenceData,
    main,
)
from core.config import load_params
from core.config.models import InterestModelConfig, ObjectiveConfig
from core.paths import PROJECT_ROOT
from core.schema import replace_nested
from models.config import ModelConfig
from models.data.items import ItemTable
from models.data.sequences import SeenItems, Sequences
from models.data.users import UserData, UserProfiles
from models.devices import supports_bf16
from models.evaluation.scoring import Scorer, score_in_chunks
from models.interest_model import InterestModel
from models.training.objective import Objective
from models.training.trainer import Callback, Trainer
from training.interest import fit_interest_model

DAY = 86_400
FIRST_DAY = date(2026, 1, 1).toordinal() - date(1970, 1, 1).toordinal()
PRECISION: Literal["bf16", "fp32"] = "bf16" if supports_bf16(torch.device("cpu")) else "fp32"


class Undercurrent:
    """The interest model as a contender."""

    def __init__(
        self,
        data: SequenceData,
        options: Options,
        width: int = WIDTH,
        layers: int = LAYERS,
        heads: int = HEADS,
    ) -> None:
        torch.manual_seed(options.seed)
        objective = ObjectiveConfig(
            ranking_weight=0.0,
            align_weight=0.0,
            anchor_weight=0.0,
            num_negatives=NUM_NEGATIVES if options.sampled else 0,
            id_dropout=0.0,
            horizon=1,
            recency_half_life_days=0.0,
        )
        self.params = replace_nested(
            load_params(PROJECT_ROOT / "params.yaml").train,
            {
                "model.warmup_epochs": 0,
                "model.objective": objective,
                "batch_size": BATCH_SIZE,
                "batch_by": "events",
                "learning_rate": options.learning_rate,
                "device": "cpu",
                "precision": PRECISION,
                "seed": options.seed,
            },
        )
        model = InterestModel(make_model_config(data, width, layers, heads))
        count_V = torch.bincount(torch.from_numpy(data.items), minlength=data.num_items)
        model.item_fusion.init_from_statistics(count_V, count_V)
        self.scorer = Scorer(model, make_item_table(data), make_user_data(data))

    def fit(self, epochs: int, timer: EpochTimer) -> None:
        assert isinstance(self.params.model, InterestModelConfig)
        objective = Objective(
            self.params.model.objective,
            last_day=0,
            alignment_rows=torch.zeros(0, dtype=torch.long),
            near_duplicate_cosine=1.0,
        )
        params = replace(self.params, epochs=epochs)
        with suppress(StopTrainingError):
            fit_interest_model(self.scorer, None, params, objective, epochs, [EpochTiming(timer)])

    def score_users(self, users: np.ndarray) -> np.ndarray:
        parts = [
            score_BV for _, score_BV, _ in score_in_chunks(self.scorer, torch.from_numpy(users), final=False)
        ]
        return torch.cat(parts).numpy()


class StopTrainingError(Exception):
    """Raised when the timer ends the training."""


class EpochTiming(Callback):
    """Stops the timer after the last step of each epoch, and starts it again for the next one.

    Work between two epochs counts to the second. No contender counts the construction of its optimizer.
    """

    def __init__(self, timer: EpochTimer) -> None:
        self.timer, self.num_steps = timer, 0

    def on_train_start(self, trainer: Trainer) -> None:
        self.timer.start()

    def on_step_start(self, trainer: Trainer, step: int, num_steps: int) -> None:
        self.num_steps = num_steps

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.progress.step < self.num_steps:
            return
        if not self.timer.stop():
            raise StopTrainingError
        self.timer.start()


def make_model_config(data: SequenceData, width: int, layers: int, heads: int) -> ModelConfig:
    """Make the configuration of a model without modalities and profiles."""
    return ModelConfig(
        model="interest",
        fusion="uniform",
        encoder="transformer",
        layers=layers,
        heads=heads,
        dropout=DROPOUT,
        positions=True,
        profile=False,
        max_length=MAX_LENGTH,
        skip_watch_ratio=0.2,
        positive_watch_ratio=0.5,
        width=width,
        modalities={},
        encoder_fingerprints={},
        behaviours=[],
        user_categorical_features={},
        user_numerical_features={},
        item_features={},
        rerank={},
        video_ids=[str(item) for item in range(data.num_items)],
    )


def make_item_table(data: SequenceData) -> ItemTable:
    """Make a table of items without modalities. Each item has an ID row."""
    nothing_VM = torch.zeros(data.num_items, 0, dtype=torch.bool)
    return ItemTable({}, nothing_VM, torch.arange(data.num_items))


def make_user_data(data: SequenceData) -> UserData:
    """Make sequences of complete watches, one minute apart, without profiles."""
    offsets, items = torch.from_numpy(data.offsets), torch.from_numpy(data.items)
    E = len(items)
    sequences = Sequences(
        offsets=offsets,
        video_E=items,
        timestamp_E=(FIRST_DAY * DAY + 60 * torch.arange(E)),
        hour_E=torch.zeros(E, dtype=torch.long),
        watch_ratio_E=torch.ones(E),
        behaviour_EA=torch.zeros(E, 0, dtype=torch.bool),
        sentiment_E=torch.full((E,), torch.nan),
        positive_E=torch.ones(E, dtype=torch.bool),
    )
    no_profiles = UserProfiles(
        torch.zeros(data.num_users, 0, dtype=torch.long), torch.zeros(data.num_users, 0)
    )
    return UserData(sequences, no_profiles, SeenItems(offsets, items))


if __name__ == "__main__":
    main(Undercurrent)
