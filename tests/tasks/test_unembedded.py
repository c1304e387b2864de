import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.lake import Lake
from contracts.place import PROJECT, Night
from tasks import embed
from tests.media.files import BLUE, RED, plain, write_video
from tests.tasks.videos import DAY, PARAMS, catalogue, features, places, rejects, vector, versions


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


@contextmanager
def dying_at_commit(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What runs within is interrupted at its commit of this number."""
    write, calls = Lake.write, []

    def dies(self: Lake, name: str, rows: pa.Table, *more: Any) -> int | None:
        calls.append(name)
        if len(calls) == number:
            raise KeyboardInterrupt
        return write(self, name, rows, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "write", dies)
        yield


def test_a_second_run_commits_nothing_and_tells_the_same(landing: Path, night: Night) -> None:
    write_video(landing / "good.mp4")
    write_video(landing / "silent.mp4", hertz=None)
    write_video(landing / "song.m4a", picture=None)
    (landing / "empty.mp4").touch()
    names = ("good.mp4", "silent.mp4", "song.m4a", "empty.mp4", "gone.mp4")
    catalogue({name: {"media_uri": name, "caption": name} for name in names})
    first = embed.run(PARAMS, night)
    before = versions()
    second = embed.run(PARAMS, night)
    assert versions() == before
    assert second.rows is not None
    assert (second.rows.rows_in, second.rows.rejected) == (1, {"missing_media": 1})  # it may have come since
    assert (second.digests, second.facts["covered"]) == (first.digests, first.facts["covered"])
    assert first.facts["covered"] == {"visual": 2, "text": 5, "audio": 2}
    assert first.facts["lacking"] == {"visual": 1, "audio": 1}
    assert ("embed.audio", "no_sound", "silent.mp4", "silent.mp4") in rejects()
    assert ("embed.visual", "no_picture", "song.m4a", "song.m4a") in rejects()


def test_a_later_night_embeds_what_is_new_and_media_that_has_come_since(landing: Path, night: Night) -> None:
    (landing / "media").mkdir(parents=True)
    (landing / "media/bad.mp4").write_bytes(b"garbage" * 100)
    catalogue(
        {
            "v1": {"media_uri": "media/late.mp4"},
            "v2": {"media_uri": "media/bad.mp4"},
            "v3": {"caption": "old"},
        }
    )
    catalogue({"v4": {"caption": "new"}}, DAY + timedelta(1))
    embed.run(PARAMS, night)
    assert {row["video_id"] for row in features()} == {"v3"}
    write_video(landing / "media/late.mp4")
    receipt = embed.run(PARAMS, Night(DAY + timedelta(1), night.workspace))
    assert {row["video_id"] for row in features(day=DAY + timedelta(1))} == {"v1", "v4"}
    assert receipt.rows is not None
    assert receipt.rows.rows_in == 2


def test_media_that_come_after_a_run_are_embedded_by_another_run_of_the_same_night(
    landing: Path, night: Night
) -> None:
    catalogue({name: {"media_uri": f"{name}.mp4"} for name in ("late", "never")})
    embed.run(PARAMS, night)
    assert features() == []
    write_video(landing / "late.mp4")
    receipt = embed.run(PARAMS, night)
    assert receipt.rows is not None
    assert (receipt.rows.rows_in, receipt.rows.rejected) == (2, {"missing_media": 1})
    assert {video for video, *_ in places()} == {"late"}
    assert rejects() == [("embed", "missing_media", "never.mp4", "never")]


def test_what_a_file_is_refused_for_now_takes_the_place_of_what_it_was_refused_for_on_the_same_night(
    landing: Path, night: Night
) -> None:
    write_video(landing / "silent.mp4", hertz=None)
    catalogue({name: {"media_uri": f"{name}.mp4"} for name in ("late", "never", "silent")})
    embed.run(PARAMS, night)
    (landing / "late.mp4").touch()
    embed.run(PARAMS, night)
    assert rejects() == [
        ("embed", "empty_media", "late.mp4", "late"),
        ("embed", "missing_media", "never.mp4", "never"),
        ("embed.audio", "no_sound", "silent.mp4", "silent"),
    ]


def test_what_an_earlier_night_refused_stays_told_when_a_later_one_tries_again(night: Night) -> None:
    catalogue({"v1": {"media_uri": "never.mp4"}})
    embed.run(PARAMS, night)
    embed.run(PARAMS, Night(DAY + timedelta(1), night.workspace))
    assert rejects() == [("embed", "missing_media", "never.mp4", "v1")] * 2


@pytest.mark.parametrize("commit", [1, 2, 3, 4])
def test_a_repair_that_is_killed_at_any_commit_and_goes_on_ends_as_one_that_was_not(
    landing: Path, night: Night, monkeypatch: pytest.MonkeyPatch, commit: int
) -> None:
    catalogue({f"v{n}": {"media_uri": f"v{n}.mp4", "caption": f"cat {n}"} for n in range(3)})
    by_one = replace(PARAMS, videos_per_commit=1)
    embed.run(by_one, night)
    write_video(landing / "v0.mp4")
    (landing / "v1.mp4").touch()
    with dying_at_commit(commit, monkeypatch), suppress(KeyboardInterrupt):
        embed.run(by_one, night)
    embed.run(by_one, night)
    assert rejects() == [
        ("embed", "empty_media", "v1.mp4", "v1"),
        ("embed", "missing_media", "v2.mp4", "v2"),
    ]
    assert places() == {
        *((f"v{n}", "text", -1) for n in range(3)),
        *(("v0", m, segment) for m in ("visual", "audio") for segment in (-1, 0)),
    }
    assert len(features()) == len(places())


@pytest.mark.parametrize("nothing", ["", "  "])
def test_an_empty_address_is_none(night: Night, nothing: str) -> None:
    catalogue({"v1": {"media_uri": nothing, "caption": "a cat"}})
    receipt = embed.run(PARAMS, night)
    assert receipt.rows is not None
    assert (receipt.rows.rows_in, receipt.rows.kept, rejects()) == (1, 1, [])


def test_the_newest_record_of_a_video_counts(landing: Path, night: Night) -> None:
    write_video(landing / "new.mp4")
    catalogue({"v1": {"media_uri": "old.mp4"}}, DAY - timedelta(1))
    catalogue({"v1": {"media_uri": "new.mp4"}})
    embed.run(PARAMS, night)
    assert rejects() == []
    assert ("v1", "visual", 0) in places()


def test_a_killed_run_keeps_its_commits_and_the_next_one_does_the_rest(
    landing: Path, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_video(landing / f"v{number}.mp4")
    catalogue({f"v{number}": {"media_uri": f"v{number}.mp4"} for number in range(3)})
    with dying_at_commit(2, monkeypatch), pytest.raises(KeyboardInterrupt):
        embed.run(replace(PARAMS, videos_per_commit=1), night)
    assert {row["video_id"] for row in features()} == {"v0"}
    receipt = embed.run(PARAMS, night)
    assert receipt.rows is not None
    assert receipt.rows.rows_in == 2
    assert len(places()) == len(features()) == 3 * 4


def test_a_run_that_is_killed_and_goes_on_gives_the_same_bits_as_one_that_was_not(
    landing: Path, home: Path, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in (11, 16, 17):  # the others are missing, and are tried again
        write_video(landing / f"v{n}.mp4", seconds=n - 4, hertz=20.0 * n)
    videos = {f"v{n}": {"media_uri": f"v{n}.mp4", "caption": "a cat on a roof " * n} for n in range(10, 20)}
    found = []
    for name, dies_at in (("whole", 99), ("cut", 2), ("later", 3)):
        monkeypatch.setenv("UNDERCURRENT_LANDING", str(landing))
        monkeypatch.setenv("UNDERCURRENT_HOME", str(home / name))
        catalogue(videos)
        with dying_at_commit(dies_at, monkeypatch), suppress(KeyboardInterrupt):
            embed.run(replace(PARAMS, videos_per_commit=5), night)
        embed.run(replace(PARAMS, videos_per_commit=5), night)
        key = ("video_id", "modality", "segment")
        found.append({tuple(row[k] for k in key): row["vector"] for row in features()})
    assert len(found[0]) == 10 + 2 * (3 + 4 + 4)
    assert found[0] == found[1] == found[2]


def test_another_sampling_embeds_again_beside_the_old_vectors(landing: Path, night: Night) -> None:
    write_video(landing / "v1.mp4", seconds=6)
    catalogue({"v1": {"media_uri": "v1.mp4", "caption": "a cat"}})
    old = embed.run(PARAMS, night).facts["fingerprints"]
    receipt = embed.run(replace(PARAMS, frames_per_segment=3), night)
    new = receipt.facts["fingerprints"]
    assert new["visual"] != old["visual"]
    assert (new["text"], new["audio"]) == (old["text"], old["audio"])
    assert receipt.facts["embedded"] == {"visual": 1, "text": 0, "audio": 0}
    assert places(fingerprint=old["visual"]) == places(fingerprint=new["visual"])


def test_a_video_of_another_file_or_caption_is_embedded_again_and_its_old_vectors_go(
    landing: Path, night: Night
) -> None:
    write_video(landing / "old.mp4", seconds=12, picture=lambda t: plain(RED))
    write_video(landing / "new.mp4", seconds=4, picture=lambda t: plain(BLUE))
    catalogue({v: {"media_uri": "old.mp4", "caption": "a cat"} for v in ("file", "text", "same")})
    embed.run(PARAMS, night)
    before = {(v, m): vector(v, m) for v in ("file", "text", "same") for m in ("visual", "text")}
    day = DAY + timedelta(1)
    catalogue(
        {
            "file": {"media_uri": "new.mp4", "caption": "a cat"},
            "text": {"media_uri": "old.mp4", "caption": "a dog"},
            "same": {"media_uri": "old.mp4", "caption": "a cat", "hashtags": []},
        },
        day,
    )
    later = Night(day, night.workspace)
    receipt = embed.run(PARAMS, later)
    assert receipt.facts["embedded"] == {"visual": 1, "text": 1, "audio": 1}
    changed = {key for key, old in before.items() if not np.allclose(vector(*key), old, atol=1e-3)}
    assert changed == {("file", "visual"), ("text", "text")}
    assert {(row["video_id"], row["modality"]) for row in features(day=day)} == {
        ("file", "visual"), ("file", "audio"), ("text", "text"),
    }  # fmt: skip
    assert {segment for _, _, segment in places(video_id="file", modality="visual")} == {-1, 0}
    assert len(places()) == len(features())
    done = versions()
    embed.run(PARAMS, later)
    assert versions() == done


def test_a_new_file_that_cannot_be_read_leaves_the_old_vectors(landing: Path, night: Night) -> None:
    write_video(landing / "old.mp4")
    catalogue({"v1": {"media_uri": "old.mp4"}})
    embed.run(PARAMS, night)
    old = vector("v1", "visual")
    (landing / "new.mp4").touch()
    catalogue({"v1": {"media_uri": "new.mp4"}}, DAY + timedelta(1))
    embed.run(PARAMS, Night(DAY + timedelta(1), night.workspace))
    assert (vector("v1", "visual") == old).all()
    assert rejects() == [("embed", "empty_media", "new.mp4", "v1")]


def test_a_process_that_is_killed_leaves_finished_videos_finished(landing: Path, night: Night) -> None:
    for number in range(4):
        write_video(landing / f"v{number}.mp4")
    catalogue({f"v{number}": {"media_uri": f"v{number}.mp4"} for number in range(4)})
    script = f"""
import os, signal
from tasks import embed
from tests.tasks.test_unembedded import *
write = Lake.write
def dies(self, name, rows, *more):
    if name == "features" and Lake.version(self, name) is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, name, rows, *more)
Lake.write = dies
embed.run(replace(PARAMS, videos_per_commit=2), Night(DAY, Path({str(night.workspace)!r})))
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = places()
    assert {video for video, *_ in finished} == {"v0", "v1"}
    receipt = embed.run(PARAMS, night)
    assert receipt.rows is not None
    assert receipt.rows.rows_in == 2
    assert finished < places()
    assert len(places()) == len(features()) == 4 * 4


def test_another_encoder_embeds_again_part_by_part_while_the_old_vectors_serve(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"v{number}" for number in range(3)]
    catalogue({name: {"caption": f"caption of {name}"} for name in names})
    by_text = replace(PARAMS, visual="none", audio="none", videos_per_commit=1)
    old = embed.run(by_text, night)
    served = {name: vector(name, "text").tolist() for name in names}
    with dying_at_commit(3, monkeypatch), pytest.raises(KeyboardInterrupt):
        embed.run(replace(by_text, text="untrained"), night)
    before = old.facts["fingerprints"]["text"]
    assert {r["video_id"]: r["vector"] for r in features(fingerprint=before)} == served
    receipt = embed.run(replace(by_text, text="untrained"), night)
    after = receipt.facts["fingerprints"]["text"]
    assert receipt.rows is not None
    assert (receipt.rows.rows_in, after != before) == (1, True)
    assert places(fingerprint=after) == places(fingerprint=before)
    again = embed.run(by_text, night)  # and back: nothing is to be done
    assert again.rows is not None
    assert (again.rows.rows_in, again.digests) == (0, old.digests)
