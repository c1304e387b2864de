from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from datasets import segmm

HEADER = "user_id,video_id,time_ms,duration_ms,playing_time,label_1D\n"


def _write(folder: Path, rows: str) -> Path:
    (folder / segmm.INTERACTIONS_FILE).write_text(HEADER + rows, encoding="utf-8")
    return folder


def test_views_land_by_time_and_videos_on_the_first_day(tmp_path):
    later, spanning = "1,30,90000000,7000,5100,[1 0]\n", '1,20,5,12000,3000,"[ 0 -1\n -1]"\n'
    looped, first = "2,20,5,12000,30000,[1 1 1]\n", "3,20,4,12000,1000,[ 0 -1 -1]\n"
    rows = later + spanning + looped + first
    release = segmm.read_landing_form(_write(tmp_path, rows))
    days = release.days_by_type["events"]
    assert list(days) == [date(2024, 1, 1), date(2024, 1, 2)]
    assert [(e["user_id"], e["watch_ms"]) for e in days[date(2024, 1, 1)]] == [
        ("3", 1000),
        ("1", 3000),
        ("2", 30000),
    ]
    assert days[date(2024, 1, 1)][0]["event_time"] == "2024-01-01T00:00:00.004000Z"
    assert days[date(2024, 1, 2)][0]["event_time"] == "2024-01-02T01:00:00Z"
    catalogue = [{"video_id": "20", "duration_ms": 12000}, {"video_id": "30", "duration_ms": 7000}]
    assert release.days_by_type["videos"] == {date(2024, 1, 1): catalogue}
    assert release.notes[0].startswith("4 of 4 segment labels follow")


def test_a_label_that_contradicts_the_watch_time_is_counted(tmp_path):
    release = segmm.read_landing_form(_write(tmp_path, "1,2,5,12000,3000,[ 1 0 -1]\n1,3,5,9000,9000,[1 1]\n"))
    assert release.notes[0].startswith("1 of 2 segment labels follow")


@given(st.integers(1, 500_000), st.integers(1, 200_000))
def test_one_label_per_5_seconds_and_one_exit_segment(watch_ms, duration_ms):
    labels = segmm.segment_labels(watch_ms, duration_ms)
    assert 5000 * (len(labels) - 1) < duration_ms <= 5000 * len(labels)
    assert labels == sorted(labels, reverse=True)
    if watch_ms >= duration_ms:
        assert set(labels) == {1}
    else:
        assert 5000 * labels.index(0) < watch_ms <= 5000 * (labels.index(0) + 1)
        assert labels.count(0) == 1


def test_a_row_with_another_duration_of_the_video_is_counted(tmp_path):
    rows = "1,2,5,12000,3000,[ 0 -1 -1]\n2,2,6,13000,3000,[ 0 -1 -1]\n3,2,7,13000,3000,[ 0 -1 -1]\n"
    rows += "3,2,7,13000,4000,[ 0 -1 -1]\n3,4,-7,13000,4000,[ 0 -1 -1]\n"
    release = segmm.read_landing_form(_write(tmp_path, rows))
    assert release.tables[0].rejected == {
        "conflicting_duration_ms": 1,
        "duplicate_user_id_video_id_time_ms": 1,
        "invalid_time_ms": 1,
    }
    assert release.days_by_type["videos"] == {date(2024, 1, 1): [{"video_id": "2", "duration_ms": 13000}]}


def test_the_split_is_by_time(tmp_path):
    rows = [f"{i % 3},{i},{1000 - i},12000,3000,[ 0 -1 -1]\n" for i in range(100)]
    split = segmm.read_split(_write(tmp_path, "".join(rows)))
    assert (split.valid_start, split.test_start) == (80, 90)
    assert split.log.user_E.tolist() == [i % 3 for i in reversed(range(100))]
    with pytest.raises(InputError, match="at least 100 are needed"):
        segmm.read_split(_write(tmp_path, "".join(rows[:99])))


@pytest.mark.shared_data
def test_every_label_of_the_real_sample_follows_from_its_watch_time(shared_data):
    release = segmm.read_landing_form(shared_data / "segmm")
    assert release.notes[0].startswith("10000 of 10000 segment labels")
    events = [event for rows in release.days_by_type["events"].values() for event in rows]
    assert len({event["event_id"] for event in events}) == len(events) == 10_000
    assert {day: len(rows) for day, rows in release.days_by_type["events"].items()} == {
        date(2024, 1, 1): 2515,
        date(2024, 1, 2): 2694,
        date(2024, 1, 3): 4425,
        date(2024, 1, 4): 366,
    }
    assert len(next(iter(release.days_by_type["videos"].values()))) == 9123
