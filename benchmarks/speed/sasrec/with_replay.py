"""RePlay's SasRec with its own loader, through Lightning."""

import lightning
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.loss import CESampled
from replay.nn.sequential import SasRec
from replay.nn.transform import UniformNegativeSamplingTransform
from replay.nn.transform.template import make_default_sasrec_transforms

from benchmarks.speed.sasrec.contender import (
    BATCH_SIZE,
    DROPOUT,
    HEADS,
    LAYERS,
    MAX_LENGTH,
    NUM_NEGATIVES,
    WIDTH,
    EpochTimer,
    EpochTimerCallback,
    Options,
    SequenceData,
    main,
)


class TimerCallback(EpochTimerCallback, lightning.Callback):
    """Times the epochs."""


class RePlay:
    """RePlay's model and loader."""

    def __init__(self, data: SequenceData, options: Options) -> None:
        lightning.seed_everything(options.seed)
        self.data, self.path = data, options.folder / "replay.parquet"
        self.schema = TensorSchema(
            [
                TensorFeatureInfo(
                    "item_id",
                    is_seq=True,
                    feature_type=FeatureType.CATEGORICAL,
                    embedding_dim=WIDTH,
                    padding_value=data.num_items,
                    cardinality=data.num_items,
                    feature_hint=FeatureHint.ITEM_ID,
                    feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
                )
            ]
        )
        model = SasRec.from_params(
            self.schema, WIDTH, HEADS, LAYERS, MAX_LENGTH, DROPOUT, hidden_dim=4 * WIDTH
        )
        transforms = make_default_sasrec_transforms(self.schema)
        if options.sampled:
            model.loss = CESampled(ignore_index=data.num_items)
            model.loss.logits_callback = model.get_logits
            transforms["train"].append(UniformNegativeSamplingTransform(data.num_items, NUM_NEGATIVES))
        self.model, self.transforms = (
            LightningModule(model, OptimizerFactory(learning_rate=options.learning_rate)),
            transforms,
        )

    def fit(self, epochs: int, timer: EpochTimer) -> None:
        items = pa.ListArray.from_arrays(pa.array(self.data.offsets, pa.int32()), pa.array(self.data.items))
        pq.write_table(pa.table({"item_id": items}), self.path)
        shape = {"item_id": {"shape": MAX_LENGTH + 1, "padding": self.data.num_items}}
        loader = ParquetModule(
            BATCH_SIZE, {"train": shape}, {"train": self.transforms["train"]}, train_path=str(self.path)
        )
        trainer = lightning.Trainer(
            max_epochs=epochs,
            limit_val_batches=0,
            accelerator="cpu",
            callbacks=[TimerCallback(timer)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(self.model, loader)

    @torch.inference_mode()
    def score_users(self, users: np.ndarray) -> np.ndarray:
        self.model.eval()
        item_BT = np.full((len(users), MAX_LENGTH), self.data.num_items)
        for row, user in enumerate(users):
            sequence = self.data.sequence(user)[-MAX_LENGTH:]
            item_BT[row, MAX_LENGTH - len(sequence) :] = sequence
        items = torch.from_numpy(item_BT)
        batch = {"feature_tensors": {"item_id": items}, "padding_mask": items != self.data.num_items}
        scores = self.model(batch)["logits"].numpy()[:, : self.data.num_items]
        self.model.train()
        return scores


if __name__ == "__main__":
    main(RePlay)
