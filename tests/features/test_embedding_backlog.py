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

from core.paths import PROJECT_ROOT, Night
from lake.client import Lake
from tasks import embed
from tests.support.media_files import BLUE, RED, plain, write_video
from tests.support.videos import DAY, PARAMS, catalogue, feature_keys, features, rejects, vector, versions

BYTE = 1 / 2**20  # as commit_mib: a commit after every video


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


@contextmanager
def dying_at_commit(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Interrupt the code inside at its commit of this number."""
    write, calls = Lake.write, []

    def dies(self: Lake, name: str, rows: pa.Table, *more: Any) -> int | None:
        calls.append(name)
        if len(calls) == number:
            raise KeyboardInterrupt
        return write(self, name, rows, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "write", dies)
        yield


def test_a_second_run_commits_nothing(landing: Path, night: Night) -> None:
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
    assert second.row_counts is not None
    assert (second.row_counts.rows_in, second.row_counts.rejected) == (
        1,
        {"missing_media": 1},
    )  # it may have come since
    assert (second.digests, second.facts["videos_with_vectors"]) == (
        first.digests,
        first.facts["videos_with_vectors"],
    )
    assert first.facts["videos_with_vectors"] == {"visual": 2, "text": 5, "audio": 2}
    assert first.facts["missing_modality"] == {"visual": 1, "audio": 1}
    assert ("embed.audio", "no_audio_stream", "silent.mp4", "silent.mp4") in rejects()
    assert ("embed.visual", "no_video_stream", "song.m4a", "song.m4a") in rejects()


def test_a_later_night_embeds_new_videos_and_late_media(landing: Path, night: Night) -> None:
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
    run_manifest = embed.run(PARAMS, Night(DAY + timedelta(1), night.workspace))
    assert {row["video_id"] for row in features(day=DAY + timedelta(1))} == {"v1", "v4"}
    assert run_manifest.row_counts is not None
    assert run_manifest.row_counts.rows_in == 2


def test_a_rerun_embeds_late_media(landing: Path, night: Night) -> None:
    catalogue({name: {"media_uri": f"{name}.mp4"} for name in ("late", "never")})
    embed.run(PARAMS, night)
    assert features() == []
    write_video(landing / "late.mp4")
    run_manifest = embed.run(PARAMS, night)
    assert run_manifest.row_counts is not None
    assert (run_manifest.row_counts.rows_in, run_manifest.row_counts.rejected) == (2, {"missing_media": 1})
    assert {video for video, *_ in feature_keys()} == {"late"}
    assert rejects() == [("embed", "missing_media", "never.mp4", "never")]


def test_a_rerun_replaces_the_rejects_of_retried_files(landing: Path, night: Night) -> None:
    write_video(landing / "silent.mp4", hertz=None)
    catalogue({name: {"media_uri": f"{name}.mp4"} for name in ("late", "never", "silent")})
    embed.run(PARAMS, night)
    (landing / "late.mp4").touch()
    embed.run(PARAMS, night)
    assert rejects() == [
        ("embed", "empty_media", "late.mp4", "late"),
        ("embed", "missing_media", "never.mp4", "never"),
        ("embed.audio", "no_audio_stream", "silent.mp4", "silent"),
    ]


def test_a_later_night_keeps_earlier_rejects(night: Night) -> None:
    catalogue({"v1": {"media_uri": "never.mp4"}})
    embed.run(PARAMS, night)
    embed.run(PARAMS, Night(DAY + timedelta(1), night.workspace))
    assert rejects() == [("embed", "missing_media", "never.mp4", "v1")] * 2


@pytest.mark.parametrize("commit", [1, 2, 3, 4])
def test_a_killed_repair_resumes_to_the_same_result(
    landing: Path, night: Night, monkeypatch: pytest.MonkeyPatch, commit: int
) -> None:
    catalogue({f"v{n}": {"media_uri": f"v{n}.mp4", "caption": f"cat {n}"} for n in range(3)})
    by_one = replace(PARAMS, commit_mib=BYTE)
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
    assert feature_keys() == {
        *((f"v{n}", "text", -1) for n in range(3)),
        *(("v0", m, segment) for m in ("visual", "audio") for segment in (-1, 0)),
    }
    assert len(features()) == len(feature_keys())


@pytest.mark.parametrize("nothing", ["", "  "])
def test_an_empty_media_uri_is_none(night: Night, nothing: str) -> None:
    catalogue({"v1": {"media_uri": nothing, "caption": "a cat"}})
    run_manifest = embed.run(PARAMS, night)
    assert run_manifest.row_counts is not None
    assert (run_manifest.row_counts.rows_in, run_manifest.row_counts.kept, rejects()) == (1, 1, [])


def test_the_newest_record_of_a_video_counts(landing: Path, night: Night) -> None:
    write_video(landing / "new.mp4")
    catalogue({"v1": {"media_uri": "old.mp4"}}, DAY - timedelta(1))
    catalogue({"v1": {"media_uri": "new.mp4"}})
    embed.run(PARAMS, night)
    assert rejects() == []
    assert ("v1", "visual", 0) in feature_keys()


def test_a_killed_run_keeps_its_commits(landing: Path, night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_video(landing / f"v{number}.mp4")
    catalogue({f"v{number}": {"media_uri": f"v{number}.mp4"} for number in range(3)})
    with dying_at_commit(2, monkeypatch), pytest.raises(KeyboardInterrupt):
        embed.run(replace(PARAMS, commit_mib=BYTE), night)
    assert {row["video_id"] for row in features()} == {"v0"}
    run_manifest = embed.run(PARAMS, night)
    assert run_manifest.row_counts is not None
    assert run_manifest.row_counts.rows_in == 2
    assert len(feature_keys()) == len(features()) == 3 * 4


def test_a_killed_run_resumes_to_the_same_bits(
    landing: Path, home: Path, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in (11, 16, 17):  # the others are missing, and are tried again
        write_video(landing / f"v{n}.mp4", seconds=n - 4, hertz=20.0 * n)
    videos = {f"v{n}": {"media_uri": f"v{n}.mp4", "caption": "a cat on a roof " * n} for n in range(10, 20)}
    results = []
    for name, dies_at in (("whole", 99), ("cut", 2), ("later", 3)):
        monkeypatch.setenv("UNDERCURRENT_LANDING", str(landing))
        monkeypatch.setenv("UNDERCURRENT_HOME", str(home / name))
        catalogue(videos)
        with dying_at_commit(dies_at, monkeypatch), suppress(KeyboardInterrupt):
            embed.run(replace(PARAMS, commit_mib=1500 * BYTE), night)
        embed.run(replace(PARAMS, commit_mib=1500 * BYTE), night)
        key = ("video_id", "modality", "segment")
        results.append({tuple(row[k] for k in key): row["vector"] for row in features()})
    assert len(results[0]) == 10 + 2 * (3 + 4 + 4)
    assert results[0] == results[1] == results[2]


def test_another_sampling_embeds_again_and_keeps_the_old_vectors(landing: Path, night: Night) -> None:
    write_video(landing / "v1.mp4", seconds=6)
    catalogue({"v1": {"media_uri": "v1.mp4", "caption": "a cat"}})
    old = embed.run(PARAMS, night).facts["fingerprints"]
    run_manifest = embed.run(replace(PARAMS, frames_per_segment=3), night)
    new = run_manifest.facts["fingerprints"]
    assert new["visual"] != old["visual"]
    assert (new["text"], new["audio"]) == (old["text"], old["audio"])
    assert run_manifest.facts["newly_embedded"] == {"visual": 1, "text": 0, "audio": 0}
    assert feature_keys(fingerprint=old["visual"]) == feature_keys(fingerprint=new["visual"])


def test_a_changed_file_or_caption_replaces_the_vectors(landing: Path, night: Night) -> None:
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
    run_manifest = embed.run(PARAMS, later)
    assert run_manifest.facts["newly_embedded"] == {"visual": 1, "text": 1, "audio": 1}
    changed = {key for key, old in before.items() if not np.allclose(vector(*key), old, atol=1e-3)}
    assert changed == {("file", "visual"), ("text", "text")}
    assert {(row["video_id"], row["modality"]) for row in features(day=day)} == {
        ("file", "visual"), ("file", "audio"), ("text", "text"),
    }  # fmt: skip
    assert {segment for _, _, segment in feature_keys(video_id="file", modality="visual")} == {-1, 0}
    assert len(feature_keys()) == len(features())
    after = versions()
    embed.run(PARAMS, later)
    assert versions() == after


def test_an_unreadable_new_file_keeps_the_old_vectors(landing: Path, night: Night) -> None:
    write_video(landing / "old.mp4")
    catalogue({"v1": {"media_uri": "old.mp4"}})
    embed.run(PARAMS, night)
    old = vector("v1", "visual")
    (landing / "new.mp4").touch()
    catalogue({"v1": {"media_uri": "new.mp4"}}, DAY + timedelta(1))
    embed.run(PARAMS, Night(DAY + timedelta(1), night.workspace))
    assert (vector("v1", "visual") == old).all()
    assert rejects() == [("embed", "empty_media", "new.mp4", "v1")]


def test_a_killed_process_leaves_finished_videos(landing: Path, night: Night) -> None:
    for number in range(4):
        write_video(landing / f"v{number}.mp4")
    catalogue({f"v{number}": {"media_uri": f"v{number}.mp4"} for number in range(4)})
    script = f"""
import os, signal
from tasks import embed
from tests.features.test_embedding_backlog import *
write = Lake.write
def dies(self, name, rows, *more):
    if name == "features" and Lake.version(self, name) is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, name, rows, *more)
Lake.write = dies
embed.run(replace(PARAMS, commit_mib=1024 * BYTE), Night(DAY, Path({str(night.workspace)!r})))
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = feature_keys()
    assert {video for video, *_ in finished} == {"v0", "v1"}
    run_manifest = embed.run(PARAMS, night)
    assert run_manifest.row_counts is not None
    assert run_manifest.row_counts.rows_in == 2
    assert finished < feature_keys()
    assert len(feature_keys()) == len(features()) == 4 * 4


def test_another_encoder_embeds_again_and_keeps_the_old_vectors(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"v{number}" for number in range(3)]
    catalogue({name: {"caption": f"caption of {name}"} for name in names})
    by_text = replace(PARAMS, visual="none", audio="none", commit_mib=BYTE)
    old = embed.run(by_text, night)
    served = {name: vector(name, "text").tolist() for name in names}
    with dying_at_commit(3, monkeypatch), pytest.raises(KeyboardInterrupt):
        embed.run(replace(by_text, text="untrained"), night)
    before = old.facts["fingerprints"]["text"]
    assert {r["video_id"]: r["vector"] for r in features(fingerprint=before)} == served
    run_manifest = embed.run(replace(by_text, text="untrained"), night)
    after = run_manifest.facts["fingerprints"]["text"]
    assert run_manifest.row_counts is not None
    assert (run_manifest.row_counts.rows_in, after != before) == (1, True)
    assert feature_keys(fingerprint=after) == feature_keys(fingerprint=before)
    again = embed.run(by_text, night)  # and back: nothing is to be done
    assert again.row_counts is not None
    assert (again.row_counts.rows_in, again.digests) == (0, old.digests)
