"""The section train.model of params.yaml: one dataclass for each family of models, chosen by `name`.

A dataclass has exactly the keys that its models read. Any other key is refused (core/schema.py).
"""

from dataclasses import dataclass
from typing import Literal

from core.schema import (
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    UnitInterval,
)


@dataclass(frozen=True)
class RerankConfig:
    """Re-ranking: the value that is added to the retrieval scores of a user's best candidates.

    Attributes:
        candidates: the number of best candidates to re-rank. 0 turns re-ranking off.
        complete, like, comment, share, follow, skip: weight of the calibrated probability of each behaviour.
        negative_comments: weight of how negative the comments of a video are (0 to 1). A weight below 0
            lowers the scores of such videos.
    """

    candidates: NonNegativeInt
    complete: FiniteFloat
    like: FiniteFloat
    comment: FiniteFloat
    share: FiniteFloat
    follow: FiniteFloat
    skip: FiniteFloat
    negative_comments: FiniteFloat


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the interest model is trained for: the weights of its losses and the settings of retrieval's loss.

    Attributes:
        ranking_weight, align_weight, anchor_weight: weights of these losses; retrieval has weight 1. The
            anchor loss is the one of align.
        num_negatives: videos that a step samples for retrieval's softmax, with logQ correction. 0 uses all
            videos, exactly.
        id_dropout: share of the videos that a step treats as new, so that content learns to rank without IDs.
        horizon: the target of a state is drawn from this many next positives, at most from as many as a user
            has on a validation day.
        recency_half_life_days: a positive this many days before the last training day counts half. This
            applies to retrieval's loss and to its initial popularity. 0 gives all positives the same weight.
    """

    ranking_weight: NonNegativeFloat
    align_weight: NonNegativeFloat
    anchor_weight: NonNegativeFloat
    num_negatives: NonNegativeInt
    id_dropout: UnitInterval
    horizon: PositiveInt
    recency_half_life_days: NonNegativeFloat


SourceName = Literal[
    "popularity",
    "trending",
    "item_quality",
    "item_cf",
    "ease",
    "random_walk",
    "transition",
    "creator_affinity",
    "category_affinity",
    "content_kernel",
    "segment_interest",
]


@dataclass(frozen=True)
class InterestModelConfig:
    """The model of this project.

    Attributes:
        name: the model.
        fusion: how the modalities of a video are combined (models/interest_model.py). `attention`, `late` and
            `hybrid` weight them by user and video, `user` and `cross` by user only, `uniform` equally.
            `early` and `tokens` combine them before anything else.
        normalisation: `fixed`, or `adaptive`: the modality embeddings have a learned scale and shift for each
            activity group of the user and category of the video. It needs `category` in `item_attributes`.
        reliability: whether a modality that disagrees with the others of its video counts less.
        encoder: the sequence encoder. `ligr` is a Transformer with gates.
        layers, heads, dropout: layers, attention heads and dropout of the encoder.
        positions: whether the encoder reads order and time gaps.
        profile: whether the model reads the static user profile.
        contexts: context columns that the encoder reads in addition to the hour: device, network.
        playback_signals: whether the encoder reads if an interaction had a pause, a replay or a swipe.
        request_contexts: what the ranking heads read of a request: hour, device, network, depth (position
            within the session), and categorical profile columns such as a city tier. Empty: nothing.
        item_features: item features that the ranking heads read in addition to the content. They are columns
            of the snapshot's catalogue or item statistics: comment_sentiment, comments, duration_ms.
        item_attributes: attributes of a video with an embedding, in addition to content and ID: creator,
            category, duration.
        max_length: interactions of a sequence that the model reads.
        token_budget: mean number of interactions that the model reads of a user. Interactions with the least
            information are left out. 0: it reads the newest `max_length` of each user.
        skip_watch_ratio: an interaction with a smaller watch ratio is a skip.
        warmup_epochs: epochs of rising learning rate. Then it falls as a cosine until `train.epochs`.
        sources: counted scores that the final ranker combines with the score of the sequence model
            (models/sources/). Empty: the sequence model ranks alone. `segment_interest` is learned and needs
            `snapshot.segments`.
        rerank: the value of the predicted behaviours in the order of the best videos.
        objective: the losses.
    """

    name: Literal["interest"]
    fusion: Literal["attention", "user", "cross", "late", "hybrid", "uniform", "early", "tokens"]
    normalisation: Literal["fixed", "adaptive"]
    reliability: bool
    encoder: Literal["transformer", "ligr", "lstm", "hstu", "mean"]
    layers: PositiveInt
    heads: PositiveInt
    dropout: UnitInterval
    positions: bool
    profile: bool
    contexts: tuple[Literal["device", "network"], ...]
    playback_signals: bool
    request_contexts: tuple[str, ...]
    item_features: tuple[str, ...]
    item_attributes: tuple[Literal["creator", "category", "duration"], ...]
    max_length: PositiveInt
    token_budget: NonNegativeInt
    skip_watch_ratio: NonNegativeFloat
    warmup_epochs: NonNegativeInt
    sources: tuple[SourceName, ...]
    rerank: RerankConfig
    objective: ObjectiveConfig


@dataclass(frozen=True)
class PopularityConfig:
    """A baseline that counts positives. It reads no sequence.

    Attributes:
        name: the model.
    """

    name: Literal["popularity"]


@dataclass(frozen=True)
class CollaborativeConfig:
    """A baseline that reads the set of a user's positives. `mmgcn` reads the content of videos, too.

    Attributes:
        name: the model.
        max_length: interactions of a sequence that the model reads.
    """

    name: Literal["itemcf", "mf_bpr", "lightgcn", "mmgcn"]
    max_length: PositiveInt


@dataclass(frozen=True)
class TransformerConfig:
    """A baseline that reads the sequence of a user's positives with a Transformer.

    Attributes:
        name: the model.
        layers, heads, dropout: layers, attention heads and dropout of the Transformer.
        max_length: interactions of a sequence that the model reads.
        num_negatives: videos that are sampled for the softmax, with logQ correction. 0 uses all videos, and
            so does a number that is not below theirs.
        share_negatives: whether all targets of a step share the sampled videos. Otherwise each target has its
            own. Without effect if all videos are used.
    """

    name: Literal["sasrec", "esasrec", "bert4rec"]
    layers: PositiveInt
    heads: PositiveInt
    dropout: UnitInterval
    max_length: PositiveInt
    num_negatives: NonNegativeInt
    share_negatives: bool


@dataclass(frozen=True)
class ComiRecConfig:
    """A baseline that gives a user several interest vectors, called trends.

    Attributes:
        name: the model.
        trends: interest vectors of a user. A video is scored by the best of them.
        dropout: dropout of the embeddings of a sequence.
        max_length: interactions of a sequence that the model reads.
        num_negatives, share_negatives: as for SASRec.
    """

    name: Literal["comirec"]
    trends: PositiveInt
    dropout: UnitInterval
    max_length: PositiveInt
    num_negatives: NonNegativeInt
    share_negatives: bool


@dataclass(frozen=True)
class DINConfig:
    """A baseline that relates a user's positives to one candidate, and predicts behaviours.

    Attributes:
        name: the model.
        dropout: dropout of the network behind the attention.
        max_length: interactions of a sequence that the model reads.
        skip_watch_ratio: an interaction with a smaller watch ratio is a skip.
    """

    name: Literal["din"]
    dropout: UnitInterval
    max_length: PositiveInt
    skip_watch_ratio: NonNegativeFloat


@dataclass(frozen=True)
class M3CSRConfig:
    """A baseline that reads the sequence of a user's positives and their content with a Transformer.

    Attributes:
        name: the model.
        layers, heads, dropout: layers, attention heads and dropout of the Transformer.
        max_length: interactions of a sequence that the model reads.
    """

    name: Literal["m3csr"]
    layers: PositiveInt
    heads: PositiveInt
    dropout: UnitInterval
    max_length: PositiveInt


@dataclass(frozen=True)
class BM3Config:
    """A baseline that learns from the set of a user's positives and from content by contrast.

    Attributes:
        name: the model.
        dropout: share of the numbers that the second view of a vector lacks.
        max_length: interactions of a sequence that the model reads.
    """

    name: Literal["bm3"]
    dropout: UnitInterval
    max_length: PositiveInt


BaselineConfig = (
    PopularityConfig
    | CollaborativeConfig
    | TransformerConfig
    | ComiRecConfig
    | DINConfig
    | M3CSRConfig
    | BM3Config
)
AnyModelConfig = InterestModelConfig | BaselineConfig
