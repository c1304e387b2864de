"""What is read off a world's truth, on truths made by hand; and a folder that is no world."""

import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.world_ranker import summary
from benchmarks.world_skips import by_person
from benchmarks.world_truth import Truth, agreement, ceiling, drift_figures, watched_enough
from models.drift import Drift
from models.histories import Seen
from models.scoring import Targets
from tests.models.worlds import histories

DAY = date(2026, 3, 12)
FIRST = (date(2026, 3, 10) - date(1970, 1, 1)).days


def truth(people: list[dict | None], videos: list[dict] | None = None) -> Truth:
    """A truth of these people and videos, without any files."""
    made = Truth.__new__(Truth)
    made.modalities, made.people, made.videos = ["visual", "text", "audio"], people, list(videos or [])
    return made


def test_weights_that_rank_people_as_planted_agree_fully_and_a_modality_turned_over_is_told_apart() -> None:
    planted = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.1, 0.4], [0.1, 0.2, 0.7]])
    world, users = truth([{"weights": row.tolist()} for row in planted]), torch.arange(4)
    names = ["visual", "text", "audio"]
    squeezed = 1 / 3 + 0.1 * (planted - 1 / 3)
    assert agreement([squeezed], world, users, names)["spearman_lowest"] == 1
    turned = squeezed * [1, -1, 1]
    found = agreement([turned], world, users, names)
    assert found["spearman"] == {"visual": 1, "text": -1, "audio": 1}
    assert found["spearman_lowest"] == -1


def test_weights_are_compared_by_name_where_a_data_set_lacks_a_modality() -> None:
    world = truth([{"weights": [0.6, 0.1, 0.3]}, {"weights": [0.2, 0.7, 0.1]}])
    found = agreement([np.array([[0.9, 0.1], [0.8, 0.2]])], world, torch.arange(2), ["visual", "audio"])
    assert found["spearman"] == {"visual": 1, "audio": -1}


def test_a_drift_counts_as_found_within_a_day_and_a_steady_person_as_left_alone() -> None:
    p_BK = torch.tensor([[0.8, 0.1, 0.0], [0.0, 0.1, 0.8], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.9, 0.0, 0.0]])
    found = Drift(torch.arange(FIRST - 1, FIRST + 2), p_BK, 1 - p_BK.sum(1))
    days = [date(2026, 3, 10), date(2026, 3, 9), date(2026, 3, 10), None, date(2026, 3, 20)]
    told = drift_figures(found, truth([{"drift_day": day} for day in days]), torch.arange(5), DAY)
    assert (told["drifting"], told["steady"]) == (3, 2)  # a day after the last is not yet a drift
    assert told["found_within_a_day"] == pytest.approx(1 / 3, abs=1e-3)  # one two days off, one not called
    assert told["steady_left_alone"] == 0.5
    assert told["precision"] == pytest.approx(1 / 3, abs=1e-3)


def test_the_ceiling_ranks_by_what_is_seen_read_and_heard_and_by_the_taste_of_the_day() -> None:
    person = {"weights": [0.5, 0.3, 0.2], "drift_day": date(2026, 3, 12)}
    person |= {"first_taste": [5.0, 0.0], "later_taste": [0.0, 5.0]}
    videos = [
        {"segment_topics": [0, 0], "text": 0, "audio": 0, "quality": 0.0},
        {"segment_topics": [0, 1], "text": 1, "audio": 1, "quality": 0.0},
        {"segment_topics": [1, 1], "text": 1, "audio": 1, "quality": 0.0},
    ]
    nobody = Seen(torch.zeros(2, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    pinned = SimpleNamespace(seen=lambda _: nobody, night=SimpleNamespace(day=DAY))
    aims = Targets(torch.tensor([0]), torch.tensor([2]))
    assert ceiling(pinned, truth([person], videos), aims, 10).tolist() == [1.0]  # type: ignore[arg-type]
    steady = person | {"drift_day": None}
    assert ceiling(pinned, truth([steady], videos), aims, 10).tolist() == [0.5]  # type: ignore[arg-type]


def test_bots_and_people_with_few_viewings_are_not_asked() -> None:
    assert watched_enough(truth([None, {}, {}]), histories((30, 30, 19))).tolist() == [1]


def test_segments_beyond_a_videos_end_say_nothing_of_it_and_who_stays_watches_more() -> None:
    there_BN = torch.tensor([[True, True, False]]).expand(3, 3)
    p_BN = torch.tensor([[3.0, 2.0, -9.0], [3.0, 2.0, 9.0], [-3.0, 2.0, 0.0]])
    first, same, leaves = summary(p_BN, there_BN)
    assert torch.equal(first, same)
    assert first.tolist()[:3] == [2.5, 2.0, 3.0]
    assert first[3] > leaves[3]


def test_each_person_counts_once_however_much_was_watched() -> None:
    mean_SB = by_person(np.array([[1.0, 0.0, 5.0]]), np.array([7, 7, 9]))
    assert mean_SB.tolist() == [[0.5, 5.0]]


def test_a_folder_that_is_no_world_is_refused_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.quality", "--set", "world", "--path", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("quality: refused: ")
    assert "python -m world make" in done.stderr
    assert "Traceback" not in done.stderr
