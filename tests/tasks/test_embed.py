from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from core.errors import InputError, ServiceUnavailableError
from core.paths import Night
from core.run_manifests import RunManifest
from core.tables import FEATURES, MODALITIES
from lake.client import Lake
from tasks import embed
from tests.support.media_files import BLUE, RED, plain, write_video
from tests.support.videos import DAY, PARAMS, catalogue, feature_keys, features, rejects, vector


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


def test_frames_audio_and_text_become_vectors(landing: Path, night: Night) -> None:
    write_video(landing / "media/v1.mp4", seconds=7)
    catalogue(
        {"v1": {"media_uri": "media/v1.mp4", "caption": "a cat", "hashtags": ["paws"], "music_title": "song"}}
    )
    run_manifest = embed.run(PARAMS, night)
    assert feature_keys() == {
        ("v1", "text", -1),
        *(("v1", "visual", segment) for segment in (-1, 0, 1)),
        *(("v1", "audio", segment) for segment in (-1, 0, 1)),
    }
    assert {(r["segment"], r["start_ms"]) for r in features()} == {(-1, 0), (0, 0), (1, 5000)}
    assert all(np.linalg.norm(row["vector"]) == pytest.approx(1, abs=1e-5) for row in features())
    assert {row["modality"]: row["fingerprint"] for row in features()} == run_manifest.facts["fingerprints"]
    assert {row["day"] for row in features()} == {DAY}
    assert run_manifest.row_counts is not None
    assert (
        run_manifest.row_counts.rows_in,
        run_manifest.row_counts.kept,
        run_manifest.row_counts.rejected,
    ) == (1, 1, {})


def test_the_whole_video_is_the_mean_of_its_segments(landing: Path, night: Night) -> None:
    write_video(landing / "v1.mp4", seconds=7, picture=lambda t: plain(RED if t < 5 else BLUE), hertz=None)
    catalogue({"v1": {"media_uri": "v1.mp4"}})
    embed.run(PARAMS, night)
    first, second = (np.array(features(modality="visual", segment=n)[0]["vector"]) for n in (0, 1))
    assert not np.allclose(first, second, atol=0.01)
    mean = (first + second) / np.linalg.norm(first + second)
    assert vector("v1", "visual") == pytest.approx(mean, abs=1e-5)


def test_text_is_caption_and_hashtags(night: Night) -> None:
    catalogue(
        {
            "apart": {"caption": "a cat ", "hashtags": ["paws", "purr"], "music_title": "song"},
            "joined": {"caption": "a cat paws purr https://example.org"},
            "other": {"caption": "a cat"},
            "empty": {"caption": " ", "hashtags": []},
        }
    )
    embed.run(PARAMS, night)
    assert vector("apart", "text") == pytest.approx(vector("joined", "text"), abs=1e-5)
    assert not np.allclose(vector("apart", "text"), vector("other", "text"), atol=1e-3)
    assert features(video_id="empty") == []


def test_unreadable_media_is_one_reject_and_keeps_the_text(landing: Path, night: Night) -> None:
    write_video(landing / "good.mp4")
    (landing / "empty.mp4").touch()
    catalogue(
        {
            "v1": {"media_uri": "empty.mp4", "caption": "kept"},
            "v2": {"media_uri": "gone.mp4"},
            "v3": {"media_uri": "good.mp4"},
        }
    )
    run_manifest = embed.run(PARAMS, night)
    assert rejects() == [
        ("embed", "empty_media", "empty.mp4", "v1"),
        ("embed", "missing_media", "gone.mp4", "v2"),
    ]
    assert run_manifest.row_counts is not None
    assert (run_manifest.row_counts.rows_in, run_manifest.row_counts.kept) == (3, 1)
    assert run_manifest.row_counts.rejected == {"empty_media": 1, "missing_media": 1}
    assert {row["video_id"] for row in features(modality="text")} == {"v1"}
    assert {row["video_id"] for row in features(modality="visual")} == {"v3"}


def test_precision_is_part_of_the_fingerprint(night: Night) -> None:
    catalogue({"v1": {"caption": "a cat"}})
    results = [
        embed.run(replace(PARAMS, precision=precision), night).facts["fingerprints"]
        for precision in ("fp32", "bf16", "auto")
    ]
    assert results[0] == results[2]
    assert all(results[0][modality] != results[1][modality] for modality in MODALITIES)


def test_landed_vectors_are_unchanged_and_none_is_off(landing: Path, night: Night) -> None:
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
    run_manifest = embed.run(replace(PARAMS, visual="landed", audio="none"), night)
    assert feature_keys() == {("v1", "visual", -1), ("v1", "text", -1)}
    assert set(run_manifest.facts["fingerprints"]) == {"visual", "text"}
    assert run_manifest.facts["fingerprints"]["visual"] == "landed"
    assert run_manifest.facts["videos_with_vectors"] == {"visual": 1, "text": 1}


def test_landed_vectors_count_from_their_day(night: Night) -> None:
    catalogue({v: {"caption": "a cat"} for v in ("early", "late")})
    plain = {
        "modality": "visual",
        "segment": -1,
        "start_ms": 0,
        "vector": [0.6, 0.8],
        "fingerprint": "landed",
    }
    days = {"early": DAY, "late": DAY + timedelta(1)}
    rows = [plain | {"video_id": video, "day": day} for video, day in days.items()]
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    by_landed = replace(PARAMS, visual="landed", text="none", audio="none")
    results = {n: embed.run(by_landed, Night(DAY + timedelta(n), night.workspace)) for n in (0, 1)}
    assert {n: run_manifest.facts["videos_with_vectors"] for n, run_manifest in results.items()} == {
        0: {"visual": 1},
        1: {"visual": 2},
    }


def test_the_same_videos_give_the_same_bytes(
    landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        write_video(landing / f"v{number}.mp4", hertz=200.0 * (number + 1))
    results = []
    for home, workers in (("one", 1), ("two", 2)):
        monkeypatch.setenv("UNDERCURRENT_LANDING", str(landing))
        monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / home))
        catalogue({f"v{number}": {"media_uri": f"v{number}.mp4"} for number in range(4)})
        run_manifest = embed.run(
            replace(PARAMS, decode_workers=workers), Night(DAY, tmp_path / home / "night")
        )
        results.append((run_manifest.digests, Lake().scan("features").to_pylist()))
    assert results[0] == results[1]


def test_the_commit_size_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for number, mib in enumerate((1e-6, 1e-3, 4)):
        monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / str(number)))
        catalogue({f"v{n}": {"caption": "a cat on a roof " * n} for n in range(1, 8)})
        embed.run(replace(PARAMS, commit_mib=mib), Night(DAY, tmp_path / "night"))
        results.append({row["video_id"]: row["vector"] for row in features()})
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("vectors", "commits"), [(1, 6), (3, 2), (4, 2), (6, 1)])
def test_a_commit_holds_vectors_of_a_given_size(night: Night, vectors: int, commits: int) -> None:
    catalogue({f"v{n}": {"caption": f"cat {n}"} for n in range(6)})
    vector_mib = 4 * 64 / 2**20  # of the default text encoder
    embed.run(replace(PARAMS, commit_mib=vectors * vector_mib), night)
    assert len(Lake().table("features").metadata.snapshots) == commits
    assert len(features()) == 6


def test_rejects_without_vectors_count_towards_a_commit(night: Night) -> None:
    catalogue({f"v{n}": {"media_uri": f"gone{n}.mp4"} for n in range(4)})
    embed.run(replace(PARAMS, commit_mib=2 * embed.REJECT_BYTES / 2**20), night)
    assert len(Lake().table("rejects").metadata.snapshots) == 2
    assert len(rejects()) == 4


def test_without_videos_there_is_nothing_to_embed(night: Night) -> None:
    run_manifest = embed.run(PARAMS, night)
    assert run_manifest.row_counts is not None
    assert (run_manifest.row_counts.rows_in, run_manifest.facts["videos"]) == (0, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"visual": "open_clip:ViT-B-33:openai"}, r"embed\.visual: .*did you mean"),
        ({"text": "bert"}, r"embed\.text: .*write default"),
        ({"audio": "clap:/gone"}, r"embed\.audio: .*cannot be loaded"),
    ],
)
def test_an_impossible_encoder_is_refused(change: dict[str, Any], words: str, night: Night) -> None:
    with pytest.raises(InputError, match=words):
        embed.run(replace(PARAMS, **change), night)


def test_an_unavailable_media_store_stops_the_step(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "test")
    catalogue({"v1": {"media_uri": "s3://bucket/v1.mp4"}})
    with pytest.raises(ServiceUnavailableError, match="media store"):
        embed.run(PARAMS, night)
    assert rejects() == []


def test_an_impossible_s3_uri_is_one_reject(night: Night) -> None:
    uris = ["s3://my bucket/x.mp4", "s3://127.0.0.1:8080/x"]
    catalogue({f"v{n}": {"media_uri": uri, "caption": "a cat"} for n, uri in enumerate(uris)})
    run_manifest = embed.run(PARAMS, night)
    assert run_manifest.row_counts is not None
    assert run_manifest.row_counts.rejected == {"unsupported_uri": 2}
    assert {row["video_id"] for row in features(modality="text")} == {"v0", "v1"}


def test_a_file_outside_the_landing_folder_is_read_only_if_its_folder_is_named(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "archive" / "v1.mp4")
    catalogue({"v1": {"media_uri": str(tmp_path / "archive" / "v1.mp4")}})
    embed.run(PARAMS, night)
    assert [reason for _, reason, *_ in rejects()] == ["outside_media_roots"]
    assert features(modality="visual") == []
    monkeypatch.setenv("UNDERCURRENT_MEDIA_ROOTS", str(tmp_path / "archive"))
    embed.run(PARAMS, night)
    assert rejects() == []
    assert {row["video_id"] for row in features(modality="visual")} == {"v1"}


@pytest.fixture
def real_media(shared_data: Path, night: Night, monkeypatch: pytest.MonkeyPatch) -> tuple[RunManifest, Path]:
    """Embed all real clips, the good and the damaged ones."""
    folder = shared_data / "media"
    monkeypatch.setenv("UNDERCURRENT_MEDIA_ROOTS", str(folder))
    files = sorted(path for kind in ("clean", "odd") for path in (folder / kind).iterdir())
    catalogue({path.name: {"media_uri": str(path)} for path in files})
    return embed.run(replace(PARAMS, decode_workers=2), night), folder


@pytest.mark.shared_data
def test_real_clips_are_embedded_or_rejected_once(
    real_media: tuple[RunManifest, Path],
) -> None:
    run_manifest, folder = real_media
    embedded = {row["video_id"] for row in features()}
    refused = [video for step, _, _, video in rejects() if step == "embed"]
    assert {path.name for path in (folder / "clean").iterdir()} <= embedded
    odd = {path.name for path in (folder / "odd").iterdir()}
    assert len(refused) == len(set(refused))
    assert set(refused) == odd - embedded
    assert {video: reason for step, reason, _, video in rejects() if step == "embed"} == {
        "bipbop_480wp_1001kbps-cenc-video-key1-init.mp4": "no_media_content",
        "chunk_out_of_range.mp4": "unreadable_media",
        "result.webm": "empty_media",
        "short-cenc.mp4": "encrypted_media",
    }
    assert run_manifest.facts["partially_decoded"] == 1  # corrupted.mp4


def test_two_concurrent_runs_embed_every_video_once(night: Night) -> None:
    catalogue({f"v{n}": {"caption": f"a cat, number {n}"} for n in range(20)})
    with ThreadPoolExecutor(2) as both:
        rows = [run.result().row_counts for run in [both.submit(embed.run, PARAMS, night) for _ in "12"]]
    assert sorted(row.rows_in for row in rows if row) == [0, 20]
    assert len(features()) == 20


def test_the_shards_of_a_backlog_embed_every_video_once(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue({f"v{n}": {"caption": f"a cat, number {n}"} for n in range(20)})
    rows = []
    for shard in ("1/3", "2/3", "3/3"):
        monkeypatch.setenv("UNDERCURRENT_EMBED_SHARD", shard)
        counts = embed.run(PARAMS, night).row_counts
        rows.append(counts.rows_in if counts else 0)
    assert sum(rows) == 20
    assert max(rows) < 20
    assert len(features()) == 20


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "x/y", ""])
def test_a_shard_that_does_not_exist_is_refused(
    night: Night, shard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERCURRENT_EMBED_SHARD", shard)
    with pytest.raises(InputError, match="write SHARD/SHARDS, such as 2/8"):
        embed.run(PARAMS, night)
