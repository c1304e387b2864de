"""The attack by loss finds the members of an overfitted model, and private training hides them."""

from dataclasses import dataclass, replace

import pytest
import torch

from models.baselines.sasrec import SASRec
from models.data.sequences import Sequences
from models.training.baselines import BaselineTrainingConfig
from research.studies.membership import Attack, attack_by_loss, fit_on_members, members_only, random_half
from tests.support.planted_preferences import make_item_table, planted_sequences, small_config

USERS, VIDEOS = 60, 40
ROWS = torch.arange(VIDEOS)
PLAIN = BaselineTrainingConfig(25, 25, 15, 0.01, 0.0, 1.0, 1)


@dataclass(frozen=True)
class Privacy:
    noise_multiplier: float
    delta: float = 1e-5


def random_sequences() -> Sequences:
    """Users who like random videos. A model can only memorise them."""
    sequences = members_only(planted_sequences()[0], torch.arange(200) < USERS)
    generator = torch.Generator().manual_seed(3)
    random_E = torch.randint(VIDEOS, sequences.video_E.shape, generator=generator)
    return replace(sequences, video_E=random_E)


def attack(settings: BaselineTrainingConfig) -> Attack:
    sequences = random_sequences()
    is_member_U = random_half(sequences, seed=1)
    torch.manual_seed(0)
    model = SASRec(small_config("sasrec", layers=1))
    fit_on_members(model, sequences, make_item_table(VIDEOS), settings, is_member_U)
    return attack_by_loss(model, sequences, ROWS, settings, is_member_U)


def test_the_attack_finds_the_members_of_an_overfitted_model() -> None:
    result = attack(PLAIN)
    assert result.auc > 0.95
    assert result.member_loss < result.other_loss
    assert result.chance_sd == pytest.approx((61 / (12 * 30 * 30)) ** 0.5)


def test_private_training_hides_the_members() -> None:
    """30 members are few, so this takes much noise."""
    result = attack(replace(PLAIN, epochs=10, privacy=Privacy(5.0)))
    assert abs(result.auc - 0.5) < 2 * result.chance_sd


def test_half_of_the_users_are_members_and_others_are_not_read() -> None:
    sequences = random_sequences()
    is_member_U = random_half(sequences, seed=1)
    assert int(is_member_U.sum()) == USERS // 2
    assert not is_member_U[USERS:].any()
    members = members_only(sequences, is_member_U)
    assert torch.equal(members.lengths, sequences.lengths * is_member_U)
    user = int(is_member_U.nonzero()[5])
    first, last = members.offsets[user], members.offsets[user + 1]
    assert torch.equal(
        members.video_E[first:last],
        sequences.video_E[sequences.offsets[user] : sequences.offsets[user + 1]],
    )
