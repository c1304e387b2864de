from datetime import date
from pathlib import Path

import pytest

from core.errors import InputError
from datasets import microlens

MORNING = 1_583_366_400_000  # 2020-03-05T00:00:00Z


def _write(
    folder: Path, pairs: str, titles: str = 'item,title\n1,"Cat, on a #roof"\n3,Seen by no user\n'
) -> Path:
    (folder / "MicroLens-100k_pairs.csv").write_text("user,item,timestamp\n" + pairs, encoding="utf-8")
    (folder / "MicroLens-100k_titles.csv").write_text(titles, encoding="utf-8")
    return folder


def test_pairs_become_views_and_all_videos_land_on_the_first_day(tmp_path):
    pairs = f"8,2,{MORNING + 86_400_000}\n7,1,{MORNING + 1}\n"
    release = microlens.read_landing_form(_write(tmp_path, pairs))
    assert release.days_by_type["events"] == {
        date(2020, 3, 5): [
            {
                "event_id": "microlens-7-1",
                "user_id": "7",
                "video_id": "1",
                "event_type": "view",
                "event_time": "2020-03-05T00:00:00.001000Z",
            }
        ],
        date(2020, 3, 6): [
            {
                "event_id": "microlens-8-2",
                "user_id": "8",
                "video_id": "2",
                "event_type": "view",
                "event_time": "2020-03-06T00:00:00Z",
            }
        ],
    }
    (videos,) = release.days_by_type["videos"].values()
    captions = {video["video_id"]: video["caption"] for video in videos}
    assert captions == {"1": "Cat, on a #roof", "2": None, "3": "Seen by no user"}
    assert release.notes == ["1 of 3 videos have no title, so they have no caption"]


def test_pairs_that_cannot_be_used_are_counted(tmp_path):
    pairs = (
        f"7,1,{MORNING}\n7,1,{MORNING + 5}\n7,2,{MORNING // 1000}\n7,2,\n7,2,{10**17}\n,2,{MORNING}\n7,2\n"
    )
    pairs_table, titles = microlens.read_landing_form(
        _write(tmp_path, pairs, "item,title\n1,First\n1,Second\n")
    ).tables
    assert pairs_table.rejected == {
        "duplicate_user_item": 1,
        "invalid_timestamp": 2,
        "missing_timestamp": 1,
        "missing_user": 1,
        "wrong_number_of_cells": 1,
    }
    assert titles.rejected == {"duplicate_item": 1}
    assert titles.records() == [{"item": "1", "title": "First"}]


def test_a_video_file_becomes_the_media_of_its_video(tmp_path):
    _write(tmp_path, f"7,1,{MORNING}\n7,../x,{MORNING}\n")
    (tmp_path / "videos").mkdir()
    for path in (tmp_path / "videos" / "1.mp4", tmp_path / "x.mp4"):
        path.write_bytes(b"")
    (videos,) = microlens.read_landing_form(tmp_path).days_by_type["videos"].values()
    media = {video["video_id"]: video["media_uri"] for video in videos}
    assert media == {"1": str(tmp_path / "videos" / "1.mp4"), "3": None, "../x": None}


def test_a_missing_or_second_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"must hold one file \*titles\.csv, but holds no such file"):
        microlens.read_landing_form(tmp_path)
    _write(tmp_path, f"7,1,{MORNING}\n")
    (tmp_path / "other_pairs.csv").write_text("user,item,timestamp\n")
    with pytest.raises(InputError, match=r"holds MicroLens-100k_pairs\.csv, other_pairs\.csv"):
        microlens.read_landing_form(tmp_path)


@pytest.mark.shared_data
def test_the_real_titles_are_read_completely(shared_data, tmp_path):
    titles = (shared_data / "media" / "microlens_titles.csv").read_text(encoding="utf-8")
    release = microlens.read_landing_form(_write(tmp_path, f"7,19738,{MORNING}\n7,19739,{MORNING}\n", titles))
    (videos,) = release.days_by_type["videos"].values()
    assert release.tables[1].summary() == "MicroLens-100k_titles.csv: 19220 rows in = 19220 kept + 0 rejected"
    assert (len(videos), sum(video["caption"] is None for video in videos)) == (19_221, 1)
