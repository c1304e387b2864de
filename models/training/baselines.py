"""Training of the baselines, by the loop that all models share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from models.baselines.baseline import Baseline
from models.baselines.din import DIN
from models.data.items import ItemTable
from models.data.positives import known_positives_by_user
from models.data.sequences import Sequences
from models.evaluation.metrics import auc
from models.evaluation.scoring import Scorer
from models.retrieval.full_ranking import CHUNK_USERS
from models.training.federated import FederatedSettings
from models.training.private import PrivacySettings
from models.training.trainer import SeedSteps
from models.training.user_task import UserTask
from models.training.user_trainers import UserTrainingSettings, user_trainer


class BaselineTrainingSettings(UserTrainingSettings, Protocol):
    """The settings of section `train` of params.yaml that the training of a baseline reads.

    Attributes:
        epochs: Most epochs to train.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
    """

    @property
    def epochs(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


@dataclass(frozen=True)
class BaselineTrainingConfig:
    """`BaselineTrainingSettings` of a training that has no params.yaml."""

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip_norm: float
    seed: int
    batch_by: Literal["users", "events"] = "users"
    privacy: PrivacySettings | None = None
    federated: FederatedSettings | None = None


class BaselineTask(UserTask):
    """Training of a baseline: batches of users, the loss of the model, the caller's validation.

    Args:
        model: Trained in place.
        sequences: Of the training days.
        id_row_V: Row of each video's ID embedding. −1 if the video is not in training.
        config: Settings of the training.
        validate: Returns the metrics of an epoch.
        selection_metric: The metric whose highest value selects the best epoch.
    """

    def __init__(
        self,
        model: Baseline,
        sequences: Sequences,
        id_row_V: Tensor,
        config: BaselineTrainingSettings,
        validate: Callable[[], dict[str, float]],
        selection_metric: str,
    ) -> None:
        self.name = model.config.model
        self.model = self.baseline = model
        self.sequences, self.id_row_V, self.settings = sequences, id_row_V, config
        self._validate, self.selection_metric = validate, selection_metric
        # Users are sorted by their whole length, not cut at max_length. SASRec ranks better so on MovieLens.
        lengths = sequences.lengths
        self.users = lengths.nonzero().squeeze(1)
        self.lengths = lengths[self.users]

    def losses(self, users_B: Tensor) -> dict[str, Tensor]:
        batch = self.sequences.padded_batch(users_B, self.baseline.training_length)
        return {"total": self.baseline.loss(batch, self.id_row_V)}

    def validate(self) -> dict[str, float]:
        self.baseline.prepare_scoring()
        return self._validate()


def fit_baseline(
    model: Baseline,
    sequences: Sequences,
    item_table: ItemTable,
    config: BaselineTrainingSettings,
    validate: Callable[[], dict[str, float]],
    selection_metric: str,
) -> list[dict[str, float]]:
    """Train a baseline and keep the weights of its best epoch.

    A model without parameters, such as popularity, only counts. Then the curve has one row. Private training
    counts nothing, and the last epoch is kept if `validate` returns nothing.

    Args:
        model: Trained in place.
        sequences: Of the training days.
        item_table: The catalogue. A video with the ID row −1 is not in training.
        config: Settings of the training.
        validate: Returns the metrics of an epoch.
        selection_metric: The metric whose highest value selects the best epoch.

    Returns:
        The curve, as in `Trainer.fit`.

    Raises:
        FloatingPointError: A loss or gradient is not finite. The message names epoch and step.
        ValueError: There are more clients than users.
    """
    id_row_V = item_table.id_row_V
    if not config.privacy:
        model.init_from_statistics(known_positives_by_user(sequences, id_row_V))
    model.init_from_content(item_table)
    if not (parameters := list(model.parameters())):
        return [{"epoch": 0, **validate()}]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    task = BaselineTask(model, sequences, id_row_V, config, validate, selection_metric)
    return user_trainer(task, optimizer, config, config.epochs, [SeedSteps(config.seed)]).fit()


@torch.no_grad()
def positive_auc(scorer: Scorer, user_N: Tensor, row_N: Tensor, positive_N: Tensor) -> dict[str, float]:
    """Return the AUC of DIN's logit of a positive over these interactions.

    Args:
        scorer: Holds a `DIN`.
        user_N: Row of the user of each interaction.
        row_N: Row of the video of each interaction.
        positive_N: Bool, whether the interaction is positive.

    Returns:
        `auc`. Empty if all or none of the interactions are positive.
    """
    model = scorer.model.eval()
    assert isinstance(model, DIN)
    items, logits = model.encode_items(scorer.item_table), []
    for user_n, row_n in zip(user_N.split(CHUNK_USERS), row_N.split(CHUNK_USERS), strict=True):
        logits.append(model.positive_logits(scorer.encode_user(user_n, items), items, row_n))
    value = auc(torch.cat(logits).double().numpy(), positive_N.numpy()) if logits else None
    return {} if value is None else {"auc": value}
