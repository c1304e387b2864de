from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from contracts.errors import InputError
from tasks.importers import movielens


def _write(folder: Path) -> Path:
    """Two people and three films in the release's own form."""
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
    events = movielens.read(_write(tmp_path)).kinds["events"]
    seen = {
        day: [(e["user_id"], e["video_id"], e["event_type"]) for e in rows] for day, rows in events.items()
    }
    assert seen == {
        date(1997, 12, 4): [("7", "1", "view"), ("7", "2", "view"), ("7", "2", "like")],
        date(1997, 12, 5): [("8", "1", "view"), ("8", "1", "dislike")],
    }
    assert events[date(1997, 12, 4)][0]["event_time"] == "1997-12-04T15:55:49Z"


def test_the_catalogue_lands_whole_on_the_first_day_and_people_on_their_own(tmp_path):
    kinds = movielens.read(_write(tmp_path)).kinds
    (films,) = kinds["videos"].values()
    assert list(kinds["videos"]) == [date(1997, 12, 4)]
    assert [film["caption"] for film in films] == ["Toy Story (1995)", "Untold", "Never Rated (1996)"]
    assert (films[0]["hashtags"], films[0]["category"]) == (
        ["Animation", "Children's", "Comedy"],
        "Animation",
    )
    assert (films[1]["hashtags"], films[1]["category"]) == ([], None)
    assert {day: [u["user_id"] for u in users] for day, users in kinds["users"].items()} == {
        date(1997, 12, 4): ["7"],
        date(1997, 12, 5): ["8"],
    }
    assert kinds["users"][date(1997, 12, 5)][0]["occupation"] == "other"


def test_a_missing_file_is_named(tmp_path):
    (_write(tmp_path) / "ml-100k.user").unlink()
    with pytest.raises(InputError, match=r"holds no ml-100k\.user"):
        movielens.read(tmp_path)


@pytest.mark.shared_data
def test_the_real_release_comes_whole(shared_data):
    kinds = movielens.read(shared_data / "movielens100k").kinds
    events = [event for rows in kinds["events"].values() for event in rows]
    kinds_of_event = Counter(event["event_type"] for event in events)
    assert kinds_of_event == {"view": 100_000, "like": 34_174 + 21_201, "dislike": 6_110 + 11_370}
    assert len({event["event_id"] for event in events}) == len(events)
    assert (min(kinds["events"]), max(kinds["events"])) == (date(1997, 9, 20), date(1998, 4, 22))
    assert sum(map(len, kinds["users"].values())) == 943
    assert sum(map(len, kinds["videos"].values())) == 1682
