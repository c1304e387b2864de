"""Small random inputs for the model tests: histories, catalogues, profiles."""

import torch
from torch import Tensor

from models.fusion import Catalogue
from models.histories import Histories, Seen
from models.interest import InterestModel, Spec
from models.profiles import Profiles
from models.ranking import HEADS
from models.training import People

BEHAVIOURS = ("viewed", "liked", "commented", "shared", "followed", "disliked")
WIDTHS = {"visual": 5, "text": 4, "audio": 3}


def spec(**changes: object) -> Spec:
    """A small model's description."""
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
        "skip_below": 0.2,
        "positive_watch_ratio": 0.5,
        "width": 8,
        "modalities": WIDTHS,
        "fingerprints": dict.fromkeys(WIDTHS, "f"),
        "behaviours": list(BEHAVIOURS),
        "categories": {"age": ["old", "young"]},
        "numbers": {"days": (0.0, 1.0)},
        "video_numbers": {"comment_sentiment": (0.0, 1.0), "synchrony": (0.1, 0.2)},
        "rerank": {"candidates": 4, **dict.fromkeys(HEADS, 0.5), "skip": -1.0, "negative_comments": -0.5},
        "contexts": {"device": ["phone", "tablet"]},
        "video_ids": [f"v{i}" for i in range(9)],
    }
    return Spec(**{**values, **changes})  # type: ignore[arg-type]


def model(**changes: object) -> InterestModel:
    """A small model with random weights everywhere, in evaluation mode."""
    torch.manual_seed(0)
    made = InterestModel(spec(**changes))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    made.fusion.views_I.copy_(torch.arange(len(made.spec.video_ids)) + 1)
    return made.eval()


def catalogue(videos: int = 12, seed: int = 1, widths: dict[str, int] | None = None) -> Catalogue:
    """Random features; the last videos were not in training; video 0 has no modality, video 1 one only."""
    draw = torch.Generator().manual_seed(seed)
    widths = WIDTHS if widths is None else widths
    features = {m: torch.randn(videos, size, generator=draw) for m, size in widths.items()}
    has_VM = torch.rand(videos, len(widths), generator=draw) < 0.8
    has_VM[0] = False
    has_VM[1, 1:] = False
    row_V = torch.where(torch.arange(videos) < 9, torch.arange(videos), -1)
    number_VP = torch.randn(videos, 2, generator=draw)
    number_VP[::3, 0] = torch.nan
    return Catalogue(features, has_VM, row_V, number_VP=number_VP)


def histories(lengths: tuple[int, ...] = (0, 1, 5, 8), videos: int = 12, seed: int = 2) -> Histories:
    """Random events."""
    draw = torch.Generator().manual_seed(seed)
    count = sum(lengths)
    ratio_E = torch.rand(count, generator=draw)
    ratio_E[::4] = float("nan")
    return Histories(
        offsets=torch.tensor([0, *lengths]).cumsum(0),
        video_E=torch.randint(videos, (count,), generator=draw),
        second_E=torch.randint(1, 9000, (count,), generator=draw).cumsum(0),
        hour_E=torch.randint(24, (count,), generator=draw),
        ratio_E=ratio_E,
        did_EA=torch.rand(count, len(BEHAVIOURS), generator=draw) < 0.5,
        sentiment_E=torch.where(torch.arange(count) % 3 == 0, ratio_E * 2 - 1, torch.nan),
        positive_E=torch.rand(count, generator=draw) < 0.6,
        context_EC=torch.randint(3, (count, 1), generator=draw),
    )


def profiles(users: int = 4) -> Profiles:
    """Different people, one of them unknown."""
    number = torch.linspace(-1, 1, users).unsqueeze(1)
    number[0] = float("nan")
    return Profiles((torch.arange(users) % 3).unsqueeze(1), number)


def people(lengths: tuple[int, ...] = (0, 1, 5, 8)) -> People:
    """Histories, profiles and what was seen, of a few."""
    past = histories(lengths)
    return People(past, profiles(len(lengths)), Seen(past.offsets, past.video_E))


def everybody(past: Histories) -> Tensor:
    return torch.arange(len(past.offsets) - 1)
