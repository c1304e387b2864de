import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts import params as parameters
from contracts.errors import InputError
from contracts.lake import Lake
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt
from contracts.tables import FEATURES, VIDEOS
from tasks import embed
from tests.media.files import BLUE, RED, plain, write_flashes, write_video

DAY = date(2026, 3, 5)
PARAMS = replace(
    parameters.load(PROJECT / "params.yaml").embed, device="cpu", decode_workers=1, synchrony=False
)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


def catalogue(videos: dict[str, dict[str, Any]], day: date = DAY) -> None:
    """Add records of videos to the lake, as ingest does."""
    lines = [
        {"video_id": video, "day": day, "source_file": f"videos/dt={day}/part-0.jsonl", "source_line": line}
        | fields
        for line, (video, fields) in enumerate(videos.items(), 1)
    ]
    Lake().write("videos", pa.Table.from_pylist(lines, VIDEOS.schema))


def features(**equal: Any) -> list[dict[str, Any]]:
    rows = Lake().scan("features").to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in equal.items())]


def places(**equal: Any) -> set[tuple[str, str, int]]:
    return {(row["video_id"], row["modality"], row["segment"]) for row in features(**equal)}


def rejects() -> list[tuple[str, str, str, str]]:
    rows = Lake().scan("rejects").to_pylist()
    return sorted(
        (r["step"], r["reason"], r["source_file"], json.loads(r["record"])["video_id"]) for r in rows
    )


def versions() -> tuple[int | None, ...]:
    return tuple(Lake().version(name) for name in ("features", "rejects"))


def vector(video: str, modality: str) -> np.ndarray:
    (row,) = features(video_id=video, modality=modality, segment=-1)
    return np.array(row["vector"])


def test_pictures_sound_and_text_of_a_video_become_vectors(landing: Path, night: Night) -> None:
    write_video(landing / "media/v1.mp4", seconds=7)
    catalogue(
        {"v1": {"media_uri": "media/v1.mp4", "caption": "a cat", "hashtags": ["paws"], "music_title": "song"}}
    )
    receipt = embed.run(PARAMS, night)
    assert places() == {
        ("v1", "text", -1),
        *(("v1", "visual", segment) for segment in (-1, 0, 1)),
        *(("v1", "audio", segment) for segment in (-1, 0, 1)),
    }
    assert {(r["segment"], r["start_ms"]) for r in features()} == {(-1, 0), (0, 0), (1, 5000)}
    assert all(np.linalg.norm(row["vector"]) == pytest.approx(1, abs=1e-5) for row in features())
    assert {row["modality"]: row["fingerprint"] for row in features()} == receipt.facts["fingerprints"]
    assert {row["day"] for row in features()} == {DAY}
    assert receipt.rows is not None
    assert (receipt.rows.rows_in, receipt.rows.kept, receipt.rows.rejected) == (1, 1, {})


def test_the_whole_is_the_mean_of_the_segments(landing: Path, night: Night) -> None:
    write_video(landing / "v1.mp4", seconds=7, picture=lambda t: plain(RED if t < 5 else BLUE), hertz=None)
    catalogue({"v1": {"media_uri": "v1.mp4"}})
    embed.run(PARAMS, night)
    first, second = (np.array(features(modality="visual", segment=n)[0]["vector"]) for n in (0, 1))
    assert not np.allclose(first, second, atol=0.01)
    mean = (first + second) / np.linalg.norm(first + second)
    assert vector("v1", "visual") == pytest.approx(mean, abs=1e-5)


def test_text_is_caption_hashtags_and_music(night: Night) -> None:
    catalogue(
        {
            "apart": {"caption": "a cat ", "hashtags": ["paws", "purr"], "music_title": "song"},
            "joined": {"caption": "a cat paws purr song"},
            "other": {"caption": "a cat"},
            "empty": {"caption": " ", "hashtags": []},
        }
    )
    embed.run(PARAMS, night)
    assert vector("apart", "text") == pytest.approx(vector("joined", "text"), abs=1e-5)
    assert not np.allclose(vector("apart", "text"), vector("other", "text"), atol=1e-3)
    assert features(video_id="empty") == []


def test_unreadable_media_costs_one_reject_and_the_text_stays(landing: Path, night: Night) -> None:
    write_video(landing / "good.mp4")
    (landing / "empty.mp4").touch()
    catalogue(
        {
            "v1": {"media_uri": "empty.mp4", "caption": "kept"},
            "v2": {"media_uri": "gone.mp4"},
            "v3": {"media_uri": "good.mp4"},
        }
    )
    receipt = embed.run(PARAMS, night)
    assert rejects() == [
        ("embed", "empty_media", "empty.mp4", "v1"),
        ("embed", "missing_media", "gone.mp4", "v2"),
    ]
    assert receipt.rows is not None
    assert (receipt.rows.rows_in, receipt.rows.kept) == (3, 1)
    assert receipt.rows.rejected == {"empty_media": 1, "missing_media": 1}
    assert {row["video_id"] for row in features(modality="text")} == {"v1"}
    assert {row["video_id"] for row in features(modality="visual")} == {"v3"}


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
    assert second.rows.rows_in == 0
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
    write, calls = Lake.write, []

    def dies(self: Lake, name: str, rows: pa.Table, *more: Any) -> int | None:
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(self, name, rows, *more)

    monkeypatch.setattr(Lake, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        embed.run(replace(PARAMS, videos_per_commit=1), night)
    monkeypatch.setattr(Lake, "write", write)
    assert {row["video_id"] for row in features()} == {"v0"}
    receipt = embed.run(PARAMS, night)
    assert receipt.rows is not None
    assert receipt.rows.rows_in == 2
    assert len(places()) == len(features()) == 3 * 4


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


def test_how_well_sound_and_motion_fit_is_kept_beside_the_vectors_unknown_or_not(
    landing: Path, night: Night
) -> None:
    beats = np.arange(5, 35) ** 1.4 / 15
    write_flashes(landing / "fits.mp4", list(beats), list(beats))
    write_video(landing / "mute.mp4", hertz=None)
    (landing / "bad.mp4").write_bytes(b"garbage" * 100)
    catalogue({name: {"media_uri": f"{name}.mp4", "caption": name} for name in ("fits", "mute", "bad")})
    params = replace(PARAMS, synchrony=True)
    receipt = embed.run(params, night)
    assert receipt.facts["synchrony"] == "synchrony-1-200s"
    assert set(receipt.facts["fingerprints"]) == {"visual", "text", "audio"}
    together, best, delay_ms = vector("fits", "synchrony")
    assert together == best > 0.6
    assert delay_ms == 0
    assert np.isnan(vector("mute", "synchrony")).all()
    assert places(modality="synchrony") == {("fits", "synchrony", -1), ("mute", "synchrony", -1)}
    before = versions()
    again = embed.run(params, night)
    assert versions() == before
    assert again.digests == receipt.digests


def test_synchrony_that_is_wanted_later_is_measured_without_embedding_again(
    landing: Path, night: Night
) -> None:
    write_video(landing / "v1.mp4", seconds=3)
    catalogue({"v1": {"media_uri": "v1.mp4"}})
    without = embed.run(PARAMS, night)
    assert without.facts["synchrony"] is None
    vectors = places()
    receipt = embed.run(replace(PARAMS, synchrony=True), night)
    assert receipt.facts["embedded"] == {"visual": 0, "text": 0, "audio": 0}
    assert places() - vectors == {("v1", "synchrony", -1)}
    assert len(features()) == len(vectors) + 1


def test_landed_vectors_are_taken_as_they_are_and_none_is_off(landing: Path, night: Night) -> None:
    write_video(landing / "v1.mp4")
    catalogue({"v1": {"media_uri": "v1.mp4", "caption": "a cat"}})
    ready = {
        "video_id": "v1",
        "modality": "visual",
        "segment": -1,
        "start_ms": 0,
        "vector": [0.6, 0.8],
        "day": DAY,
    }
    Lake().write("features", pa.Table.from_pylist([ready | {"fingerprint": "landed"}], FEATURES.schema))
    receipt = embed.run(replace(PARAMS, visual="landed", audio="none"), night)
    assert places() == {("v1", "visual", -1), ("v1", "text", -1)}
    assert set(receipt.facts["fingerprints"]) == {"visual", "text"}
    assert receipt.facts["fingerprints"]["visual"] == "landed"
    assert receipt.facts["covered"] == {"visual": 1, "text": 1}


def test_the_same_videos_give_the_same_bytes(
    landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        write_video(landing / f"v{number}.mp4", hertz=200.0 * (number + 1))
    found = []
    for home, workers in (("one", 1), ("two", 2)):
        monkeypatch.setenv("UNDERCURRENT_LANDING", str(landing))
        monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / home))
        catalogue({f"v{number}": {"media_uri": f"v{number}.mp4"} for number in range(4)})
        receipt = embed.run(replace(PARAMS, decode_workers=workers), Night(DAY, tmp_path / home / "night"))
        found.append((receipt.digests, Lake().scan("features").to_pylist()))
    assert found[0] == found[1]


def test_no_videos_are_no_work(night: Night) -> None:
    receipt = embed.run(PARAMS, night)
    assert receipt.rows is not None
    assert (receipt.rows.rows_in, receipt.facts["videos"]) == (0, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"visual": "open_clip:ViT-B-33:openai"}, r"embed\.visual: .*did you mean"),
        ({"text": "bert"}, r"embed\.text: .*write default"),
        ({"audio": "clap:/gone"}, r"embed\.audio: .*cannot be loaded"),
        ({"segment_seconds": 0.0}, r"embed\.segment_seconds is 0.0; it must be above 0"),
        ({"frames_per_segment": -1}, r"embed\.frames_per_segment is -1"),
    ],
)
def test_a_section_that_cannot_be_is_refused_in_a_sentence(
    change: dict[str, Any], words: str, night: Night
) -> None:
    with pytest.raises(InputError, match=words):
        embed.run(replace(PARAMS, **change), night)


def test_a_media_store_that_is_away_stops_the_step_without_rejects(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "test")
    catalogue({"v1": {"media_uri": "s3://bucket/v1.mp4"}})
    with pytest.raises(InputError, match="media store"):
        embed.run(PARAMS, night)
    assert rejects() == []


@pytest.fixture
def real_media(shared_data: Path, night: Night) -> tuple[Receipt, Path]:
    """Every real clip, clean and odd, embedded."""
    folder = shared_data / "media"
    files = sorted(path for kind in ("clean", "odd") for path in (folder / kind).iterdir())
    catalogue({path.name: {"media_uri": str(path)} for path in files})
    return embed.run(replace(PARAMS, decode_workers=2), night), folder


@pytest.mark.shared_data
def test_real_clips_give_vectors_and_odd_files_vectors_or_one_reject(
    real_media: tuple[Receipt, Path],
) -> None:
    receipt, folder = real_media
    embedded = {row["video_id"] for row in features()}
    refused = [video for step, _, _, video in rejects() if step == "embed"]
    assert {path.name for path in (folder / "clean").iterdir()} <= embedded
    odd = {path.name for path in (folder / "odd").iterdir()}
    assert len(refused) == len(set(refused))
    assert set(refused) == odd - embedded
    assert {video: reason for step, reason, _, video in rejects() if step == "embed"} == {
        "bipbop_480wp_1001kbps-cenc-video-key1-init.mp4": "no_frames",
        "chunk_out_of_range.mp4": "unreadable_media",
        "result.webm": "empty_media",
        "short-cenc.mp4": "encrypted_media",
    }
    assert receipt.facts["broken_midway"] == 1  # corrupted.mp4
