"""Decode unusual but possible media files, which the tests create."""

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media.clip import DecodeLimits, SamplingConfig, UnreadableMedia
from media.decode import decode_video
from tests.support.media_files import BLUE, RED, by_time, plain, write_slides, write_video

SAMPLING = SamplingConfig(5.0, 40, 2, 32, "squash", 16_000)
LIMITS = DecodeLimits(60, 2 << 30)


def media_error(path: Path, limits: DecodeLimits = LIMITS) -> UnreadableMedia:
    with pytest.raises(UnreadableMedia) as caught:
        decode_video(path, SAMPLING, limits)
    return caught.value


def frame_levels(path: Path, sampling: SamplingConfig = SAMPLING) -> dict[int, list[float]]:
    """Return segment -> the mean level of each image."""
    return {n: [float(p.mean()) for p in part] for n, part in decode_video(path, sampling).frames.items()}


def concatenate(path: Path, *parts: Path) -> Path:
    """Concatenate h264 streams."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def write_sized(
    path: Path, colour: tuple[int, int, int], height: int, width: int, seconds: float = 4
) -> Path:
    return write_video(path, seconds, 25, lambda t: plain(colour, height, width), None)


def test_a_file_beyond_a_limit_has_its_reason(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=7)
    errors = {
        name: media_error(path, replace(LIMITS, **{name: value}))
        for name, value in (("max_file_bytes", 1000), ("max_duration_seconds", 6), ("max_pixels", 3000))
    }
    assert {name: error.reason for name, error in errors.items()} == {
        "max_file_bytes": "too_large",
        "max_duration_seconds": "too_long",
        "max_pixels": "too_many_pixels",
    }
    assert "64 × 48; embed.max_megapixels is 0.003" in errors["max_pixels"].detail
    assert decode_video(
        path, SAMPLING, replace(LIMITS, max_file_bytes=1 << 20, max_duration_seconds=8, max_pixels=3072)
    ).frames


def test_the_pixel_limit_does_not_apply_without_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    assert decode_video(path, replace(SAMPLING, image_size=None), replace(LIMITS, max_pixels=10)).audio


def test_frames_of_changing_size_are_all_scaled(tmp_path: Path) -> None:
    small, large = (
        write_sized(tmp_path / "a.h264", RED, 48, 64),
        write_sized(tmp_path / "b.h264", BLUE, 240, 320),
    )
    frames = decode_video(concatenate(tmp_path / "v.h264", small, large), SAMPLING).frames
    first, last = frames[0][0], frames[1][-1]
    assert first.mean((0, 1)) == pytest.approx(RED, abs=12)
    assert last.mean((0, 1)) == pytest.approx(BLUE, abs=12)


def test_frames_that_exceed_the_pixel_limit_end_the_video(tmp_path: Path) -> None:
    small, large = (
        write_sized(tmp_path / "a.h264", RED, 48, 64),
        write_sized(tmp_path / "b.h264", BLUE, 240, 320),
    )
    path = concatenate(tmp_path / "v.h264", small, large)
    clip = decode_video(path, SAMPLING, replace(LIMITS, max_pixels=64 * 48))
    assert [problem.split(":")[0] for problem in clip.decode_errors] == ["video"]
    assert clip.frames[0].mean((0, 1, 2)) == pytest.approx(RED, abs=12)


def test_a_header_with_an_absurd_size_is_rejected(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", codec="huffyuv", pixels="yuv422p", hertz=None)
    content = bytearray(path.read_bytes())
    sides = content.index(b"strf") + 12
    content[sides : sides + 8] = struct.pack("<2i", 8000, 8000)
    path.write_bytes(content)
    assert media_error(path, replace(LIMITS, max_pixels=36_000_000)).reason == "too_many_pixels"


@pytest.mark.parametrize("start", [100.0, -1.0])
def test_the_first_frame_is_at_time_0(tmp_path: Path, start: float) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as file:
        video = file.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for n in range(40):
            frame = av.VideoFrame.from_ndarray(by_time(n / 10), format="rgb24")
            frame.pts, frame.time_base = round((start + n / 10) * 1000), Fraction(1, 1000)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    (levels,) = frame_levels(path).values()
    assert levels == pytest.approx([10, 30], abs=12)


def test_timestamps_that_jump_back_end_without_a_loop(tmp_path: Path) -> None:
    first, second = (write_video(tmp_path / f"{n}.ts", seconds=7, hertz=None) for n in (1, 2))
    path = tmp_path / "v.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert 0 in frame_levels(path)


def test_timestamps_that_jump_ahead_hold_the_last_frame(tmp_path: Path) -> None:
    slides = [(0.0, plain(RED)), (0.1, plain(RED)), (100_000.0, plain(BLUE))]
    frames = decode_video(write_slides(tmp_path / "v.mp4", slides), replace(SAMPLING, max_segments=3)).frames
    assert sorted(frames) == [0, 1, 2]
    assert frames[2].mean((0, 1, 2)) == pytest.approx(RED, abs=12)


def test_a_high_frame_rate_is_sampled_by_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", seconds=2, rate=1000, hertz=None)
    assert frame_levels(path)[0] == pytest.approx([5, 15], abs=3)


def test_irregular_frames_are_sampled_by_time(tmp_path: Path) -> None:
    slides = [(t, by_time(t)) for t in (0.0, 0.1, 0.2, 0.3, 2.4, 2.5, 4.0, 4.9)]
    assert frame_levels(write_slides(tmp_path / "v.mp4", slides))[0] == pytest.approx([3, 25], abs=3)


def test_a_gif_is_a_video_on_a_black_background(tmp_path: Path) -> None:
    from PIL import Image

    pictures = []
    for _ in range(4):
        rgba = np.zeros((48, 64, 4), np.uint8)
        rgba[:, 32:] = (*RED, 255)
        rgba[:, :32] = (255, 255, 255, 0)
        pictures.append(Image.fromarray(rgba))
    path = tmp_path / "v.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=300, disposal=2)
    square = decode_video(path, SAMPLING).frames[0][0]
    assert square[:, :12].mean((0, 1)) == pytest.approx((0, 0, 0), abs=6)
    assert square[:, -12:].mean((0, 1)) == pytest.approx(RED, abs=12)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [("v.webm", "libvpx-vp9", "yuva420p"), ("v.mkv", "ffv1", "bgra")]
)
def test_half_transparent_white_on_black_is_grey(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as file:
        video = file.add_stream(codec, rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, pixels
        if codec == "libvpx-vp9":
            video.metadata["alpha_mode"] = "1"
        for n in range(10):
            rgba = np.full((48, 64, 4), (255, 255, 255, 128), np.uint8)
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=pixels)
            frame.pts, frame.time_base = n * 100, Fraction(1, 1000)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    assert frame_levels(path)[0] == pytest.approx([128, 128], abs=6)


def test_a_file_of_subtitles_has_no_streams(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    (tmp_path / "v.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nhello\n", encoding="utf-8")
    with av.open(str(tmp_path / "v.srt")) as source, av.open(str(path), "w") as file:
        stream = file.add_stream_from_template(source.streams.subtitles[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    assert media_error(path).reason == "no_streams"


def test_an_audio_stream_without_samples_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "v.wav"
    with av.open(str(path), "w") as file:
        file.add_stream("pcm_s16le", rate=16_000, layout="mono")
        file.start_encoding()
    assert media_error(path).reason in ("no_media_content", "unreadable_media")


def test_a_link_is_followed(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", hertz=None)
    (tmp_path / "link.mp4").symlink_to("v.mp4")
    (tmp_path / "dangling.mp4").symlink_to("gone.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    assert frame_levels(tmp_path / "link.mp4") == frame_levels(tmp_path / "v.mp4")
    assert {media_error(tmp_path / f"{n}.mp4").reason for n in ("dangling", "loop")} == {"missing_media"}


def test_frames_per_video_bounds_the_frames_of_a_long_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=20, hertz=None)
    assert [len(part) for part in frame_levels(path).values()] == [2, 2, 2, 2]
    levels_by_segment = frame_levels(path, replace(SAMPLING, frames_per_video=3))
    assert sum(len(part) for part in levels_by_segment.values()) == 3
    assert [level for part in levels_by_segment.values() for level in part] == pytest.approx(
        [37.5, 112.5, 162.5], abs=30
    )
