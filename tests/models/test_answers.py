"""How warmly a person answers, beside everybody."""

import pytest
import torch

from models.answers import PRIOR, Answers, answers
from tests.models.worlds import BEHAVIOURS, everybody, histories

ROW_V = torch.where(torch.arange(12) < 9, torch.arange(12), -1)


def test_a_warmer_answer_is_a_higher_response_and_an_unknown_watched_share_is_a_usual_one() -> None:
    past = histories((1,) * 4)
    past.did_EA[:] = False
    past.did_EA[1, BEHAVIOURS.index("liked")] = True
    past.did_EA[2, BEHAVIOURS.index("disliked")] = True
    ratio_E, known_E = torch.full((4,), 0.6), torch.tensor([True, True, True, False])
    usual, liked, disliked, unknown = answers(ratio_E, known_E, past.did_EA, BEHAVIOURS).tolist()
    assert liked > usual > disliked
    assert unknown == pytest.approx(usual, abs=1e-6)


def test_an_answer_is_told_beside_what_is_usual_at_the_video_and_at_a_new_one_beside_the_average() -> None:
    past, made = histories((8, 8, 8)), Answers(BEHAVIOURS, 9)
    batch = past.batch(everybody(past), 8)
    raw_BT = made(batch, ROW_V)
    made.start_from(past, ROW_V)
    average = float(raw_BT.double().mean())
    for video in range(12):
        at_BT = batch.video_BT == video
        if not at_BT.any():
            continue
        count, total = int(at_BT.sum()), float(raw_BT[at_BT].double().sum())
        usual = (total + PRIOR * average) / (count + PRIOR) if video < 9 else average
        assert torch.allclose(made(batch, ROW_V)[at_BT], raw_BT[at_BT] - usual, atol=1e-5)


def test_what_nobody_has_watched_yet_is_answered_as_usual() -> None:
    made = Answers(BEHAVIOURS, 9)
    made.start_from(histories((0, 0)), ROW_V)
    assert made.usual.eq(0).all()
    made.start_from(histories((8,), videos=2), ROW_V)
    assert torch.allclose(made.usual[2:], made.usual[-1].expand(8))


def test_the_answers_of_all_events_are_those_of_the_batches() -> None:
    past, made = histories((0, 1, 5, 8)), Answers(BEHAVIOURS, 9)
    made.start_from(past, ROW_V)
    batch = past.batch(everybody(past), 8)
    assert torch.allclose(made.of(past, ROW_V), made(batch, ROW_V)[batch.mask_BT], atol=1e-6)
