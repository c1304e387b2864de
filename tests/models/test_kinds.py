"""What people of a kind like: a ridge regression that forgets, told apart by kind and by day."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import kinds
from models.evidence import SHARP
from models.histories import DAY_SECONDS, Histories
from models.kinds import DAYS, LANDMARKS, LASTING, PRIOR, Kinds
from tests.models.worlds import everybody, histories

M, D, VIDEOS = 3, 6, 12
CATEGORY_BC = torch.arange(40).unsqueeze(1) % 3  # 0: unknown


def space(seed: int = 0) -> Tensor:
    """aligned_VMD, one modality missing."""
    x_VMD = torch.randn(VIDEOS, M, D, generator=torch.Generator().manual_seed(seed))
    x_VMD[3, 1] = 0.0
    return x_VMD


def days(people: int = 40, events: int = 12, over: int = 4) -> Histories:
    """Everybody watches some videos on each of a few days."""
    past = histories((events,) * people, videos=VIDEOS)
    day_E = (torch.arange(events) * over // events).repeat(people)
    return replace(past, second_E=day_E * DAY_SECONDS + 3600)


def learned(past: Histories, response_E: Tensor, sizes: tuple[int, ...] = (2,)) -> Kinds:
    """Of people who go by all modalities alike."""
    made, people = Kinds(sizes, D), len(past.lengths)
    made.start_from(CATEGORY_BC[:people], torch.full((people, M), 1 / M), space(), past, response_E)
    return made


def foretold(made: Kinds, past: Histories) -> Tensor:
    """[B, T]: of everybody's own events, by all modalities alike."""
    batch = past.batch(everybody(past), 99)
    return made(CATEGORY_BC[: len(past.lengths)], batch, space()).mean(2)


def test_what_two_videos_show_is_as_alike_as_their_likeness() -> None:
    made = learned(days(), torch.zeros(480))
    shown_PH = made.shown(space()).flatten(0, 1)
    unit_PD = torch.nn.functional.normalize(space().flatten(0, 1), dim=1)
    there_P = unit_PD.any(1)
    expected_PP = torch.exp(SHARP * (unit_PD @ unit_PD.T - 1)) * there_P[:, None] * there_P
    assert torch.allclose(shown_PH @ shown_PH.T, expected_PP, atol=1e-4)


def test_everybody_likes_what_a_ridge_regression_says_in_which_older_answers_count_less() -> None:
    past, draw = days(), torch.Generator().manual_seed(1)
    response_E = torch.randn(480, generator=draw)
    made = learned(past, response_E, sizes=())
    f_EH = made.shown(space())[past.video_E].mean(1).double()
    for last in range(4):
        age_E = last - past.second_E // DAY_SECONDS
        weight_E = torch.where(age_E >= 0, LASTING**age_E, 0.0).double()
        known_HH = (f_EH * weight_E[:, None]).T @ f_EH + PRIOR * torch.eye(f_EH.shape[1])
        expected_H = torch.linalg.solve(known_HH, f_EH.T @ (weight_E * response_E))
        assert torch.allclose(made.likes_YKH[DAYS - 4 + last, 0].double(), expected_H, atol=1e-5)


def test_kinds_that_like_different_videos_are_told_apart_and_the_unknown_kind_is_one_too() -> None:
    past = days(people=40, events=12, over=1)
    kind_E = CATEGORY_BC[:, 0].repeat_interleave(12)
    response_E = torch.where(past.video_E % 3 == kind_E, 1.0, -0.5)
    made = learned(past, response_E)
    batch = past.batch(everybody(past), 99)
    told_BT = foretold(made, past)
    liked_BT = batch.video_BT % 3 == CATEGORY_BC
    assert told_BT[liked_BT].mean() > told_BT[~liked_BT].mean() + 0.05
    for kind in range(3):
        mine_BT = (kind == CATEGORY_BC).expand_as(liked_BT)
        assert told_BT[liked_BT & mine_BT].mean() > told_BT[~liked_BT & mine_BT].mean()


def test_a_kind_that_changes_is_told_as_it_was_before_and_as_it_is_after() -> None:
    past = days(over=2)
    even_E, later_E = past.video_E % 2 == 0, past.second_E >= DAY_SECONDS
    made = learned(past, torch.where(even_E ^ later_E, 1.0, -1.0))
    batch, told_BT = past.batch(everybody(past), 99), foretold(made, past)
    even_BT, later_BT = batch.video_BT % 2 == 0, batch.day_BT > 0
    assert told_BT[even_BT & ~later_BT].mean() > told_BT[~even_BT & ~later_BT].mean()
    assert told_BT[even_BT & later_BT].mean() < told_BT[~even_BT & later_BT].mean()


@settings(max_examples=20, deadline=None)
@given(day=st.integers(0, 2))
def test_answers_of_later_days_never_change_what_was_known_before_of_people_who_go_by_the_same(
    day: int,
) -> None:
    past, draw = days(), torch.Generator().manual_seed(2)
    response_E = torch.randn(480, generator=draw)
    later_E = past.second_E // DAY_SECONDS > day
    other_E = torch.where(later_E, torch.randn(480, generator=draw), response_E)
    before, after = learned(past, response_E), learned(past, other_E)
    known = DAYS - 4 + day + 1
    assert torch.equal(before.likes_YKH[:known], after.likes_YKH[:known])
    assert not torch.equal(before.likes_YKH[known], after.likes_YKH[known])


def test_after_training_a_kind_likes_what_it_liked_last_and_long_before_it_nothing() -> None:
    past = days()
    made = learned(past, torch.where(past.video_E % 2 == 0, 1.0, -1.0))
    last, later, old = (replace(past, second_E=past.second_E + by * DAY_SECONDS) for by in (3, 30, -90))
    assert torch.equal(foretold(made, last), foretold(made, later))
    assert foretold(made, last).any()
    assert not foretold(made, old).any()


def test_days_before_those_that_are_kept_are_in_what_the_first_of_them_knows() -> None:
    past = days(people=4, events=40, over=40)
    response_E = torch.randn(160, generator=torch.Generator().manual_seed(5))
    made = learned(past, response_E, sizes=())
    f_EH = made.shown(space())[past.video_E].mean(1).double()
    age_E = 39 - (DAYS - 1) - past.second_E // DAY_SECONDS
    assert (age_E > 0).any()
    weight_E = torch.where(age_E >= 0, LASTING**age_E, 0.0).double()
    known_HH = (f_EH * weight_E[:, None]).T @ f_EH + PRIOR * torch.eye(f_EH.shape[1])
    expected_H = torch.linalg.solve(known_HH, f_EH.T @ (weight_E * response_E))
    assert torch.allclose(made.likes_YKH[0, 0].double(), expected_H, atol=1e-5)


def test_events_read_a_few_at_a_time_teach_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    past = days()
    response_E = torch.randn(480, generator=torch.Generator().manual_seed(6))
    whole = learned(past, response_E).likes_YKH
    monkeypatch.setattr(kinds, "EVENTS", 7)
    assert torch.allclose(learned(past, response_E).likes_YKH, whole, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(videos=st.integers(100, 700))
def test_the_landmarks_are_spread_over_the_modalities_however_many_videos_there_are(videos: int) -> None:
    x_VMD = torch.zeros(videos, M, D)
    x_VMD[:, torch.arange(M), torch.arange(M)] = 1.0  # each modality shows one thing
    made = Kinds((), D)
    made._see(x_VMD)
    number_M = made.landmark_LD.sum(0)[:M]
    assert number_M.sum() == min(LANDMARKS, videos * M)
    assert number_M.max() - number_M.min() <= 2


def test_without_columns_to_read_a_profile_changes_nothing_and_without_events_nothing_is_foretold() -> None:
    past = days()
    made = learned(past, torch.randn(480, generator=torch.Generator().manual_seed(3)), sizes=())
    batch = past.batch(everybody(past), 99)
    assert torch.equal(made(CATEGORY_BC, batch, space()), made(CATEGORY_BC.flip(0), batch, space()))
    nobody = histories((0, 0))
    fresh = learned(nobody, torch.zeros(0))
    assert fresh.likes_YKH.eq(0).all()
    assert not foretold(fresh, past).any()
