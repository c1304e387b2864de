"""RecTools' SASRec and eSASRec, the peers of `benchmarks.quality.esasrec`.

The module needs numpy, pandas and RecTools, and nothing of the project, because it runs in its own
environment. `python -m benchmarks.quality.rectools_sasrec FOLDER` reads what `Comparison.save` wrote and
writes `ranks.npy` and `curve.json` next to it.
"""

import argparse
import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

UNRANKED = 1_000_000  # the rank of a target that is not among the first MAX_RANK
MAX_RANK = 20
VALIDATION_K = 10


@dataclass(frozen=True)
class SequentialSettings:
    """The settings that both sides share.

    Attributes:
        name: sasrec or esasrec.
        epochs: most epochs.
        patience: epochs without a better validation NDCG@10 after which training stops.
        batch_size: users in a batch.
    """

    name: str
    width: int
    layers: int
    heads: int
    dropout: float
    max_length: int
    num_negatives: int
    learning_rate: float
    batch_size: int
    epochs: int
    patience: int
    seed: int


@dataclass(frozen=True)
class Comparison:
    """The data of a comparison. All users have one target in each fold.

    Attributes:
        train_offsets, train_items: user u has `train_items[train_offsets[u] : train_offsets[u + 1]]`, oldest
            first.
        valid_U, test_U: the target of each user in each fold. The test sequence ends with `valid_U`.
        settings: of the model.
    """

    train_offsets: np.ndarray
    train_items: np.ndarray
    valid_U: np.ndarray
    test_U: np.ndarray
    settings: SequentialSettings

    def save(self, folder: Path) -> None:
        """Write the data and the settings to a folder."""
        arrays = {name: value for name, value in vars(self).items() if name != "settings"}
        np.savez(folder / "data.npz", **arrays)
        (folder / "settings.json").write_text(json.dumps(asdict(self.settings)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Comparison":
        """Read what `save` wrote."""
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        with np.load(folder / "data.npz") as arrays:
            return cls(**arrays, settings=SequentialSettings(**settings))


class RecToolsModel:
    """A model of RecTools that is validated after each epoch and keeps the best weights."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.settings = comparison, comparison.settings
        lengths = np.diff(comparison.train_offsets)
        user_E = np.repeat(np.arange(len(lengths)), lengths)
        time_E = np.arange(len(user_E)) - np.repeat(comparison.train_offsets[:-1], lengths)
        self.train_data = make_dataset(user_E, comparison.train_items, time_E)
        self.test_data = make_dataset(
            np.concatenate([user_E, np.arange(len(lengths))]),
            np.concatenate([comparison.train_items, comparison.valid_U]),
            np.concatenate([time_E, lengths]),
        )
        self.curve: list[dict[str, float]] = []
        self.best_weights: dict[str, Any] = {}

    def fit(self) -> None:
        """Train until validation stops improving, and load the best weights."""
        import pytorch_lightning
        from rectools.models import SASRecModel
        from rectools.models.nn.item_net import IdEmbeddingsItemNet
        from rectools.models.nn.transformers.ligr import LiGRLayers

        s = self.settings
        pytorch_lightning.seed_everything(s.seed)
        self.model = SASRecModel(
            n_blocks=s.layers,
            n_heads=s.heads,
            n_factors=s.width,
            dropout_rate=s.dropout,
            session_max_len=s.max_length,
            loss="sampled_softmax" if s.num_negatives else "softmax",
            n_negatives=s.num_negatives or None,
            lr=s.learning_rate,
            batch_size=s.batch_size,
            epochs=s.epochs,
            item_net_block_types=(IdEmbeddingsItemNet,),
            get_trainer_func=self._make_trainer,
            **({"transformer_layers_type": LiGRLayers} if s.name == "esasrec" else {}),
        )
        self.model.fit(self.train_data)
        self.model.lightning_model.load_state_dict(self.best_weights)

    def _make_trainer(self) -> Any:
        import pytorch_lightning

        owner = self

        class ValidationCallback(pytorch_lightning.Callback):
            def __deepcopy__(self, _: object) -> "ValidationCallback":
                return self  # RecTools copies its trainer, but the callback reports to one owner

            def on_train_epoch_end(self, trainer: Any, *_: object) -> None:
                trainer.should_stop = owner.validate()

        return pytorch_lightning.Trainer(
            max_epochs=self.settings.epochs,
            accelerator="cpu",
            callbacks=[ValidationCallback()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def validate(self) -> bool:
        """Add an epoch to the curve. Returns whether training stops."""
        self.model.is_fitted = True  # between two epochs it is still False
        rank_U = self.ranks(self.train_data, self.comparison.valid_U, VALIDATION_K)
        self.model.lightning_model.train()
        value = float(np.where(rank_U <= VALIDATION_K, 1 / np.log2(rank_U + 1), 0.0).mean())
        values = [row["ndcg@10"] for row in self.curve]
        if value > max(values, default=-1.0):
            self.best_weights = copy.deepcopy(self.model.lightning_model.state_dict())
        self.curve.append({"epoch": len(self.curve) + 1, "ndcg@10": value})
        print(f"rectools {self.settings.name} epoch {len(self.curve)} ndcg@10 {value:.4f}", flush=True)
        return len(values) - int(np.argmax([*values, value])) >= self.settings.patience

    def ranks(self, dataset: Any, target_U: np.ndarray, k: int) -> np.ndarray:
        """Return the rank of each user's target, from 1, or UNRANKED. Items of the sequence are left out."""
        from rectools import Columns

        users = np.arange(len(target_U))
        table = self.model.recommend(users, dataset, k=k, filter_viewed=True)
        hits = table[table[Columns.Item].to_numpy() == target_U[table[Columns.User].to_numpy()]]
        rank_U = np.full(len(target_U), UNRANKED)
        rank_U[hits[Columns.User].to_numpy()] = hits[Columns.Rank].to_numpy()
        return rank_U


def make_dataset(user_E: np.ndarray, item_E: np.ndarray, time_E: np.ndarray) -> Any:
    """Make a data set of RecTools.

    Args:
        user_E, item_E: user and item of each interaction.
        time_E: position of each interaction in the sequence of its user.
    """
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset

    start = pd.Timestamp("2026-01-01")
    return Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: user_E,
                Columns.Item: item_E,
                Columns.Weight: 1.0,
                Columns.Datetime: start + pd.to_timedelta(time_E, "s"),
            }
        )
    )


def main() -> None:
    """Train the model of a folder and write its ranks and its curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with data.npz and settings.json")
    folder = parser.parse_args().folder
    model = RecToolsModel(Comparison.load(folder))
    model.fit()
    np.save(folder / "ranks.npy", model.ranks(model.test_data, model.comparison.test_U, MAX_RANK))
    (folder / "curve.json").write_text(json.dumps(model.curve), encoding="utf-8")


if __name__ == "__main__":
    main()
