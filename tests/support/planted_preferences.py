"""Tiny sequences with a planted preference: four groups of ten videos, and each user follows one group.

A user starts anywhere in a group and likes the next video six times; the seventh is the target. All videos
are liked about equally often, so popularity predicts nothing. A model of groups finds the group, a model of
order finds the target. Between the positives are videos of other groups, which are not liked. The content of
a video tells its group, also that of new videos.
"""

import torch

from models.baselines import BASELINES, Baseline, ContentBaseline
from models.config import ModelConfig
from models.data.items import ItemTable
from models.data.sequences import SeenItems, Sequences
from models.data.targets import Targets
from models.data.users import UserData, UserProfiles
from models.evaluation.scoring import Scorer, mean_ndcg
from models.training.baselines import BaselineTrainingConfig, fit_baseline
from tests.support.model_inputs import BEHAVIOURS, make_config

GROUPS, SIZE, LIKES, USERS = 4, 10, 6, 200
VIDEOS = GROUPS * SIZE
MAX_VIDEOS = VIDEOS + 10  # with new videos
CONTENT_WIDTHS = {"visual": 6, "text": 5}


def small_config(name: str, **changes: object) -> ModelConfig:
    """The configuration of a baseline for the planted sequences."""
    no_features = (
        "modalities",
        "encoder_fingerprints",
        "user_categorical_features",
        "user_numerical_features",
        "item_features",
    )
    ids = [f"v{i}" for i in range(VIDEOS)]
    size = {"width": 32, "max_length": 2 * LIKES, "dropout": 0.0, "video_ids": ids}
    if issubclass(BASELINES[name], ContentBaseline):
        size["modalities"] = CONTENT_WIDTHS
    return make_config(model=name, **{**{key: {} for key in no_features}, **size, **changes})


def planted_sequences(seed: int = 0) -> tuple[Sequences, Targets]:
    """The sequence and the next video of each user."""
    generator = torch.Generator().manual_seed(seed)
    group_U1 = torch.randint(GROUPS, (USERS, 1), generator=generator)
    start_U1 = torch.randint(SIZE, (USERS, 1), generator=generator)
    liked_UT = group_U1 * SIZE + (start_U1 + torch.arange(LIKES + 1)) % SIZE
    distractor_UT = (group_U1 + torch.randint(1, GROUPS, (USERS, LIKES), generator=generator)) % GROUPS * SIZE
    distractor_UT = distractor_UT + torch.randint(SIZE, (USERS, LIKES), generator=generator)
    video_E = torch.stack([liked_UT[:, :-1], distractor_UT], 2).flatten()
    positive_E = torch.tensor([True, False]).repeat(USERS * LIKES)
    no_E = torch.zeros_like(positive_E)
    sequences = Sequences(
        offsets=torch.arange(USERS + 1) * 2 * LIKES,
        video_E=video_E,
        timestamp_E=torch.arange(len(video_E)) * 60,
        hour_E=torch.zeros_like(video_E),
        watch_ratio_E=torch.where(positive_E, 1.0, 0.1),
        behaviour_EA=torch.stack([~no_E, positive_E, *[no_E] * (len(BEHAVIOURS) - 2)], 1),
        sentiment_E=torch.full((len(video_E),), torch.nan),
        positive_E=positive_E,
    )
    return sequences, Targets(torch.arange(USERS), liked_UT[:, -1])


def group_of(rows: torch.Tensor) -> torch.Tensor:
    """The group of videos. A new video behind the others belongs to the group of its number."""
    return torch.where(rows < VIDEOS, rows // SIZE, rows % GROUPS)


def make_item_table(videos: int = VIDEOS) -> ItemTable:
    """The videos, and behind them those that were not in training. The first one has no text."""
    rows, generator = torch.arange(MAX_VIDEOS), torch.Generator().manual_seed(5)
    features = {}
    for name, width in CONTENT_WIDTHS.items():
        center_GF = 3 * torch.randn(GROUPS, width, generator=generator)
        noise_VF = 0.3 * torch.randn(MAX_VIDEOS, width, generator=generator)
        features[name] = (center_GF[group_of(rows)] + noise_VF)[:videos]
    has_VM = torch.ones(videos, len(features), dtype=torch.bool)
    has_VM[0, 1] = False
    return ItemTable(features, has_VM, torch.where(rows < VIDEOS, rows, -1)[:videos])


def empty_profiles(users: int = USERS) -> UserProfiles:
    return UserProfiles(torch.zeros(users, 0, dtype=torch.long), torch.zeros(users, 0))


def make_scorer(model: Baseline, sequences: Sequences) -> Scorer:
    """A scorer of the planted sequences; positives are never recommended again."""
    seen = SeenItems(
        sequences.positive_E.view(USERS, -1).sum(1).cumsum(0), sequences.video_E[sequences.positive_E]
    )
    offsets = torch.nn.functional.pad(seen.offsets, (1, 0))
    return Scorer(
        model, make_item_table(), UserData(sequences, empty_profiles(), SeenItems(offsets, seen.row_E))
    )


def train_baseline(name: str, epochs: int, seed: int = 1, **changes: object) -> tuple[Scorer, list[dict]]:
    """A baseline trained on the planted sequences, and its curve; it validates on the targets."""
    torch.manual_seed(seed)
    sequences, targets = planted_sequences()
    scorer = make_scorer(BASELINES[name](small_config(name, **changes)), sequences)
    knobs = BaselineTrainingConfig(epochs, epochs, 16, 0.003, 0.0, 5.0, seed)
    assert isinstance(scorer.model, Baseline)
    curve = fit_baseline(
        scorer.model,
        sequences,
        scorer.item_table,
        knobs,
        lambda: {"ndcg@10": mean_ndcg(scorer, targets, 10)},
        "ndcg@10",
    )
    return scorer, curve
