"""Small random inputs for the model tests: sequences, item tables, profiles."""

import torch
from torch import Tensor

from models.config import ModelConfig
from models.data.items import ItemTable
from models.data.sequences import SeenItems, Sequences
from models.data.targets import BEHAVIOUR_HEADS
from models.data.users import UserData, UserProfiles
from models.interest_model import InterestModel

BEHAVIOURS = ("viewed", "liked", "commented", "shared", "followed", "disliked")
WIDTHS = {"visual": 5, "text": 4, "audio": 3}


def make_config(**changes: object) -> ModelConfig:
    """The configuration of a small model."""
    values = {
        "model": "interest",
        "fusion": "attention",
        "encoder": "transformer",
        "layers": 2,
        "heads": 2,
        "dropout": 0.0,
        "positions": True,
        "profile": True,
        "max_length": 8,
        "skip_watch_ratio": 0.2,
        "positive_watch_ratio": 0.5,
        "width": 8,
        "modalities": WIDTHS,
        "encoder_fingerprints": dict.fromkeys(WIDTHS, "f"),
        "behaviours": list(BEHAVIOURS),
        "user_categorical_features": {"age": ["old", "young"]},
        "user_numerical_features": {"days": (0.0, 1.0)},
        "item_features": {"comment_sentiment": (0.0, 1.0), "comments": (0.1, 0.2)},
        "rerank": {
            "candidates": 4,
            **dict.fromkeys(BEHAVIOUR_HEADS, 0.5),
            "skip": -1.0,
            "negative_comments": -0.5,
        },
        "contexts": {"device": ["phone", "tablet"]},
        "video_ids": [f"v{i}" for i in range(9)],
    }
    return ModelConfig(**{**values, **changes})  # type: ignore[arg-type]


def make_model(model_class: type[InterestModel] = InterestModel, /, **changes: object) -> InterestModel:
    """A small model with random weights everywhere, in evaluation mode."""
    torch.manual_seed(0)
    model = model_class(make_config(**changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.item_fusion.num_interactions_I.copy_(torch.arange(len(model.config.video_ids)) + 1)
    return model.eval()


def make_item_table(videos: int = 12, seed: int = 1, widths: dict[str, int] | None = None) -> ItemTable:
    """Random features; the last videos were not in training; video 0 has no modality, video 1 one only."""
    generator = torch.Generator().manual_seed(seed)
    widths = WIDTHS if widths is None else widths
    features = {m: torch.randn(videos, size, generator=generator) for m, size in widths.items()}
    has_VM = torch.rand(videos, len(widths), generator=generator) < 0.8
    has_VM[0] = False
    has_VM[1, 1:] = False
    row_V = torch.where(torch.arange(videos) < 9, torch.arange(videos), -1)
    item_features_VQ = torch.randn(videos, 2, generator=generator)
    item_features_VQ[::3, 0] = torch.nan
    return ItemTable(features, has_VM, row_V, item_features_VQ=item_features_VQ)


def make_sequences(lengths: tuple[int, ...] = (0, 1, 5, 8), videos: int = 12, seed: int = 2) -> Sequences:
    """Random events."""
    generator = torch.Generator().manual_seed(seed)
    count = sum(lengths)
    watch_ratio_E = torch.rand(count, generator=generator)
    watch_ratio_E[::4] = float("nan")
    return Sequences(
        offsets=torch.tensor([0, *lengths]).cumsum(0),
        video_E=torch.randint(videos, (count,), generator=generator),
        timestamp_E=torch.randint(1, 9000, (count,), generator=generator).cumsum(0),
        hour_E=torch.randint(24, (count,), generator=generator),
        watch_ratio_E=watch_ratio_E,
        behaviour_EA=torch.rand(count, len(BEHAVIOURS), generator=generator) < 0.5,
        sentiment_E=torch.where(torch.arange(count) % 3 == 0, watch_ratio_E * 2 - 1, torch.nan),
        positive_E=torch.rand(count, generator=generator) < 0.6,
        context_EJ=torch.randint(3, (count, 1), generator=generator),
    )


def make_profiles(users: int = 4) -> UserProfiles:
    """Different users, one of them unknown."""
    number = torch.linspace(-1, 1, users).unsqueeze(1)
    number[0] = float("nan")
    return UserProfiles((torch.arange(users) % 3).unsqueeze(1), number)


def make_user_data(lengths: tuple[int, ...] = (0, 1, 5, 8)) -> UserData:
    """Sequences, profiles and seen items of a few users."""
    sequences = make_sequences(lengths)
    return UserData(sequences, make_profiles(len(lengths)), SeenItems(sequences.offsets, sequences.video_E))


def all_users(sequences: Sequences) -> Tensor:
    return torch.arange(len(sequences.offsets) - 1)
