"""MovieLens: the global split in time, who is cold, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.sets import movielens
from benchmarks.sets.movielens import DAY, read
from contracts.errors import InputError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
USER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"


def written(folder: Path, users: int = 60, films: int = 24, days: int = 30) -> Path:
    """Women like films of the first half, men those of the second; each user rates on two days."""
    ratings = []
    for user in range(users):
        for day in (user * days // users, min(user * days // users + 5, days - 1)):
            for i in range(6):
                film = (user * 5 + day + i * 3) % films
                stars = 5 if (film < films // 2) == (user % 2 == 0) else 2
                ratings.append(f"{user}\t{film}\t{stars}\t{day * DAY + 60 * i + user}")
    tables = {
        "ml-100k.inter": [INTER, *ratings],
        "ml-100k.item": [ITEM, *(f"{i}\tfilm {i}\t1990\tDrama" for i in range(films))],
        "ml-100k.user": [USER, *(f"{u}\t30\t{'FM'[u % 2]}\twriter\t{u % 9}0210" for u in range(users))],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = lambda films: torch.eye(2)[torch.arange(len(films)) % 2]  # noqa: E731 - no encoder
    monkeypatch.setattr(movielens, "texts", lambda films: (vectors(films), torch.ones(len(films)) > 0))


def test_nothing_from_after_a_cut_is_known_before_it(tmp_path: Path) -> None:
    split = read(written(tmp_path))
    past, later = split.past, split.later
    first, second = (int(m.histories.second_E.max()) // DAY * DAY + DAY for m in (past, later))
    assert first < second
    assert 0.5 < len(past.histories.video_E) / 720 < 0.7
    for moment in (past, later):
        aims = set(zip(moment.targets.user_P.tolist(), moment.targets.row_P.tolist(), strict=True))
        user_E = torch.arange(60).repeat_interleave(moment.seen.offsets.diff())
        assert aims
        assert not aims & set(zip(user_E.tolist(), moment.seen.row_E.tolist(), strict=True))
        assert all((film < 12) == (user % 2 == 0) for user, film in aims)  # what was liked, and only that


def test_every_model_and_the_worth_of_the_profile_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movielens, "SEEDS", (1, 2))
    few = dict.fromkeys(movielens.KNOBS, (6, 6, 16, 0.005, 0.0))
    monkeypatch.setattr(movielens, "KNOBS", few)
    real, longer = movielens.params, {"epochs": 30, "patience": 30, "learning_rate": 0.01, "negatives": 0}
    monkeypatch.setattr(movielens, "params", lambda *a: replace(real(*a), **longer))
    figures, ratios = movielens.measure(written(tmp_path))
    assert {*few, "ours", "ours_without_profile"} < set(figures)
    assert 0 < figures["cold_people"] < figures["people"]
    assert figures["ours_minus"]["sasrec"]["all"]["users"] == figures["people"]
    # who is new can only be known by the profile: women and men like different halves
    assert figures["ours_minus"]["ours_without_profile"]["cold"]["low"] > 0
    assert ratios["cold_people_with_profile_over_without"] > 1.15


def test_what_is_not_the_release_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no ml-100k\.inter"):
        read(tmp_path)
    folder = written(tmp_path)
    inter = folder / "ml-100k.inter"
    inter.write_text(INTER + "\n1\t2\t5\t100\n1\t3\t5\t200\n")
    with pytest.raises(InputError, match="lie on too few days"):
        read(folder)
    inter.write_text(INTER + "\n1\t999\t5\t100\n")
    with pytest.raises(InputError, match=r"item_id:token '999' is not in ml-100k\.item"):
        read(folder)
