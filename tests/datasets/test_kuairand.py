from datetime import date
from pathlib import Path

import pytest

from datasets import kuairand


def _write(folder: Path, log: str | None = None) -> Path:
    """One user and two videos in the release's own form, and perhaps a log."""
    profile = dict.fromkeys(kuairand.USER_COLUMNS, "0") | {"user_id": "5", "is_live_streamer": "-124"}
    profile["follow_user_num_range"] = '"(250,500]"'
    (folder / kuairand.USERS).write_text(",".join(profile) + "\n" + ",".join(profile.values()) + "\n")
    videos = ["video_id,author_id,upload_dt,video_duration,tag", '0,73,2022-04-10,87433.0,"20,43"', "1,21,,,"]
    (folder / kuairand.VIDEOS).write_text("\n".join(videos) + "\n")
    if log is not None:
        (folder / "log_standard_4_08_to_4_21_pure.csv").write_text(log)
    return folder


def test_profiles_are_read_unchanged(tmp_path):
    users = kuairand.read_landing_form(_write(tmp_path)).days_by_type["users"]
    (user,) = users[date(2022, 4, 8)]
    assert len(user) == 31
    assert (user["is_live_streamer"], user["follow_user_num_range"]) == ("-124", "(250,500]")


def test_videos_land_on_the_utc_day_of_their_upload_in_beijing(tmp_path):
    videos = kuairand.read_landing_form(_write(tmp_path)).days_by_type["videos"]
    assert {day: [video["video_id"] for video in rows] for day, rows in videos.items()} == {
        date(2022, 4, 9): ["0"],
        date(2022, 4, 8): ["1"],
    }
    (video,) = videos[date(2022, 4, 9)]
    assert (video["upload_time"], video["duration_ms"]) == ("2022-04-10T00:00:00+08:00", 87433)
    assert (video["hashtags"], video["category"]) == (["20", "43"], "20")


def test_a_log_becomes_views_impressions_and_what_was_done(tmp_path):
    columns = "user_id,video_id,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,play_time_ms"
    rows = ["5,0,1649600000000,1,1,0,0,1,0,900", "5,1,1649500000000,0,0,0,0,0,0,0"]
    release = kuairand.read_landing_form(_write(tmp_path, "\n".join([columns, *rows]) + "\n"))
    events = [e for day in release.days_by_type["events"].values() for e in day]
    assert [(e["video_id"], e["event_type"], e["watch_ms"]) for e in events] == [
        ("1", "impression", None),
        ("0", "view", 900),
        ("0", "like", None),
        ("0", "share", None),
    ]
    assert list(release.days_by_type["users"]) == [min(release.days_by_type["events"])] == [date(2022, 4, 9)]


@pytest.mark.shared_data
def test_the_real_release_is_complete_but_has_no_log(shared_data):
    release = kuairand.read_landing_form(shared_data / "kuairand")
    assert {kind: sum(map(len, days.values())) for kind, days in release.days_by_type.items()} == {
        "users": 27_285,
        "videos": 7_583,
    }
    assert "none in this copy" in release.notes[0]


def test_repeated_and_malformed_rows_are_counted(tmp_path):
    _write(tmp_path)
    path = tmp_path / kuairand.VIDEOS
    path.write_text(path.read_text() + "0,73,2022-04-10,5.0,1\n3,73,yesterday,5.0,1\n")
    users, videos = kuairand.read_landing_form(tmp_path).tables
    assert not users.rejected
    assert videos.rejected == {"duplicate_video_id": 1, "invalid_upload_dt": 1}


def test_a_duration_that_is_not_a_number_is_unknown(tmp_path):
    _write(tmp_path)
    path = tmp_path / kuairand.VIDEOS
    path.write_text(path.read_text().replace("87433.0", "nan") + "2,21,2022-04-11,inf,\n")
    videos = [
        video
        for rows in kuairand.read_landing_form(tmp_path).days_by_type["videos"].values()
        for video in rows
    ]
    assert {video["video_id"]: video["duration_ms"] for video in videos} == {"0": None, "1": None, "2": None}
