from dataclasses import replace
from pathlib import Path

import av
import pytest

from contracts.digests import of_folder
from tests.world.worlds import days
from world.catalogue import make_videos
from world.pictures import HEIGHT, WIDTH
from world.render import render, render_all

VIDEO = replace(make_videos(3, days())[0], duration_ms=3700, segment_topics=(5,), appeal=(0.3,), broken=None)
FILE = f"{VIDEO.video_id}.mp4"


def test_a_video_is_a_vertical_mp4_with_h264_and_aac_of_its_length_and_says_it_is_synthetic(tmp_path: Path):
    render(VIDEO, tmp_path, seed=1)
    with av.open(str(tmp_path / FILE)) as file:
        picture, sound = file.streams.video[0], file.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (picture.width, picture.height) == (WIDTH, HEIGHT)
        assert picture.height > picture.width
        assert file.duration / 1e6 == pytest.approx(3.7, abs=0.1)
        assert "SYNTHETIC" in file.metadata["comment"]
        assert sum(1 for _ in file.decode(picture)) == 37


def test_the_same_video_gives_the_same_bytes_in_one_process_or_two(tmp_path: Path):
    videos = [replace(VIDEO, video_id=f"syn-v{n}", duration_ms=500) for n in range(3)]
    for folder, workers in (("one", 1), ("again", 1), ("two", 2)):
        render_all(videos, tmp_path / folder, seed=1, workers=workers)
    digests = [of_folder(tmp_path / folder) for folder in ("one", "again", "two")]
    assert len(digests[0]) == 3
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests[0].values())) == 3


@pytest.mark.parametrize("broken", ["truncated", "garbage"])
def test_broken_media_cannot_be_opened(tmp_path: Path, broken: str):
    render(replace(VIDEO, broken=broken), tmp_path, seed=1)
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(tmp_path / FILE))


def test_some_videos_have_no_sound_and_some_no_file(tmp_path: Path):
    render(replace(VIDEO, broken="no_sound"), tmp_path, seed=1)
    with av.open(str(tmp_path / FILE)) as file:
        assert len(file.streams.video) == 1
        assert not file.streams.audio
    gone = [replace(VIDEO, broken=broken) for broken in ("missing", "no_media_uri")]
    render_all(gone, tmp_path / "none", seed=1, workers=1)
    assert list((tmp_path / "none").iterdir()) == []
