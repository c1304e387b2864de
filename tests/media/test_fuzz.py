"""Decode damaged copies of a clean file. Each is decoded or has a reject reason."""

from collections import Counter
from pathlib import Path

import numpy as np

from media.clip import DecodedVideo, DecodeLimits, SamplingConfig, UnreadableMedia
from media.decoders import DecoderPool
from tests.support.media_files import write_video

SAMPLING = SamplingConfig(5.0, 40, 2, 32, "squash", 16_000)
LIMITS = DecodeLimits(20, 2 << 30, 1 << 20, 3600, 1_000_000)
COPIES = 40


def damage_bytes(content: bytes, generator: np.random.Generator) -> bytes:
    """Change some bytes. With probability 1/4 also delete the end or a part of the middle."""
    damaged = bytearray(content)
    for offset in generator.integers(0, len(damaged), int(generator.choice([1, 8, 64]))):
        damaged[offset] = generator.integers(256)
    if generator.random() < 0.25:
        start, end = sorted(generator.integers(0, len(damaged), 2))
        del damaged[start : end if generator.random() < 0.5 else None]
    return bytes(damaged)


def decode_outcomes(folder: Path, content: bytes, copies: int, suffix: str) -> Counter[str]:
    generator = np.random.default_rng(7)
    names = [f"{number}{suffix}" for number in range(copies)]
    for name in names:
        (folder / name).write_bytes(damage_bytes(content, generator))
    counts: Counter[str] = Counter()
    with DecoderPool(folder, SAMPLING, LIMITS, 2) as pool:
        for outcome in pool.decode(names):
            assert isinstance(outcome, DecodedVideo | UnreadableMedia)
            counts["clip" if isinstance(outcome, DecodedVideo) else outcome.reason] += 1
            if isinstance(outcome, DecodedVideo):
                assert all(part.shape[1:] == (32, 32, 3) for part in outcome.frames.values())
                assert all(np.isfinite(part).all() for part in outcome.audio.values())
    return counts


def test_a_damaged_file_is_decoded_or_rejected_with_a_reason(tmp_path: Path) -> None:
    content = write_video(tmp_path / "v.mp4", seconds=3, options={"movflags": "faststart"}).read_bytes()
    counts = decode_outcomes(tmp_path, content, COPIES, ".mp4")
    assert counts.total() == COPIES
    assert counts["clip"] > 0
    assert counts["unreadable_media"] > 0
