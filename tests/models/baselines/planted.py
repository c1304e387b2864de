"""A tiny world with a known truth: four groups of ten videos, and everybody goes round one of them.

A person starts anywhere in a group and likes what comes next in it, six times; the seventh is the target. All
videos are liked about as often, so popularity knows nothing. Whoever knows groups finds one of four, whoever
reads the order finds it at once. Between the likes stand videos of other groups, which are not liked.
"""

import torch

from models.baselines import BASELINES, Baseline
from models.baselines.fitting import Fitting, fit
from models.fusion import Catalogue
from models.histories import Histories, Seen
from models.interest import Spec
from models.profiles import Profiles
from models.scoring import Scorer, Targets, mean_ndcg
from models.training import People
from tests.models.worlds import BEHAVIOURS, spec

GROUPS, SIZE, LIKES, USERS = 4, 10, 6, 200
VIDEOS = GROUPS * SIZE


def small(name: str, **changes: object) -> Spec:
    """The description of a baseline for the world."""
    nothing = ("modalities", "fingerprints", "categories", "numbers", "video_numbers")
    ids = [f"v{i}" for i in range(VIDEOS)]
    size = {"width": 32, "max_length": 2 * LIKES, "dropout": 0.0, "video_ids": ids}
    return spec(model=name, **{key: {} for key in nothing}, **{**size, **changes})


def world(seed: int = 0) -> tuple[Histories, Targets]:
    """Everybody's history, and the next video of each."""
    draw = torch.Generator().manual_seed(seed)
    group_U1 = torch.randint(GROUPS, (USERS, 1), generator=draw)
    start_U1 = torch.randint(SIZE, (USERS, 1), generator=draw)
    round_UT = group_U1 * SIZE + (start_U1 + torch.arange(LIKES + 1)) % SIZE
    other_UT = (group_U1 + torch.randint(1, GROUPS, (USERS, LIKES), generator=draw)) % GROUPS * SIZE
    other_UT = other_UT + torch.randint(SIZE, (USERS, LIKES), generator=draw)
    video_E = torch.stack([round_UT[:, :-1], other_UT], 2).flatten()
    liked_E = torch.tensor([True, False]).repeat(USERS * LIKES)
    no_E = torch.zeros_like(liked_E)
    events = Histories(
        offsets=torch.arange(USERS + 1) * 2 * LIKES,
        video_E=video_E,
        second_E=torch.arange(len(video_E)) * 60,
        hour_E=torch.zeros_like(video_E),
        ratio_E=torch.where(liked_E, 1.0, 0.1),
        did_EA=torch.stack([~no_E, liked_E, *[no_E] * (len(BEHAVIOURS) - 2)], 1),
        sentiment_E=torch.full((len(video_E),), torch.nan),
        positive_E=liked_E,
    )
    return events, Targets(torch.arange(USERS), round_UT[:, -1])


def catalogue(videos: int = VIDEOS) -> Catalogue:
    """The videos, and behind them those that were not in training."""
    row_V = torch.where(torch.arange(videos) < VIDEOS, torch.arange(videos), -1)
    return Catalogue({}, torch.zeros(videos, 0, dtype=torch.bool), row_V)


def nobody(users: int = USERS) -> Profiles:
    return Profiles(torch.zeros(users, 0, dtype=torch.long), torch.zeros(users, 0))


def scorer(model: Baseline, events: Histories) -> Scorer:
    """The model over the world; what was liked is never recommended again."""
    seen = Seen(events.positive_E.view(USERS, -1).sum(1).cumsum(0), events.video_E[events.positive_E])
    offsets = torch.nn.functional.pad(seen.offsets, (1, 0))
    return Scorer(model, catalogue(), People(events, nobody(), Seen(offsets, seen.row_E)))


def trained(name: str, epochs: int, seed: int = 1, **changes: object) -> tuple[Scorer, list[dict]]:
    """A baseline trained on the world, and its curve: it validates on the targets."""
    torch.manual_seed(seed)
    events, targets = world()
    one = scorer(BASELINES[name](small(name, **changes)), events)
    knobs = Fitting(epochs, epochs, 16, 0.003, 0.0, 5.0, seed)
    assert isinstance(one.model, Baseline)
    curve = fit(
        one.model, events, one.catalogue.id_row_V, knobs, lambda: {"ndcg@10": mean_ndcg(one, targets, 10)}
    )
    return one, curve
