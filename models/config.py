"""`ModelConfig`: everything that is needed to build a model again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build a model. All values come from training data only.

    The field model is `name` of params.yaml, section train.model. The fields fusion, normalisation,
    reliability, encoder, layers, heads, dropout, positions, profile, max_length, token_budget,
    skip_watch_ratio, num_negatives, share_negatives and trends are keys of that section. A model ignores the
    fields that its section does not have.

    Attributes:
        positive_watch_ratio: From this watch ratio on an interaction is a positive.
        width: D.
        modalities: Name -> width of its features.
        encoder_fingerprints: Modality -> fingerprint of the encoder that made its features.
        behaviours: Names of the logged behaviours, in the order of `SequenceBatch.behaviour_BTA`.
        user_categorical_features: Profile column -> its known values. Any other value is "unknown".
        user_numerical_features: Profile column -> (mean, standard deviation).
        item_features: Item feature that the ranking heads read -> (mean, standard deviation).
        item_attributes: Attribute of the item embedding -> its known values. Any other value is "unknown".
        words: Words of the captions that token fusion knows. It skips any other word.
        video_ids: The videos that have an ID row, in the order of the rows.
        rerank: Number of candidates and weights of the second stage, as in params.yaml. Empty: no second
            stage.
        sources: Counted sources of the final ranker (models/sources/).
        contexts: Context of an interaction -> its known values. Any other value is "unknown".
        request_contexts: Context of a request that the ranking heads read -> its known values. Any other
            value is "unknown".
        num_negatives: Videos that are sampled for the softmax of a baseline. 0: all videos.
        share_negatives: Whether all examples of a step share these videos.
        trends: Interest vectors of a user, for ComiRec.
        privacy: (ε, δ) of private training and what it covers (training/private.py). Empty: not private.
    """

    model: str
    fusion: str
    encoder: str
    layers: int
    heads: int
    dropout: float
    positions: bool
    profile: bool
    max_length: int
    skip_watch_ratio: float
    positive_watch_ratio: float
    width: int
    modalities: Mapping[str, int]
    encoder_fingerprints: Mapping[str, str]
    behaviours: Sequence[str]
    user_categorical_features: Mapping[str, Sequence[str]]
    user_numerical_features: Mapping[str, tuple[float, float]]
    item_features: Mapping[str, tuple[float, float]]
    video_ids: Sequence[str]
    item_attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rerank: Mapping[str, float] = field(default_factory=dict)
    contexts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    request_contexts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sources: Sequence[str] = field(default_factory=list)
    num_negatives: int = 2048
    share_negatives: bool = True
    normalisation: str = "fixed"
    reliability: bool = False
    token_budget: int = 0
    words: Sequence[str] = field(default_factory=list)
    trends: int = 1
    privacy: Mapping[str, Any] = field(default_factory=dict)
