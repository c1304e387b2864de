from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.reformatter import VideoReformatter

from media.clip import Sampling
from media.decode import decode
from media.pictures import picture
from media.skipping import Skipping
from tests.media.files import write_video

SAMPLING = Sampling(5.0, 40, 2, 32, "squash", 16_000)
NOISE = np.random.default_rng(1).integers(0, 255, (400, 48, 64, 3), np.uint8)


@pytest.fixture
def admitted(monkeypatch: pytest.MonkeyPatch) -> list[Packet]:
    """The packets that were decoded."""
    found: list[Packet] = []
    admit = Skipping.admit

    def noted(self: Skipping, packet: Packet, wanted: float) -> list[Packet]:
        needed = admit(self, packet, wanted)
        found.extend(needed)
        return needed

    monkeypatch.setattr(Skipping, "admit", noted)
    return found


@pytest.mark.parametrize(
    ("name", "codec", "most"),
    [
        ("v.mp4", "libx264", 0.45),
        ("v.ts", "libx264", 0.45),
        ("v.mkv", "libx265", 0.45),
        ("v.ts", "libx265", 0.45),
        ("v.webm", "libvpx-vp9", 0.6),
        ("v8.webm", "libvpx", 0.6),
        ("av1.mp4", "libsvtav1", 0.6),
        ("v.avi", "mpeg4", 0.45),
        ("v.mpg", "mpeg2video", 0.45),
    ],
)
def test_what_is_skipped_changes_no_picture(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    admitted: list[Packet],
    name: str,
    codec: str,
    most: float,
) -> None:
    path = write_video(
        tmp_path / name, 13, 25, lambda t: NOISE[round(t * 25)], None, codec, tags={"gop_size": 12}
    )
    some = decode(path, SAMPLING).frames
    assert 0 < len(admitted) < most * 13 * 25
    monkeypatch.setattr(Skipping, "admit", lambda self, packet, wanted: [packet])
    every = decode(path, SAMPLING).frames
    assert some.keys() == every.keys() == {0, 1, 2}
    assert all((some[n] == every[n]).all() for n in every)


def pan(seconds: float) -> np.ndarray:
    """A view that glides over a large picture: all but its edge depends on what was shown before."""
    at = round(seconds * 25)
    return np.ascontiguousarray(LARGE[at % 90 : at % 90 + 48, at : at + 64])


LARGE = np.kron(
    np.random.default_rng(2).integers(0, 255, (35, 120, 3), np.uint8), np.ones((4, 4, 1), np.uint8)
)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("v.mp4", "libx264", {"intra-refresh": "1"}),
        ("v.ts", "libx264", {"intra-refresh": "1"}),
        ("v.mkv", "libx264", {"x264-params": "open-gop=1:bframes=3"}),
        ("v.mp4", "libx265", {"x265-params": "open-gop=1:bframes=4:log-level=none"}),
        ("v.mp4", "libx265", {"x265-params": "intra-refresh=1:log-level=none"}),
        ("v.mpg", "mpeg2video", {"bf": "2"}),
        ("v.flv", "flv", {}),
    ],
)
def test_a_key_frame_from_which_one_cannot_decode_cleanly_changes_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str, options: dict[str, str]
) -> None:
    tags = {"gop_size": 25, "options": options}
    path = write_video(tmp_path / name, 13, 25, pan, None, codec, tags=tags)
    some = decode(path, SAMPLING).frames
    monkeypatch.setattr(Skipping, "admit", lambda self, packet, wanted: [packet])
    every = decode(path, SAMPLING).frames
    assert some.keys() == every.keys() == {0, 1, 2}
    assert all((some[n] == every[n]).all() for n in every)


@pytest.mark.shared_data
def test_intra_refresh_shows_at_each_moment_what_decoding_from_the_start_gives(shared_data: Path) -> None:
    path = shared_data / "odd_landing" / "ir25.mp4"
    with av.open(str(path)) as file:
        shown = {
            frame.time: picture(frame, 64, "squash", 1.0, VideoReformatter())
            for frame in file.decode(video=0)
        }
    for moment in (3.1, 8.4, 13.3):
        sampling = Sampling(moment / 1.5, 2, 1, 64, "squash", None)  # a picture is from a segment's middle
        (found,) = decode(path, sampling).frames[1]
        assert (found == shown[max(time for time in shown if time <= moment)]).all()


def test_a_stretch_without_a_key_frame_is_not_held_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("media.skipping.MOST_HELD", 20)
    held: list[int] = []
    admit = Skipping.admit

    def noted(self: Skipping, packet: Packet, wanted: float) -> list[Packet]:
        needed = admit(self, packet, wanted)
        held.append(len(self._held))
        return needed

    monkeypatch.setattr(Skipping, "admit", noted)
    path = write_video(
        tmp_path / "v.mp4", 11, 25, lambda t: NOISE[round(t * 25)], None, tags={"gop_size": 1000}
    )
    assert sorted(decode(path, SAMPLING).frames) == [0, 1, 2]
    assert 0 < max(held) < 20
