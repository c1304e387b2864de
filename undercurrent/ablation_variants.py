"""The variants of an ablation: the model with one part left out or changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.data.segment_grid import SEGMENT_MS_KEY

Features = Mapping[str, Tensor]
FULL = "full"
FUSIONS = {
    "uniform": "the same weight for every modality",
    "attention": "modality weights for each user and video",
    "user": "modality weights for each user",
    "early": "one joint vector of all modalities",
    "cross": "the modalities of a video read one another",
    "tokens": "one encoder of all segments, words and modalities",
    "late": "one sequence for each modality",
    "hybrid": "the fused sequence and one for each modality",
}


@dataclass(frozen=True)
class Variant:
    """The model with one part left out or changed.

    Attributes:
        description: For the table.
        train: Changed parameters of section `train`, by dotted path.
        align: Changed parameters of section `align`, by dotted path.
        transform_features: Changes the features of the snapshot.
        hide_sequences: Whether all sequences are empty when the videos are ranked.
        reuse_model: The variant whose trained model is ranked. None trains a model.
    """

    description: str
    train: Mapping[str, Any] = field(default_factory=dict)
    align: Mapping[str, Any] = field(default_factory=dict)
    transform_features: Callable[[Features], Features] | None = None
    hide_sequences: bool = False
    reuse_model: str | None = None


def variants(modalities: Sequence[str], fusion: str) -> dict[str, Variant]:
    """Return all variants by name, the full model first.

    Args:
        modalities: Modalities of the snapshot.
        fusion: Fusion level of the full model.
    """
    return {
        FULL: Variant("the model of params.yaml"),
        "no sequence": Variant("the mean of the sequence, no encoder", train={"model.encoder": "mean"}),
        "sequence hidden": Variant(
            "the full model, given only the profile", hide_sequences=True, reuse_model=FULL
        ),
        "no profile": Variant("without the user profile", train={"model.profile": False}),
        "no attributes": Variant(
            "without creator, category and duration",
            train={"model.item_attributes": (), "model.normalisation": "fixed"},
        ),
        "no sources": Variant("the sequence model ranks alone", train={"model.sources": ()}),
        "no positions": Variant("without order and time gaps", train={"model.positions": False}),
        **{
            f"no {m}": Variant(
                f"without {m} features",
                train=_without_parts(len(modalities) - 1),
                transform_features=_drop_modality(m),
            )
            for m in modalities
        },
        "shuffled content": Variant(
            "each video has the features of another", transform_features=_shuffle_features
        ),
        "IDs only": Variant(
            "without features of the content", train=_without_parts(0), transform_features=_segment_grid
        ),
        "no alignment": Variant(
            "without alignment", train={"model.objective.align_weight": 0.0}, align={"epochs": 0}
        ),
        **{
            f"fusion {level}": Variant(
                description,
                train={"model.fusion": level, **({"model.reliability": False} if level == "tokens" else {})},
                reuse_model=FULL if level == fusion else None,
            )
            for level, description in FUSIONS.items()
        },
    }


def _without_parts(num_modalities: int) -> dict[str, Any]:
    """Return the settings that turn off what so few modalities do not allow."""
    off: dict[str, Any] = {"model.reliability": False} if num_modalities < 2 else {}
    return off | ({"model.normalisation": "fixed"} if num_modalities < 1 else {})


def _drop_modality(modality: str) -> Callable[[Features], Features]:
    """Return a function that removes the vectors and the mask of a modality."""
    return lambda features: {name: x for name, x in features.items() if name.split(".")[0] != modality}


def _shuffle_features(features: Features) -> Features:
    """Give all features of a video to one other video. Vectors of segments are left out."""
    by_video = {name: x for name, x in features.items() if "segment" not in name}
    order_V = torch.randperm(len(next(iter(by_video.values()), torch.empty(0))))
    return {**{name: x[order_V] for name, x in by_video.items()}, **_segment_grid(features)}


def _segment_grid(features: Features) -> Features:
    """Return the length of a segment only, if the snapshot has segments."""
    return {name: x for name, x in features.items() if name == SEGMENT_MS_KEY}
