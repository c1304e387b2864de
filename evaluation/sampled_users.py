"""A sample of the users, and a scorer of these users only. So the cost of an explanation is bounded."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.data.sequences import SeenItems
from models.data.users import UserData
from models.evaluation.scoring import Scorer

# Each model scores the catalogue for every test user. The interval of NDCG is below ± 0.002 with so many.
MAX_TEST_USERS = 100_000


def sample_test_users(users: Tensor) -> Tensor:
    """Return at most `MAX_TEST_USERS` of these users, evenly spaced.

    So the cost of an evaluation does not grow with the users of the platform.
    """
    return evenly_spaced(users, MAX_TEST_USERS)


def evenly_spaced(users: Tensor, count: int) -> Tensor:
    """Return at most `count` of these users, evenly spaced. The first and the last are among them."""
    positions = np.unique(np.linspace(0, len(users) - 1, min(count, len(users))).astype(int))
    return users[torch.from_numpy(positions)]


def restrict_to_users(scorer: Scorer, users: Tensor) -> Scorer:
    """Return a scorer of these users only, who become the users 0, 1, … It has the events that are read."""
    data, max_length = scorer.user_data, scorer.model.config.max_length
    position_E, row_E = data.seen.user_item_pairs(users)
    count_B = torch.bincount(position_E, minlength=len(users))
    seen = SeenItems(torch.nn.functional.pad(count_B.cumsum(0), (1, 0)), row_E)
    sequences = data.sequences.newest(users, max_length)
    return replace(scorer, user_data=UserData(sequences, data.profiles.select(users), seen))
