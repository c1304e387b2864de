import importlib
import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import InputError
from core.paths import Night
from features.embedding import normalise
from features.text_normalisation import TEXT_FINGERPRINT
from lake.client import Lake
from models.encoders import build_text_encoder, whisper
from tasks import embed
from tests.support.encoder_inputs import CPU
from tests.support.media_files import BLUE, RED, plain, write_video
from tests.support.tiny_pretrained import tiny_blip, tiny_siglip, tiny_whisper
from tests.support.videos import DAY, PARAMS, catalogue, feature_keys, features, rejects, vector, versions

READER = """
def read(image):
    red, _, blue = image.mean((0, 1))
    return "" if max(red, blue) < 60 else "a red sofa" if red > blue else "the blue sky"
"""
DARK = (16, 16, 16)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> embed.EmbedConfig:
    """The parameters of a night whose screen text names the colour that is shown."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "colour_reader", raising=False)
    (tmp_path / "colour_reader.py").write_text(READER)
    importlib.invalidate_caches()
    return replace(PARAMS, visual="none", audio="none", screen_text="colour_reader:read")


def mean_of(*texts: str) -> Any:
    return pytest.approx(normalise(build_text_encoder("default", CPU).encode(texts).sum(0)), abs=1e-5)


def coloured(path: Path, *colours: tuple[int, int, int]) -> Path:
    """A video that shows each colour for 5 s."""
    return write_video(path, 5 * len(colours), 5, lambda t: plain(colours[min(int(t / 5), len(colours) - 1)]))


def test_what_is_read_joins_the_caption(landing: Path, night: Night, reading: embed.EmbedConfig) -> None:
    coloured(landing / "red.mp4", RED, RED)
    coloured(landing / "both.mp4", RED, BLUE)
    coloured(landing / "dark.mp4", DARK)
    caption = {"caption": "my new cat"}
    catalogue(
        {
            "said": {"media_uri": "red.mp4"} | caption,
            "shown": {"media_uri": "both.mp4"},
            "neither": {"media_uri": "dark.mp4"} | caption,
            "no file": caption,
        }
    )
    run_manifest = embed.run(reading, night)
    assert vector("said", "text") == mean_of("my new cat", "a red sofa")  # a repeated text counts once
    assert vector("shown", "text") == mean_of("a red sofa the blue sky")
    assert vector("neither", "text") == mean_of("my new cat")
    assert vector("no file", "text") == mean_of("my new cat")
    assert {modality for _, modality, _ in feature_keys()} == {"text"}
    assert run_manifest.facts["missing_modality"] == {"text": 0}
    after = versions()
    assert embed.run(reading, night).digests == run_manifest.digests
    assert versions() == after


def test_a_video_without_any_text_is_missing_and_read_once(
    landing: Path, night: Night, reading: embed.EmbedConfig, tmp_path: Path
) -> None:
    coloured(landing / "dark.mp4", DARK)
    catalogue({"v1": {"media_uri": "dark.mp4"}})
    run_manifest = embed.run(reading, night)
    assert features() == []
    step = f"embed.text.{run_manifest.facts['fingerprints']['text']}"
    assert rejects() == [(step, "no_text", "dark.mp4", "v1")]
    assert run_manifest.facts["missing_modality"] == {"text": 1}
    assert run_manifest.facts["videos_with_vectors"] == {"text": 0}
    again = embed.run(reading, night)
    assert again.row_counts is not None
    assert again.row_counts.rows_in == 0
    (tmp_path / "colour_reader.py").write_text("def read(image):\n    return 'a dog'\n")
    del sys.modules["colour_reader"]
    embed.run(reading, night)  # another reader tries again
    assert vector("v1", "text") == mean_of("a dog")


def test_unreadable_media_cost_one_reject_and_keep_the_caption(
    landing: Path, night: Night, reading: embed.EmbedConfig
) -> None:
    landing.mkdir(parents=True)
    (landing / "broken.mp4").write_bytes(b"garbage" * 100)
    catalogue({name: {"media_uri": f"{name}.mp4", "caption": "my new cat"} for name in ("broken", "late")})
    run_manifest = embed.run(reading, night)
    assert [reject[1:] for reject in rejects()] == [
        ("missing_media", "late.mp4", "late"),
        ("unreadable_media", "broken.mp4", "broken"),
    ]
    assert run_manifest.row_counts is not None
    assert run_manifest.row_counts.rejected == {"missing_media": 1, "unreadable_media": 1}
    assert vector("broken", "text") == mean_of("my new cat")
    assert vector("late", "text") == mean_of("my new cat")
    after = versions()
    embed.run(reading, night)  # the missing file is tried again, its caption is not embedded again
    assert versions() == after
    coloured(landing / "late.mp4", RED)
    embed.run(reading, night)
    assert vector("late", "text") == mean_of("my new cat", "a red sofa")
    assert len(features()) == len(feature_keys()) == 2
    assert [reject[1:] for reject in rejects()] == [("unreadable_media", "broken.mp4", "broken")]


def test_a_changed_file_is_read_again(landing: Path, night: Night, reading: embed.EmbedConfig) -> None:
    coloured(landing / "red.mp4", RED)
    coloured(landing / "blue.mp4", BLUE)
    catalogue({"v1": {"media_uri": "red.mp4", "caption": "my new cat"}})
    embed.run(reading, night)
    catalogue({"v1": {"media_uri": "blue.mp4", "caption": "my new cat"}}, DAY + timedelta(1))
    embed.run(reading, Night(DAY + timedelta(1), night.workspace))
    assert vector("v1", "text") == mean_of("my new cat", "the blue sky")


def test_readers_change_the_fingerprint_of_text_only(
    night: Night, reading: embed.EmbedConfig, tmp_path: Path
) -> None:
    off = replace(PARAMS, screen_text="none")
    changes: list[dict[str, Any]] = [
        {},
        {"screen_text": reading.screen_text},
        {"screen_text": reading.screen_text, "stills_per_video": 2},
        {"screen_text": reading.screen_text, "max_segments": 2},
        {"transcript": f"whisper:{tiny_whisper(tmp_path / 'whisper')}"},
        {"description": f"blip:{tiny_blip(tmp_path / 'blip')}"},
        {"description": f"blip:{tiny_blip(tmp_path / 'other', seed=4)}"},
    ]
    facts = [embed.run(replace(off, **change), night).facts["fingerprints"] for change in changes]
    assert len({fingerprints["text"] for fingerprints in facts}) == len(changes)
    assert len({fingerprints["visual"] for fingerprints in facts}) == 2  # max_segments changes both
    assert facts[0]["text"] == build_text_encoder("default", CPU).fingerprint(TEXT_FINGERPRINT)
    assert embed.run(replace(off, stills_per_video=2), night).facts["fingerprints"] == facts[0]


def test_a_reader_that_fails_costs_a_reject_and_keeps_the_caption(
    landing: Path, night: Night, reading: embed.EmbedConfig, tmp_path: Path
) -> None:
    (tmp_path / "failing_reader.py").write_text("def read(image):\n    raise OSError('no licence')\n")
    importlib.invalidate_caches()
    coloured(landing / "red.mp4", RED)
    catalogue({"a": {"media_uri": "red.mp4", "caption": "my new cat"}, "b": {"media_uri": "red.mp4"}})
    failing = replace(reading, screen_text="failing_reader:read")
    run_manifest = embed.run(failing, night)
    assert vector("a", "text") == mean_of("my new cat")
    assert run_manifest.facts["videos_with_vectors"] == {"text": 1}
    assert [reject[1:] for reject in rejects()] == [
        ("reader_failed", "red.mp4", "a"),
        ("reader_failed", "red.mp4", "b"),
    ]
    again = embed.run(failing, night)  # the same reader does not try again
    assert again.row_counts is not None
    assert again.row_counts.rows_in == 0


@pytest.mark.parametrize("text", ["none", "landed"])
def test_readers_without_a_text_encoder_are_refused(
    night: Night, reading: embed.EmbedConfig, text: str
) -> None:
    with pytest.raises(InputError, match=rf"embed\.screen_text is on, but embed\.text is {text}"):
        embed.run(replace(reading, text=text), night)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transcript": "vosk"}, r"embed\.transcript: 'vosk' is no reader of speech; write none or whisper"),
        ({"transcript": "whisper:/gone"}, r"embed\.transcript: whisper:/gone: .*cannot be loaded"),
        ({"screen_text": "gone:read"}, r"embed\.screen_text: gone:read: .*cannot be loaded"),
        ({"description": "blip:/gone"}, r"embed\.description: blip:/gone: .*cannot be loaded"),
    ],
)
def test_an_impossible_reader_is_refused(change: dict[str, Any], words: str, night: Night) -> None:
    with pytest.raises(InputError, match=words):
        embed.run(replace(PARAMS, **change), night)


@pytest.fixture
def pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> embed.EmbedConfig:
    """A night on tiny models of every family. Loops of random weights count as speech."""
    monkeypatch.setattr(whisper, "MAX_COMPRESSION", np.inf)
    siglip = f"siglip:{tiny_siglip(tmp_path / 'siglip')}"
    return replace(
        PARAMS,
        visual=siglip,
        text=siglip,
        transcript=f"whisper:{tiny_whisper(tmp_path / 'whisper')}",
        description=f"blip:{tiny_blip(tmp_path / 'blip')}",
    )


def test_a_night_on_pretrained_models_embeds_speech_and_pictures(
    landing: Path, night: Night, pretrained: embed.EmbedConfig
) -> None:
    write_video(landing / "spoken.mp4")
    write_video(landing / "song.m4a", picture=None)
    write_video(landing / "mute.mp4", hertz=None)
    catalogue({name: {"media_uri": name} for name in ("spoken.mp4", "song.m4a", "mute.mp4")})
    run_manifest = embed.run(pretrained, night)
    assert {(v, m) for v, m, s in feature_keys() if s == -1} == {
        *(("spoken.mp4", m) for m in ("visual", "text", "audio")),
        *(("song.m4a", m) for m in ("text", "audio")),
        *(("mute.mp4", m) for m in ("visual", "text")),
    }
    assert {m: len(vector("spoken.mp4", m)) for m in ("visual", "text", "audio")} == {
        "visual": 16, "text": 16, "audio": 64,
    }  # fmt: skip
    cost = run_manifest.facts["seconds_per_1000_videos"]
    assert set(cost) == {"visual", "text", "audio", "transcript", "description"}
    assert all(list(seconds) == ["all"] and seconds["all"] > 0 for seconds in cost.values())
    silent = embed.run(replace(pretrained, description="none"), night)
    text = {"fingerprint": silent.facts["fingerprints"]["text"]}
    assert {video for video, *_ in feature_keys(**text)} == {"spoken.mp4", "song.m4a"}
    rows = Lake().scan("rejects", "reason = 'no_text'").to_pylist()
    assert [json.loads(row["record"])["video_id"] for row in rows] == ["mute.mp4"]


@pytest.mark.shared_data
def test_a_real_clip_is_read_by_every_reader(
    shared_data: Path, night: Night, pretrained: embed.EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared_data / "media" / "clean"
    monkeypatch.setenv("UNDERCURRENT_MEDIA_ROOTS", str(folder))
    catalogue({"v1": {"media_uri": str(folder / "1002.mp4")}})
    short = replace(pretrained, max_segments=1)
    results = [embed.run(short, Night(DAY, night.workspace)).digests]
    first = vector("v1", "text")
    monkeypatch.setenv("UNDERCURRENT_HOME", str(night.workspace / "again"))
    catalogue({"v1": {"media_uri": str(folder / "1002.mp4")}})
    results.append(embed.run(short, Night(DAY, night.workspace)).digests)
    assert results[0] == results[1]
    assert (vector("v1", "text") == first).all()
