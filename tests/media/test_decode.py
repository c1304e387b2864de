import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer

import media.decode
from media.clip import SamplingConfig, UnreadableMedia
from media.decode import decode_video
from tests.support.media_files import BLUE, GREEN, RED, by_time, plain, write_video

SAMPLING = SamplingConfig(5.0, 40, 2, 32, "squash", 16_000)


def media_error(path: Path) -> UnreadableMedia:
    with pytest.raises(UnreadableMedia) as caught:
        decode_video(path, SAMPLING)
    return caught.value


def test_a_video_gives_frames_and_audio_by_segment(tmp_path: Path) -> None:
    clip = decode_video(write_video(tmp_path / "v.mp4", seconds=7), SAMPLING)
    assert {segment: frames.shape for segment, frames in clip.frames.items()} == {
        0: (2, 32, 32, 3),
        1: (2, 32, 32, 3),
    }
    assert all(frames.dtype == np.uint8 for frames in clip.frames.values())
    assert [len(part) for part in clip.audio.values()] == [80_000, pytest.approx(32_000, abs=1500)]
    assert clip.decode_errors == ()


@pytest.mark.parametrize("name", ["v.mkv", "v.ts", "v.avi", "v.mov", "v.flv"])
def test_containers_with_other_time_bases_give_the_same_segments(tmp_path: Path, name: str) -> None:
    clip = decode_video(write_video(tmp_path / name, seconds=6), SAMPLING)
    assert sorted(clip.frames) == [0, 1]
    first, second = clip.frames[0].mean((1, 2, 3))
    assert (first, second) == (pytest.approx(13, abs=4), pytest.approx(38, abs=4))


def test_a_stream_without_timestamps_uses_its_frame_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.h264", seconds=4, rate=25, hertz=None)
    assert decode_video(path, SAMPLING).frames[0].shape == (2, 32, 32, 3)


def test_a_silent_video_has_no_audio(tmp_path: Path) -> None:
    clip = decode_video(write_video(tmp_path / "v.mp4", hertz=None), SAMPLING)
    assert (sorted(clip.frames), clip.audio) == ([0], {})


def test_an_audio_file_has_no_frames(tmp_path: Path) -> None:
    clip = decode_video(write_video(tmp_path / "v.m4a", picture=None), SAMPLING)
    assert (clip.frames, sorted(clip.audio)) == ({}, [0])


def test_a_cover_image_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    plain_song = write_video(tmp_path / "song.m4a", picture=None)
    with av.open(str(plain_song)) as source, av.open(str(path), "w") as file:
        audio = file.add_stream_from_template(source.streams.audio[0])
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(plain(RED), format="rgb24")
        frame.pts = 0
        file.mux(cover.encode(frame))
        file.mux(cover.encode(None))
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = audio
                file.mux(packet)
    clip = decode_video(path, SAMPLING)
    assert (clip.frames, sorted(clip.audio)) == ({}, [0])


def test_unrequested_streams_are_not_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    assert decode_video(path, SamplingConfig(5.0, 40, 2, None, "squash", 16_000)).frames == {}
    assert decode_video(path, SamplingConfig(5.0, 40, 2, 32, "squash", None)).audio == {}


def test_nothing_is_decoded_beyond_the_last_segment(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=7)
    clip = decode_video(path, SamplingConfig(2.0, 2, 1, 32, "squash", 16_000))
    assert (sorted(clip.frames), sorted(clip.audio)) == ([0, 1], [0, 1])
    assert [len(part) for part in clip.audio.values()] == [32_000, 32_000]


def test_segments_before_a_cut_are_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=20, hertz=None, options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.7)])
    clip = decode_video(path, SAMPLING)
    assert 0 in clip.frames
    assert 3 not in clip.frames


class BreakingContainer:
    """A container whose demuxer fails after some packets."""

    def __init__(self, container: InputContainer, packets: int) -> None:
        self._container, self._packets = container, packets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> "BreakingContainer":
        return self

    def __exit__(self, *raised: object) -> None:
        self._container.close()

    def demux(self, streams: list[Any]) -> Iterator[av.Packet]:
        yield from islice(self._container.demux(streams), self._packets)
        raise av.error.InvalidDataError(1, "broken")


def test_buffered_packets_are_decoded_when_the_container_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "v.mkv", seconds=12, hertz=None)
    open_container = media.decode._open_container
    monkeypatch.setattr(
        media.decode, "_open_container", lambda source: BreakingContainer(open_container(source), 61)
    )
    clip = decode_video(path, SAMPLING)
    assert clip.decode_errors == ("broken",)
    assert [len(part) for part in clip.frames.values()] == [2, 1]
    assert clip.frames[1].mean() == pytest.approx(60, abs=4)


def test_a_damaged_middle_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    pictures = [noise.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(40)]
    path = write_video(tmp_path / "v.mp4", 4, picture=lambda t: pictures[round(t * 10)], hertz=None)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + len(content) // 2
    content[start : start + 4000] = bytes(4000)
    path.write_bytes(content)
    clip = decode_video(path, SAMPLING)
    assert [problem.split(":")[0] for problem in clip.decode_errors] == ["video"]
    assert 0 in clip.frames


@pytest.mark.parametrize("picture", [None, by_time])
def test_an_encrypted_file_has_its_own_reason(
    tmp_path: Path, picture: Callable[[float], np.ndarray] | None
) -> None:
    keys = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    assert (
        media_error(write_video(tmp_path / "v.mp4", picture=picture, options=keys)).reason
        == "encrypted_media"
    )


def test_each_bad_file_has_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "garbage.mp4").write_bytes(np.random.default_rng(1).bytes(5000))
    (tmp_path / "folder.mp4").mkdir()
    moov_lost = write_video(tmp_path / "cut.mp4", seconds=4)
    moov_lost.write_bytes(moov_lost.read_bytes()[:2000])
    os.mkfifo(tmp_path / "pipe.mp4")
    reasons = {
        name: media_error(tmp_path / f"{name}.mp4").reason
        for name in ("gone", "empty", "garbage", "folder", "cut", "pipe")
    }
    assert reasons == {
        "gone": "missing_media",
        "empty": "empty_media",
        "garbage": "unreadable_media",
        "folder": "missing_media",
        "cut": "unreadable_media",
        "pipe": "missing_media",
    }
    assert media_error(Path("x" * 300)).reason == "missing_media"
    assert media_error(Path("a\0b")).reason == "missing_media"


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile secret.ts\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.ts\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_disguised_as_media_reads_no_other_file(tmp_path: Path, playlist: str) -> None:
    write_video(tmp_path / "secret.ts")
    for name in ("v.mp4", "v.m3u8"):
        (tmp_path / name).write_text(playlist, encoding="utf-8")
        assert media_error(tmp_path / name).reason == "unreadable_media"


@pytest.mark.parametrize("name", ["-i.mp4", "http:x.mp4", "%05d.mp4", "ü 猫.mp4"])
def test_a_name_that_resembles_an_option_or_uri_is_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_video(tmp_path / "v.mp4", hertz=None).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert 0 in decode_video(Path(name), SAMPLING).frames


def test_an_error_does_not_reveal_the_path(tmp_path: Path) -> None:
    (tmp_path / "garbage.mp4").write_bytes(b"nothing" * 100)
    assert str(tmp_path) not in media_error(tmp_path / "garbage.mp4").detail


def test_colours_are_preserved(tmp_path: Path) -> None:
    for name, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
        path = write_video(tmp_path / f"{name}.mp4", picture=lambda t, c=colour: plain(c), hertz=None)
        seen = decode_video(path, SAMPLING).frames[0].mean((0, 1, 2))
        assert seen == pytest.approx(colour, abs=12)
