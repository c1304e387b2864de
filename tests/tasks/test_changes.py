"""Whose interest changed: found where it was planted, and nobody is judged who has told too little."""

from dataclasses import replace
from datetime import date, timedelta

import torch
from torch import Tensor

from models.histories import DAY_SECONDS, Histories, Seen
from models.scoring import Scorer
from models.training import People
from tasks import changes
from tests.models.worlds import BEHAVIOURS, catalogue, histories, model, profiles

PEOPLE, A_DAY, DAYS, CHANGE = 8, 12, 8, 5  # the odd people's taste is turned over on day CHANGE
USERS = torch.arange(PEOPLE)


def planted(days: int = DAYS, a_day: int = A_DAY) -> tuple[Scorer, Histories]:
    """Everybody likes or dislikes each video by a taste in the model's own space."""
    made = model(fusion="user", max_length=4)
    videos, T = catalogue(), a_day * days
    past = histories((T,) * PEOPLE)
    day_E = (torch.arange(T) // a_day).repeat(PEOPLE)
    x_VD = made.items(videos).x_VMD.mean(1).detach()
    taste_UD = torch.randn(PEOPLE, x_VD.shape[1], generator=torch.Generator().manual_seed(4))
    user_E = USERS.repeat_interleave(T)
    sign_E = torch.where((user_E % 2 == 1) & (day_E >= CHANGE), -1.0, 1.0)
    warm_E = (x_VD[past.video_E] * taste_UD[user_E]).sum(1) * sign_E
    did_EA = torch.zeros(len(warm_E), len(BEHAVIOURS), dtype=torch.bool)
    did_EA[:, BEHAVIOURS.index("liked")] = warm_E > 0
    did_EA[:, BEHAVIOURS.index("disliked")] = warm_E < 0
    past = replace(
        past, second_E=day_E * DAY_SECONDS, did_EA=did_EA, ratio_E=torch.full_like(past.ratio_E, torch.nan)
    )
    people = People(past, profiles(PEOPLE), Seen(past.offsets, past.video_E))
    return Scorer(made, videos, people), past


def found(
    scorer: Scorer, past: Histories, alpha_BM: Tensor | None = None, viewings: int = 999
) -> changes.Changes:
    alpha_BM = torch.full((PEOPLE, 3), 1 / 3) if alpha_BM is None else alpha_BM
    return changes.changes(scorer, past, USERS, alpha_BM, viewings)


def test_whose_taste_was_turned_over_is_found_with_the_day_and_the_others_are_left_alone() -> None:
    told = found(*planted())
    turned = date(1970, 1, 1) + timedelta(days=CHANGE)
    assert told.days() == dict.fromkeys(range(1, PEOPLE, 2), turned)
    assert changes.figures(told) == {"people": PEOPLE, "changed": 4, "by_day": {str(turned): 4}}


def test_what_a_video_lacks_is_not_taken_for_zero() -> None:
    scorer, past = planted()
    has_VM = torch.zeros_like(scorer.catalogue.has_VM)
    has_VM[1:, 0] = True  # pictures only; the first video has nothing
    scorer = replace(scorer, catalogue=replace(scorer.catalogue, has_VM=has_VM))
    told = [
        found(scorer, past, torch.tensor(weight_M).expand(PEOPLE, -1)).found
        for weight_M in ([1.0, 0.0, 0.0], [0.2, 0.3, 0.5])
    ]
    assert told[0] is not None
    assert told[1] is not None
    assert torch.allclose(told[0].p_BK, told[1].p_BK, atol=1e-4)
    assert torch.allclose(told[0].p_never_B, told[1].p_never_B, atol=1e-4)


def test_what_lies_before_the_newest_viewings_is_not_looked_at() -> None:
    scorer, past = planted()
    after = found(scorer, past, viewings=(DAYS - CHANGE) * A_DAY)
    assert len(after.users) == PEOPLE
    assert date(1970, 1, 1) + timedelta(days=CHANGE) not in after.days().values()


def test_nobody_is_judged_by_few_viewings_or_one_day_or_without_content() -> None:
    few = found(*planted(days=3, a_day=changes.LEAST_VIEWINGS // 3))
    assert changes.figures(few) == {"people": 0, "changed": 0, "by_day": {}}
    one_day = found(*planted(days=1, a_day=changes.LEAST_VIEWINGS))
    assert changes.figures(one_day) == {"people": PEOPLE, "changed": 0, "by_day": {}}
    no_content = found(*planted(), alpha_BM=torch.zeros(PEOPLE, 0))
    assert changes.figures(no_content) == {"people": 0, "changed": 0, "by_day": {}}


def test_a_person_of_whom_no_weight_is_known_is_not_judged_and_hides_nobody_else() -> None:
    alpha_BM = torch.full((PEOPLE, 3), 1 / 3)
    alpha_BM[0] = torch.nan
    told = found(*planted(), alpha_BM=alpha_BM)
    assert 0 not in told.users.tolist()
    assert sorted(told.days()) == list(range(1, PEOPLE, 2))
