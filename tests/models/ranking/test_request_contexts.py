"""The ranking heads read the context of the request."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.config.models import ObjectiveConfig
from models.data.items import ItemTable
from models.data.sequences import SeenItems
from models.data.targets import BEHAVIOUR_HEADS
from models.data.users import UserData
from models.evaluation.scoring import Scorer, behaviour_logits, score_in_chunks
from models.interest_model import InterestModel
from models.ranking.heads import UNKNOWN_SHARE, RankingHeads, hide_contexts
from models.training.objective import Objective, compute_losses
from tests.support.model_inputs import make_config, make_item_table, make_profiles, make_sequences

PHONE, TV = 1, 2  # codes of the device; 0 is unknown
LONG = 2  # code of the duration
USERS, LENGTH = 80, 8
SETTINGS = ObjectiveConfig(
    ranking_weight=1.0,
    align_weight=0.0,
    anchor_weight=0.0,
    num_negatives=0,
    id_dropout=0.5,
    horizon=1,
    recency_half_life_days=0.0,
)


def _item_table() -> ItemTable:
    """Every other video is long, also among those that were not in training."""
    return replace(make_item_table(), attribute_VA=1 + torch.arange(12)[:, None] % 2)


def _user_data() -> UserData:
    """Who has a television skips long videos there. All other videos are watched to the end."""
    sequences = make_sequences((LENGTH,) * USERS, videos=9)
    device_E = torch.where(torch.arange(LENGTH * USERS) % 3 == 0, TV, PHONE)
    skipped_E = (device_E == TV) & (_item_table().attribute_VA[sequences.video_E, 0] == LONG)
    watch_ratio_E = torch.where(skipped_E, 0.05, 1.0)
    sequences = replace(sequences, watch_ratio_E=watch_ratio_E, request_EJ=device_E[:, None], context_EJ=None)
    seen = SeenItems(torch.arange(USERS + 1), sequences.video_E[::LENGTH])
    return UserData(sequences, make_profiles(USERS), seen)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    """A model that was trained on the planted effect."""
    torch.manual_seed(0)
    config = make_config(
        contexts={},
        fusion="user",
        request_contexts={"device": ["phone", "tv"]},
        item_attributes={"duration": ["1", "2"]},
    )
    model, user_data = InterestModel(config), _user_data()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    objective = Objective(SETTINGS, last_day=0, alignment_rows=torch.arange(9), near_duplicate_cosine=2.0)
    for _ in range(60):
        optimizer.zero_grad()
        compute_losses(model, _item_table(), user_data, torch.arange(USERS), objective)["total"].backward()
        optimizer.step()
    return Scorer(model.eval(), _item_table(), user_data)


def _skip_rate(scorer: Scorer, video: int, device: int | None) -> float:
    """Return the mean predicted probability of a skip of all users."""
    users, request_NJ = torch.arange(USERS), None if device is None else torch.full((USERS, 1), device)
    logit_NH = behaviour_logits(scorer, users, torch.full((USERS,), video), request_NJ)
    return float(logit_NH[:, BEHAVIOUR_HEADS.index("skip")].sigmoid().mean())


@pytest.mark.parametrize(("short", "long"), [(2, 3), (10, 11)])
def test_a_device_that_skips_long_videos_is_learned(scorer: Scorer, short: int, long: int) -> None:
    """Videos 10 and 11 were not in training. The effect is known from their duration."""
    assert _skip_rate(scorer, long, TV) > 0.7
    assert _skip_rate(scorer, long, PHONE) < 0.2
    assert _skip_rate(scorer, short, TV) < 0.2
    assert _skip_rate(scorer, long, PHONE) < _skip_rate(scorer, long, None) < _skip_rate(scorer, long, TV)


def _scores(scorer: Scorer, device: int | None) -> Tensor:
    request_UJ = None if device is None else torch.full((USERS, 1), device)
    user_data = replace(scorer.user_data, request_UJ=request_UJ)
    chunks = score_in_chunks(replace(scorer, user_data=user_data), torch.arange(USERS))
    return torch.cat([score_BV for _, score_BV, _ in chunks])


def test_the_order_depends_on_the_context_of_the_next_request(scorer: Scorer) -> None:
    tv_BV, phone_BV, unknown_BV = (_scores(scorer, device) for device in (TV, PHONE, None))
    assert torch.equal(_scores(scorer, 0), unknown_BV)
    shown_BV = tv_BV.isfinite()
    change_BV = torch.where(shown_BV, tv_BV - phone_BV, 0.0)
    assert change_BV[:, 1::2].sum() < 0  # long videos
    assert not torch.equal(tv_BV, unknown_BV)


def test_contexts_start_without_effect_and_change_no_other_initial_weight() -> None:
    torch.manual_seed(0)
    plain = RankingHeads(4, 0.0, 0, num_videos=3)
    torch.manual_seed(0)
    heads = RankingHeads(4, 0.0, 0, num_videos=3, context_sizes=(2,))
    assert all(torch.equal(heads.state_dict()[name], value) for name, value in plain.state_dict().items())
    inputs = torch.randn(5, 4), torch.randn(5, 4), torch.arange(5).clamp(max=2), torch.zeros(5, 0)
    assert torch.equal(heads(*inputs, torch.ones(5, 1).long()), plain(*inputs))


def test_training_hides_whole_requests_and_single_contexts() -> None:
    torch.manual_seed(0)
    hidden_NJ = hide_contexts(torch.ones(20_000, 2).long()) == 0
    share = 1 - (1 - UNKNOWN_SHARE) ** 2
    assert float(hidden_NJ.float().mean()) == pytest.approx(share, abs=0.01)
    both = UNKNOWN_SHARE + (1 - UNKNOWN_SHARE) * UNKNOWN_SHARE**2
    assert float(hidden_NJ.all(1).float().mean()) == pytest.approx(both, abs=0.01)
