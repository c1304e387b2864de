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


def _write_grouplens_100k(folder: Path) -> Path:
    """Write the release of `_write` as GroupLens does."""
    flags = ["".join("1" if n in genres else "0" for n in range(19)) for genres in ((3, 4), (), (8,))]
    titles = ("Toy Story (1995)", "Untold", "Never Rated (1996)")
    tables = {
        "u.data": "7\t2\t5\t881250949\n7\t1\t3\t881250949\n8\t1\t1\t881337349\n",
        "u.item": "".join(
            f"{n}|{title}|01-Jan-1995||http://a.b/?{title}|{'|'.join(genres)}\n"
            for n, (title, genres) in enumerate(zip(titles, flags, strict=True), 1)
        ),
        "u.user": "7|24|M|technician|85711\n8|53|F|other|94043\n",
    }
    return _write_tables(folder, tables)


def _write_grouplens_1m(folder: Path) -> Path:
    tables = {
        "ratings.dat": "7::2::5::881250949\n7::1::3::881250949\n8::1::1::881337349\n",
        "movies.dat": "1::Toy Story (1995)::Animation|Children's\n2::Untold::\n"
        "3::Misérables, Les (1995)::Drama\n",
        "users.dat": "7::M::24::17::85711\n8::F::53::0::94043\n",
    }
    return _write_tables(folder, tables)


def _write_tables(folder: Path, tables: dict[str, str]) -> Path:
    for name, text in tables.items():
        (folder / name).write_text(text, encoding="latin-1")
    return folder


def test_the_files_of_grouplens_give_the_records_of_recbole(tmp_path):
    recbole, grouplens = tmp_path / "recbole", tmp_path / "grouplens"
    for folder in (recbole, grouplens):
        folder.mkdir()
    expected = movielens.read_landing_form(_write(recbole)).days_by_type
    days_by_type = movielens.read_landing_form(_write_grouplens_100k(grouplens)).days_by_type
    assert days_by_type["events"] == expected["events"]
    assert days_by_type["users"] == expected["users"]
    ((film, *others),) = days_by_type["videos"].values()
    assert film["hashtags"] == ["Animation", "Children's"]
    assert [film["caption"] for film in (film, *others)] == [
        "Toy Story (1995)",
        "Untold",
        "Never Rated (1996)",
    ]


def test_the_files_of_movielens_1m_are_read_as_latin_1(tmp_path):
    days_by_type = movielens.read_landing_form(_write_grouplens_1m(tmp_path)).days_by_type
    (films,) = days_by_type["videos"].values()
    assert [(film["caption"], film["hashtags"]) for film in films] == [
        ("Toy Story (1995)", ["Animation", "Children's"]),
        ("Untold", []),
        ("Misérables, Les (1995)", ["Drama"]),
    ]
    ((user,), _) = days_by_type["users"].values()
    assert user == {"user_id": "7", "age": "24", "gender": "M", "occupation": "17", "zip_code": "85711"}


def test_ratings_that_cannot_be_used_are_counted(tmp_path):
    _write_grouplens_100k(tmp_path)
    with (tmp_path / "u.data").open("a") as file:
        file.write("7\t2\t4\t881250950\n7\t99\t4\t881250950\n8\t2\t9\t881250950\n")
        file.write("8\t2\t4\t-5\n8\t3\t4\tsoon\n")
    with (tmp_path / "u.item").open("a") as file:
        file.write("3|Again (1996)|||" + "|0" * 19 + "\n")
    release = movielens.read_landing_form(tmp_path)
    assert [table.summary() for table in release.tables] == [
        "u.data: 8 rows in = 3 kept + 5 rejected (1 duplicate_user_id_item_id, 1 invalid_rating,"
        " 2 invalid_timestamp, 1 unknown_item_id)",
        "u.item: 4 rows in = 3 kept + 1 rejected (1 duplicate_item_id)",
        "u.user: 2 rows in = 2 kept + 0 rejected",
    ]


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
    with pytest.raises(InputError, match=r"ml-100k\.inter: 1 rows in = 0 kept .* \(1 unknown_item_id\)"):
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
