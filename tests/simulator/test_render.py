from dataclasses import replace
from pathlib import Path

import av
import pytest

from core.hashing import hash_folder
from simulator.catalogue import make_videos
from simulator.frames import HEIGHT, WIDTH
from simulator.render import render_video, render_videos
from tests.support.simulated_platforms import small_calendar

VIDEO = replace(
    make_videos(3, small_calendar())[0],
    duration_ms=3700,
    segment_topics=(5,),
    segment_appeal=(0.3,),
    media_fault=None,
)
FILE = f"{VIDEO.video_id}.mp4"


def test_a_video_is_a_vertical_mp4_labelled_synthetic(tmp_path: Path):
    render_video(VIDEO, tmp_path, seed=1)
    with av.open(str(tmp_path / FILE)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height) == (WIDTH, HEIGHT)
        assert video.height > video.width
        assert file.duration / 1e6 == pytest.approx(3.7, abs=0.1)
        assert "SYNTHETIC" in file.metadata["comment"]
        assert sum(1 for _ in file.decode(video)) == 37


def test_the_same_video_gives_the_same_bytes_in_one_process_or_two(tmp_path: Path):
    videos = [replace(VIDEO, video_id=f"syn-v{n}", duration_ms=500) for n in range(3)]
    for folder, workers in (("one", 1), ("again", 1), ("two", 2)):
        render_videos(videos, tmp_path / folder, seed=1, workers=workers)
    digests = [hash_folder(tmp_path / folder) for folder in ("one", "again", "two")]
    assert len(digests[0]) == 3
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests[0].values())) == 3


@pytest.mark.parametrize("media_fault", ["truncated", "garbage"])
def test_broken_media_cannot_be_opened(tmp_path: Path, media_fault: str):
    render_video(replace(VIDEO, media_fault=media_fault), tmp_path, seed=1)
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(tmp_path / FILE))


def test_videos_without_audio_and_videos_without_file(tmp_path: Path):
    render_video(replace(VIDEO, media_fault="no_sound"), tmp_path, seed=1)
    with av.open(str(tmp_path / FILE)) as file:
        assert len(file.streams.video) == 1
        assert not file.streams.audio
    missing = [replace(VIDEO, media_fault=fault) for fault in ("missing", "no_media_uri")]
    render_videos(missing, tmp_path / "none", seed=1, workers=1)
    assert list((tmp_path / "none").iterdir()) == []
