"""Damaged copies of a clean file: every one is a clip or has its reason, whatever libav makes of it."""

from collections import Counter
from pathlib import Path

import numpy as np

from media.clip import Clip, Limits, Sampling, Unreadable
from media.decoders import Decoders
from tests.media.files import write_video

SAMPLING = Sampling(5.0, 40, 2, 32, "squash", 16_000)
LIMITS = Limits(20, 2 << 30, 1 << 20, 3600, 1_000_000)
COPIES = 40


def damage(content: bytes, chance: np.random.Generator) -> bytes:
    """Some bytes changed, and in every fourth copy the end or a piece of the middle is gone."""
    copy = bytearray(content)
    for place in chance.integers(0, len(copy), int(chance.choice([1, 8, 64]))):
        copy[place] = chance.integers(256)
    if chance.random() < 0.25:
        start, end = sorted(chance.integers(0, len(copy), 2))
        del copy[start : end if chance.random() < 0.5 else None]
    return bytes(copy)


def outcomes(folder: Path, content: bytes, copies: int, suffix: str) -> Counter[str]:
    chance = np.random.default_rng(7)
    names = [f"{number}{suffix}" for number in range(copies)]
    for name in names:
        (folder / name).write_bytes(damage(content, chance))
    found: Counter[str] = Counter()
    with Decoders(folder, SAMPLING, LIMITS, 2) as pool:
        for outcome in pool.decode(names):
            assert isinstance(outcome, Clip | Unreadable)
            found["clip" if isinstance(outcome, Clip) else outcome.reason] += 1
            if isinstance(outcome, Clip):
                assert all(part.shape[1:] == (32, 32, 3) for part in outcome.frames.values())
                assert all(np.isfinite(part).all() for part in outcome.sound.values())
    return found


def test_a_damaged_file_is_a_clip_or_has_its_reason(tmp_path: Path) -> None:
    content = write_video(tmp_path / "v.mp4", seconds=3, options={"movflags": "faststart"}).read_bytes()
    found = outcomes(tmp_path, content, COPIES, ".mp4")
    assert found.total() == COPIES
    assert found["clip"] > 0
    assert found["unreadable_media"] > 0
