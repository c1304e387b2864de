from collections import Counter
from datetime import date
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import InputError
from datasets import movielens
from datasets.landing_form import Record
from tests.support.releases import DAY, INTER, write_movielens


def _write(folder: Path) -> Path:
    """Two users and three films in the release's own form."""
    lines = {
        "ml-100k.inter": [
            "user_id:token\titem_id:token\trating:float\ttimestamp:float",
            "7\t2\t5\t881250949",  # 1997-12-04T15:55:49Z
            "7\t1\t3\t881250949",
            "8\t1\t1\t881337349",  # a day later
        ],
        "ml-100k.item": [
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
            "1\tToy Story\t1995\tAnimation Children's Comedy",
            "2\tUntold\t\t",
            "3\tNever Rated\t1996\tDrama",
        ],
        "ml-100k.user": [
            "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
            "7\t24\tM\ttechnician\t85711",
            "8\t53\tF\tother\t94043",
        ],
    }
    for name, text in lines.items():
        (folder / name).write_text("\n".join(text) + "\n", encoding="utf-8")
    return folder


def test_ratings_become_views_and_opinions_at_their_real_time(tmp_path):
    events = movielens.read_landing_form(_write(tmp_path)).days_by_type["events"]
    seen = {
        day: [(e["user_id"], e["video_id"], e["event_type"]) for e in rows] for day, rows in events.items()
    }
    assert seen == {
        date(1997, 12, 4): [("7", "1", "view"), ("7", "2", "view"), ("7", "2", "like")],
        date(1997, 12, 5): [("8", "1", "view"), ("8", "1", "dislike")],
    }
    assert events[date(1997, 12, 4)][0]["event_time"] == "1997-12-04T15:55:49Z"


def test_films_land_on_the_first_day_and_users_on_their_own(tmp_path):
    days_by_type = movielens.read_landing_form(_write(tmp_path)).days_by_type
    (films,) = days_by_type["videos"].values()
    assert list(days_by_type["videos"]) == [date(1997, 12, 4)]
    assert [film["caption"] for film in films] == ["Toy Story (1995)", "Untold", "Never Rated (1996)"]
    assert (films[0]["hashtags"], films[0]["category"]) == (
        ["Animation", "Children's", "Comedy"],
        "Animation",
    )
    assert (films[1]["hashtags"], films[1]["category"]) == ([], None)
    assert {day: [u["user_id"] for u in users] for day, users in days_by_type["users"].items()} == {
        date(1997, 12, 4): ["7"],
        date(1997, 12, 5): ["8"],
    }
    assert days_by_type["users"][date(1997, 12, 5)][0]["occupation"] == "other"


def test_a_missing_file_is_named(tmp_path):
    (_write(tmp_path) / "ml-100k.user").unlink()
    with pytest.raises(InputError, match=r"lacks ml-100k\.user"):
        movielens.read_landing_form(tmp_path)


def _embed(films: list[Record]) -> tuple[Tensor, Tensor]:
    return torch.eye(2)[torch.arange(len(films)) % 2], torch.tensor([bool(film["caption"]) for film in films])


def test_folds_hold_nothing_from_after_their_cut(tmp_path):
    split = movielens.read_split(write_movielens(tmp_path), _embed)
    train, test = split.train, split.test
    first, second = (int(m.sequences.timestamp_E.max()) // DAY * DAY + DAY for m in (train, test))
    assert first < second
    assert 0.5 < len(train.sequences.video_E) / 720 < 0.7
    for fold in (train, test):
        targets = set(zip(fold.targets.user_P.tolist(), fold.targets.row_P.tolist(), strict=True))
        user_E = torch.arange(60).repeat_interleave(fold.seen_items.offsets.diff())
        assert targets
        assert not targets & set(zip(user_E.tolist(), fold.seen_items.row_E.tolist(), strict=True))
        assert all((film < 12) == (user % 2 == 0) for user, film in targets)  # only films with 4 or 5 stars


def test_a_release_that_cannot_be_split_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"lacks ml-100k\.inter"):
        movielens.read_split(tmp_path, _embed)
    folder = write_movielens(tmp_path)
    inter = folder / "ml-100k.inter"
    inter.write_text(INTER + "\n1\t2\t5\t100\n1\t3\t5\t200\n")
    with pytest.raises(InputError, match="span too few days"):
        movielens.read_split(folder, _embed)
    inter.write_text(INTER + "\n1\t999\t5\t100\n")
    with pytest.raises(InputError, match=r"item_id:token '999' is not in ml-100k\.item"):
        movielens.read_split(folder, _embed)


@pytest.mark.shared_data
def test_the_real_release_is_complete(shared_data):
    days_by_type = movielens.read_landing_form(shared_data / "movielens100k").days_by_type
    events = [event for rows in days_by_type["events"].values() for event in rows]
    count_by_type = Counter(event["event_type"] for event in events)
    assert count_by_type == {"view": 100_000, "like": 34_174 + 21_201, "dislike": 6_110 + 11_370}
    assert len({event["event_id"] for event in events}) == len(events)
    assert (min(days_by_type["events"]), max(days_by_type["events"])) == (
        date(1997, 9, 20),
        date(1998, 4, 22),
    )
    assert sum(map(len, days_by_type["users"].values())) == 943
    assert sum(map(len, days_by_type["videos"].values())) == 1682
