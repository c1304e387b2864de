from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.reformatter import VideoReformatter

from media.clip import SamplingConfig
from media.decode import decode_video
from media.frames import frame_to_rgb
from media.packet_skipping import PacketSkipper
from tests.support.media_files import write_video

SAMPLING = SamplingConfig(5.0, 40, 2, 32, "squash", 16_000)
NOISE = np.random.default_rng(1).integers(0, 255, (400, 48, 64, 3), np.uint8)


@pytest.fixture
def decoded_packets(monkeypatch: pytest.MonkeyPatch) -> list[Packet]:
    """The packets that were decoded."""
    packets: list[Packet] = []
    push = PacketSkipper.push

    def record_push(self: PacketSkipper, packet: Packet, next_time: float) -> list[Packet]:
        decodable = push(self, packet, next_time)
        packets.extend(decodable)
        return decodable

    monkeypatch.setattr(PacketSkipper, "push", record_push)
    return packets


@pytest.mark.parametrize(
    ("name", "codec", "max_share"),
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
def test_skipping_packets_does_not_change_frames(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decoded_packets: list[Packet],
    name: str,
    codec: str,
    max_share: float,
) -> None:
    path = write_video(
        tmp_path / name, 13, 25, lambda t: NOISE[round(t * 25)], None, codec, tags={"gop_size": 12}
    )
    sampled = decode_video(path, SAMPLING).frames
    assert 0 < len(decoded_packets) < max_share * 13 * 25
    monkeypatch.setattr(PacketSkipper, "push", lambda self, packet, next_time: [packet])
    expected = decode_video(path, SAMPLING).frames
    assert sampled.keys() == expected.keys() == {0, 1, 2}
    assert all((sampled[n] == expected[n]).all() for n in expected)


def pan(seconds: float) -> np.ndarray:
    """Return a frame that pans over a large image. All but its edge repeats earlier frames."""
    offset = round(seconds * 25)
    return np.ascontiguousarray(LARGE[offset % 90 : offset % 90 + 48, offset : offset + 64])


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
def test_skipping_is_safe_with_unclean_key_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str, options: dict[str, str]
) -> None:
    tags = {"gop_size": 25, "options": options}
    path = write_video(tmp_path / name, 13, 25, pan, None, codec, tags=tags)
    sampled = decode_video(path, SAMPLING).frames
    monkeypatch.setattr(PacketSkipper, "push", lambda self, packet, next_time: [packet])
    expected = decode_video(path, SAMPLING).frames
    assert sampled.keys() == expected.keys() == {0, 1, 2}
    assert all((sampled[n] == expected[n]).all() for n in expected)


@pytest.mark.shared_data
def test_intra_refresh_gives_the_frames_of_full_decoding(shared_data: Path) -> None:
    path = shared_data / "odd_landing" / "ir25.mp4"
    with av.open(str(path)) as file:
        frame_by_time = {
            frame.time: frame_to_rgb(frame, 64, "squash", 1.0, VideoReformatter())
            for frame in file.decode(video=0)
        }
    for moment in (3.1, 8.4, 13.3):
        # The image is taken from the middle of the segment.
        sampling = SamplingConfig(moment / 1.5, 2, 1, 64, "squash", None)
        (image,) = decode_video(path, sampling).frames[1]
        assert (image == frame_by_time[max(time for time in frame_by_time if time <= moment)]).all()


def test_the_packet_buffer_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.packet_skipping.MAX_BUFFERED_PACKETS", 20)
    num_buffered: list[int] = []
    push = PacketSkipper.push

    def record_push(self: PacketSkipper, packet: Packet, next_time: float) -> list[Packet]:
        decodable = push(self, packet, next_time)
        num_buffered.append(len(self._buffered))
        return decodable

    monkeypatch.setattr(PacketSkipper, "push", record_push)
    path = write_video(
        tmp_path / "v.mp4", 11, 25, lambda t: NOISE[round(t * 25)], None, tags={"gop_size": 1000}
    )
    assert sorted(decode_video(path, SAMPLING).frames) == [0, 1, 2]
    assert 0 < max(num_buffered) < 20
