from pathlib import Path

import numpy as np
import pytest
from av.packet import Packet

from media.clip import Sampling
from media.decode import decode
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
        ("v.webm", "libvpx-vp9", 0.6),
        ("v.avi", "mpeg4", 0.45),
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
