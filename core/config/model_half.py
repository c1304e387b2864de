"""The sections of params.yaml for the model half, from snapshot to report."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from core.config.models import AnyModelConfig
from core.schema import (
    Bounds,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
)


@dataclass(frozen=True)
class SnapshotConfig:
    """What the model half reads of the lake.

    Attributes:
        positive_watch_ratio: watch ratio from which an interaction is a positive.
        profile_categories, profile_numbers: profile columns that are read as categories or as numbers.
        segments: whether the vectors of video segments are written, too. The source `segment_interest` of
            `train.model.sources` reads them.
    """

    positive_watch_ratio: NonNegativeFloat
    profile_categories: tuple[str, ...]
    profile_numbers: tuple[str, ...]
    segments: bool


@dataclass(frozen=True)
class AlignConfig:
    """Contrastive alignment of the modalities (InfoNCE) in a shared space.

    Attributes:
        width: width D of the shared space.
        epochs, learning_rate: epochs and learning rate of the training.
        batch_size: videos in an optimizer step.
        temperature: initial value of the learned temperature, unless the champion has one. It is learned
            within the same bounds.
        near_duplicate_cosine: videos with at least this cosine in one modality are not negatives of each
            other. Above 1, all videos are negatives.
        anchor_weight: weight of the distance to the champion's projections; InfoNCE has weight 1.
        max_embedding_drift: bound of the embedding drift (1 − cosine) of 95 % of the probe videos from the
            champion.
        seed: seed of initial weights and random draws.
    """

    width: PositiveInt
    epochs: NonNegativeInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    temperature: Annotated[float, Bounds(0.01, 1, "from 0.01 to 1")]
    near_duplicate_cosine: FiniteFloat
    anchor_weight: NonNegativeFloat
    max_embedding_drift: NonNegativeFloat
    seed: Seed


@dataclass(frozen=True)
class PrivateTrainingConfig:
    """Training by DP-SGD with the user as the unit of privacy (docs/how-to/train-privately.md).

    `train.clip_norm` is the bound of each user's gradient. The number of epochs is fixed.

    Attributes:
        noise_multiplier: standard deviation of the noise in units of `train.clip_norm`. ε follows from it.
        delta: δ, the probability that the bound e^ε does not hold. It should be far below 1 / users.
    """

    noise_multiplier: Annotated[float, Bounds(0.01, 1000, "from 0.01 to 1000")]
    delta: Annotated[float, Bounds(1e-30, 0.1, "from 1e-30 to 0.1")]


@dataclass(frozen=True)
class FederatedTrainingConfig:
    """Training by federated averaging. A round takes the place of an epoch.

    Attributes:
        clients: clients among which the users are divided at random.
        local_epochs: epochs that each client trains in a round.
    """

    clients: PositiveInt
    local_epochs: PositiveInt


@dataclass(frozen=True)
class TrainConfig:
    """The model and its training.

    `epochs` to `clip_norm` belong to the training loop. All models share them. Popularity and ItemCF only
    count and take no step.

    Attributes:
        model: the interest model (ours), or a baseline in its place. `name` selects it. A baseline reads IDs
            only. It is trained, saved and evaluated in the same way.
        epochs: most epochs.
        patience: epochs without a better validation metric after which training stops.
        batch_size: users in an optimizer step.
        batch_by: what every optimizer step holds equally many of. With `users`, each user counts the same.
            With `events`, each event counts the same, and a step holds those of batch_size users on average.
        learning_rate: highest learning rate.
        weight_decay: weight decay of AdamW.
        clip_norm: bound of the gradient norm. In private training it is that of each user.
        device: `cpu`, `cuda` (one GPU for each process) or `auto` (a GPU if there is one). A baseline is
            trained on the CPU and refuses `cuda`.
        precision: precision of matrix products in training: `fp32`, `bf16` or `auto` (bf16 if the GPU
            supports it). A baseline refuses `bf16`.
        seed: seed of initial weights and random draws.
        privacy: private training. null: off.
        federated: federated training. null: off.
    """

    model: AnyModelConfig
    epochs: PositiveInt
    patience: PositiveInt
    batch_size: PositiveInt
    batch_by: Literal["users", "events"]
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    clip_norm: PositiveFloat
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    seed: Seed
    privacy: PrivateTrainingConfig | None = None
    federated: FederatedTrainingConfig | None = None


@dataclass(frozen=True)
class EvaluateConfig:
    """The evaluation of the challenger.

    Attributes:
        k: the cutoff that the gate, the slices and the differences use. It is one of `cutoffs`.
        cutoffs: cutoffs of NDCG, Recall, MRR, coverage, Gini coefficient and long-tail share.
        cold_events: a user with fewer interactions is a cold user.
        recency_half_life_days: the half-life of a positive in the baseline `trending` and in blends with it.
        bootstrap_samples, seed: samples and seed of the bootstrap intervals. The ends of a 95 % interval of
            fewer than 100 samples are too uncertain for a decision.
    """

    k: PositiveInt
    cutoffs: tuple[PositiveInt, ...]
    cold_events: NonNegativeInt
    recency_half_life_days: NonNegativeFloat
    bootstrap_samples: Annotated[int, Bounds(100, math.inf, "100 or more")]
    seed: Seed


@dataclass(frozen=True)
class GateConfig:
    """Bounds that a challenger must meet.

    Attributes:
        min_gain: the gain in NDCG@k over the champion must exceed this. The lower end of its paired bootstrap
            interval counts. Without a champion, every counted baseline takes its place.
        max_slice_loss: largest significant loss of NDCG@k in a slice. The targets of a slice of videos are
            ranked among its own videos.
        min_users: an evaluation on fewer users decides nothing. An evaluation has at most 100,000 users.
        max_calibration_error: bound for the ranking head of complete views, or of likes if the data lacks
            complete views.
        min_modality_entropy_gap, max_modality_share: bounds for collapsed modality weights α. The mean
            entropy must be at least this far below ln M. The mean share of a modality may be at most this.
        max_embedding_drift: bound of the embedding drift (1 − cosine) of 95 % of the probe videos from the
            champion.
        approval_margin: a person must approve a promotion whose gain exceeds `min_gain` by less than this.
            The lower end of the interval counts. 0: no promotion needs an approval.
        max_epsilon: bound of the ε of a challenger that was trained privately.
    """

    min_gain: FiniteFloat
    max_slice_loss: FiniteFloat
    min_users: NonNegativeInt
    max_calibration_error: NonNegativeFloat
    min_modality_entropy_gap: NonNegativeFloat
    max_modality_share: NonNegativeFloat
    max_embedding_drift: NonNegativeFloat
    approval_margin: NonNegativeFloat
    max_epsilon: PositiveFloat


@dataclass(frozen=True)
class PromoteConfig:
    """How the gate's verdict is applied.

    Attributes:
        freeze: register the challenger, but do not change the champion.
    """

    freeze: bool


@dataclass(frozen=True)
class RecordConfig:
    """The record repository.

    Attributes:
        author_name, author_email: the author of the record's commits.
    """

    author_name: str
    author_email: str


@dataclass(frozen=True)
class ReportConfig:
    """The report page of a night.

    Attributes:
        example_users: how many users the report shows in detail, at most 64.
    """

    example_users: NonNegativeInt
