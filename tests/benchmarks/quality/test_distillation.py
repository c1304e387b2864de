"""The comparison of students with their teacher: overlap, ratios and the names of students."""

import pytest
import torch

from benchmarks.quality import distillation
from benchmarks.quality.distillation import (
    BATCH_SIZES,
    minus_alone,
    overlap,
    ratios_to_teacher,
    student_config,
    time_requests,
)
from core.errors import InputError
from models.evaluation.scoring import RankingResult, Scorer
from tests.support.model_inputs import make_item_table, make_model, make_user_data
from training.distillation import StudentConfig


def _ranking(*rows: list[int]) -> RankingResult:
    top_BK = torch.tensor(rows)
    return RankingResult(torch.zeros(0), top_BK, torch.zeros(top_BK.shape))


def test_the_overlap_is_the_share_of_common_videos_in_any_order() -> None:
    ours, other = _ranking([1, 2], [3, 4]), _ranking([2, 9], [4, 3])
    assert overlap(ours, other) == 0.75


def test_a_name_describes_encoder_and_width() -> None:
    assert student_config("lstm-16", 0.0) == StudentConfig(16, "lstm", 0.0)
    with pytest.raises(InputError, match="--students has 'mean'; write ENCODER-WIDTH"):
        student_config("mean", 1.0)


def test_a_distilled_student_is_compared_with_the_one_alone() -> None:
    ndcg = torch.linspace(0, 1, 40).numpy()
    per_user = {"mean-8 distilled": ndcg + 0.5, "mean-8 alone": ndcg, "teacher": ndcg}
    assert minus_alone("mean-8 distilled", per_user)["minus_alone"]["mean"] == 0.5
    assert minus_alone("mean-8 alone", per_user) == minus_alone("teacher", per_user) == {}


def test_the_ratios_are_those_to_the_teacher() -> None:
    teacher = {"ndcg@10": 0.2, "mib": 4.0, "ms_of_1_users": 10.0, "ms_of_64_users": 0.0}
    student = {"ndcg@10": 0.1, "mib": 1.0, "ms_of_1_users": 2.0, "ms_of_64_users": 5.0}
    assert ratios_to_teacher({"teacher": teacher, "s": student}) == {
        "s ndcg@10": 0.5,
        "s mib": 0.25,
        "s ms_of_1_users": 0.2,
    }


def test_each_model_is_timed_with_each_number_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "ROUNDS", 1)
    scorers = {name: Scorer(make_model(), make_item_table(), make_user_data()) for name in ("teacher", "s")}
    seconds = time_requests(scorers, torch.tensor([1, 2, 3]))
    assert seconds.keys() == {(name, size) for name in scorers for size in BATCH_SIZES}
    assert min(seconds.values()) > 0
