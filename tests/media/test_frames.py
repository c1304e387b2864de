from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from hypothesis import given
from hypothesis import strategies as st

from media.clip import SamplingConfig
from media.decode import decode_video
from media.frames import frame_to_rgb
from tests.support.media_files import BLUE, GREEN, RED, by_time, plain, rotate, write_slides, write_video


def decode_frames(
    path: Path, fit: str = "squash", size: int = 32, per_segment: int = 2
) -> dict[int, np.ndarray]:
    return decode_video(path, SamplingConfig(5.0, 40, per_segment, size, fit, None)).frames  # type: ignore[arg-type]


def halves(left: tuple, right: tuple) -> np.ndarray:
    return np.concatenate([plain(left, 48, 32), plain(right, 48, 32)], axis=1)


def test_frames_are_evenly_spaced_in_each_segment(tmp_path: Path) -> None:
    frames = decode_frames(write_video(tmp_path / "v.mp4", seconds=12, picture=by_time, hertz=None))
    seconds = {
        segment: frames_of_segment.mean((1, 2, 3)) / 10 for segment, frames_of_segment in frames.items()
    }
    assert seconds[0] == pytest.approx([1.25, 3.75], abs=0.35)
    assert seconds[1] == pytest.approx([6.25, 8.75], abs=0.35)
    assert seconds[2] == pytest.approx([10.5, 11.5], abs=0.35)  # the segment is 2 s long


def test_each_segment_gives_the_requested_number_of_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=8, hertz=None)
    assert {
        s: len(frames_of_segment) for s, frames_of_segment in decode_frames(path, per_segment=5).items()
    } == {0: 5, 1: 5}


def test_a_single_frame_is_a_segment(tmp_path: Path) -> None:
    frames = decode_frames(write_slides(tmp_path / "v.mp4", [(0, plain(RED))]))
    assert {segment: len(frames_of_segment) for segment, frames_of_segment in frames.items()} == {0: 1}


def test_a_held_frame_is_in_every_segment_it_covers(tmp_path: Path) -> None:
    slides = [(0.0, plain(RED)), (14.0, plain(BLUE)), (14.5, plain(BLUE))]
    frames = decode_frames(write_slides(tmp_path / "v.mp4", slides))
    assert sorted(frames) == [0, 1, 2]
    assert frames[1].mean((0, 1, 2)) == pytest.approx(RED, abs=12)


@pytest.mark.parametrize(("degrees", "top", "bottom"), [(90, RED, BLUE), (270, BLUE, RED)])
def test_a_rotated_video_is_decoded_upright(tmp_path: Path, degrees: int, top: tuple, bottom: tuple) -> None:
    path = write_video(tmp_path / "v.mp4", picture=lambda t: halves(RED, BLUE), hertz=None)
    upright = decode_frames(rotate(path, degrees))[0][0]
    assert upright[:12].mean((0, 1)) == pytest.approx(top, abs=15)
    assert upright[-12:].mean((0, 1)) == pytest.approx(bottom, abs=15)


def test_a_rotation_by_180_degrees_swaps_left_and_right(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", picture=lambda t: halves(RED, BLUE), hertz=None)
    turned = decode_frames(rotate(path, 180))[0][0]
    assert turned[:, :12].mean((0, 1)) == pytest.approx(BLUE, abs=15)


def test_shortest_crops_the_centre_and_squash_keeps_the_edges(tmp_path: Path) -> None:
    wide = np.concatenate([plain(RED, 32, 32), plain(GREEN, 32, 32), plain(BLUE, 32, 32)], axis=1)
    path = write_video(tmp_path / "v.mp4", picture=lambda t: wide, hertz=None)
    centre, squashed = decode_frames(path, "shortest")[0][0], decode_frames(path, "squash")[0][0]
    assert centre[:, 4:-4].mean((0, 1)) == pytest.approx(GREEN, abs=15)
    assert squashed[:, :6].mean((0, 1)) == pytest.approx(RED, abs=15)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("ten_bit.mp4", "libx264", "yuv420p10le"),
        ("no_subsampling.mp4", "libx264", "yuv444p"),
        ("alpha.mkv", "ffv1", "bgra"),
        ("alpha.webm", "libvpx-vp9", "yuva420p"),
        ("grey.mkv", "ffv1", "gray"),
    ],
)
def test_every_pixel_format_becomes_rgb(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    grey = (90, 90, 90)
    path = write_video(tmp_path / name, picture=lambda t: plain(grey), hertz=None, codec=codec, pixels=pixels)
    assert decode_frames(path)[0].mean((0, 1, 2)) == pytest.approx(grey, abs=6)


def test_hdr_is_mapped_to_standard_brightness(tmp_path: Path) -> None:
    """PQ code 0.4 is 32.4 cd/m². With white at 203 cd/m² and gamma 2.4 that is level 119."""
    pq = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}
    grey = (102, 102, 102)
    path = write_video(
        tmp_path / "v.mp4", picture=lambda t: plain(grey), hertz=None, pixels="yuv420p10le", tags=pq
    )
    assert decode_frames(path)[0].mean((0, 1, 2)) == pytest.approx((119, 119, 119), abs=4)


@given(
    width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(8, 64),
    fit=st.sampled_from(["shortest", "squash"]), pixel=st.sampled_from([0.5, 1.0, 1.3]),
)  # fmt: skip
def test_any_shape_becomes_a_square_of_the_given_size(
    width: int, height: int, size: int, fit: str, pixel: float
) -> None:
    frame = av.VideoFrame.from_ndarray(plain(GREEN, height, width), format="rgb24")
    square = frame_to_rgb(frame, size, fit, pixel, VideoReformatter())  # type: ignore[arg-type]
    assert square.shape == (size, size, 3)
    assert square.mean((0, 1)) == pytest.approx(GREEN, abs=6)


def decode_stills(path: Path, size: int, per_video: int = 9) -> tuple[np.ndarray, ...]:
    sampling = SamplingConfig(2.0, 40, 2, None, "squash", None, still_size=size, stills_per_video=per_video)
    clip = decode_video(path, sampling)
    assert clip.frames == clip.audio == {}
    return clip.stills


def test_a_still_keeps_the_aspect_ratio_and_is_never_enlarged(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", picture=lambda t: halves(RED, BLUE), hertz=None)  # 64 × 48
    (small,), (large,) = decode_stills(path, 32), decode_stills(path, 960)
    assert (small.shape, large.shape) == ((24, 32, 3), (48, 64, 3))
    assert small[:, :12].mean((0, 1)) == pytest.approx(RED, abs=15)
    assert small[:, -12:].mean((0, 1)) == pytest.approx(BLUE, abs=15)
    (upright,) = decode_stills(rotate(path, 90), 32)
    assert upright.shape == (32, 24, 3)


def test_stills_are_evenly_spaced_over_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=12, picture=by_time, hertz=None)
    levels = [still.mean() / 10 for still in decode_stills(path, 32, per_video=3)]
    assert levels == pytest.approx([2.5, 6.5, 10.5], abs=0.35)
    assert len(decode_stills(path, 32)) == 6  # one of each segment


def test_stills_do_not_change_the_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=7, hertz=None)
    alone = decode_frames(path)
    sampling = SamplingConfig(5.0, 40, 2, 32, "squash", None, still_size=960)
    both = decode_video(path, sampling)
    assert len(both.stills) == len(both.frames) == 2
    assert all(np.array_equal(alone[n], both.frames[n]) for n in alone)
