"""Does synchrony tell the sound of a video from the sound of other videos?

The measure of `research/synchrony` is computed for windows of videos with their own sound (matched) and with
the sound of windows of other videos (shuffled). The AUC is the chance that a matched pair has the greater
value: .5 is chance. Motion is measured by pixels, and by embeddings with groups of several sizes.

Without videos the study draws its own, see `planted_clips`. The last line is the JSON result.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from tqdm import tqdm

from core.errors import REFUSED_INPUT, InputError
from media.clip import UnreadableMedia
from models.encoders import ImageEncoder, build_image_encoder
from research.synchrony.__main__ import find_videos
from research.synchrony.embedding_motion import (
    IMAGE_SECONDS,
    LEVELS,
    MIN_EMBEDDING_MOTION,
    Encode,
    embed_images,
    group_changes,
)
from research.synchrony.measure import (
    FRAMES,
    SYNCHRONY_SAMPLE_RATE,
    MotionForm,
    frame_differences,
    measure_synchrony,
    read_motion_and_sound,
)

GROUPS = (1, 4, 10)  # images on each side of a comparison
FORMS = ("frames", *(f"embeddings of {group}" for group in GROUPS))
MAX_SECONDS = 60.0
PARTNERS = 20  # shuffled pairs of each window
RESAMPLES = 1000
SIDE = 64  # pixels of a planted image
NUISANCES = ("none", "flicker", "shake")


@dataclass(frozen=True)
class Clip:
    """A video: its motion by form, and its sound.

    Attributes:
        motion: form -> times of N images in seconds [N], and motion at each [N].
        samples: mono sound at SYNCHRONY_SAMPLE_RATE.
    """

    motion: Mapping[str, tuple[np.ndarray, np.ndarray]]
    samples: np.ndarray


def main() -> int:
    """Run the study.

    Returns:
        0: done. 2: a path is refused.
    """
    parser = argparse.ArgumentParser(
        prog="python -m research.studies.synchrony_matching", description=__doc__
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="VIDEO_OR_FOLDER")
    parser.add_argument(
        "--window", type=float, default=5.0, help="seconds of a window (default: %(default)s)"
    )
    parser.add_argument("--planted", type=int, default=12, help="planted videos (default: %(default)s)")
    args = parser.parse_args()
    encoder = build_image_encoder("default", torch.device("cpu"))
    try:
        videos = find_videos(args.paths)
    except InputError as error:
        print(f"synchrony_matching: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    av.logging.set_level(av.logging.PANIC)
    if videos:
        figures = {"videos": matching(list(read_clips(videos, encoder)), args.window)}
    else:
        figures = {
            nuisance: matching(planted_clips(args.planted, nuisance, encoder.encode), args.window)
            for nuisance in NUISANCES
        }
    print(json.dumps({"name": "synchrony_matching", "figures": figures}))
    return 0


def read_clips(paths: Sequence[Path], encoder: ImageEncoder) -> Iterator[Clip]:
    """Decode the start of each video. Videos without pictures or sound are left out."""

    def embed(rgb_NXX3: np.ndarray) -> np.ndarray:
        return embed_images(encoder.encode, rgb_NXX3)

    images = MotionForm(encoder.image_size, "rgb24", IMAGE_SECONDS, embed, 0.0)
    for path in tqdm(paths, "decode", unit="video"):
        try:
            *by_frames, samples = read_motion_and_sound(path, MAX_SECONDS)
            seconds_N, vectors_ND, _ = read_motion_and_sound(path, MAX_SECONDS, form=images)
        except UnreadableMedia:
            continue
        if len(seconds_N):
            yield Clip({FORMS[0]: (by_frames[0], by_frames[1])} | _by_groups(seconds_N, vectors_ND), samples)


def _by_groups(seconds_N: np.ndarray, vectors_ND: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the motion by embeddings with each of GROUPS."""
    motions = (LEVELS * group_changes(vectors_ND, group) for group in GROUPS)
    return {name: (seconds_N, motion_N) for name, motion_N in zip(FORMS[1:], motions, strict=True)}


def planted_clips(count: int, nuisance: str, encode: Encode, seed: int = 0) -> list[Clip]:
    """Draw videos of 20 s whose scene changes at random moments, at which the sound clicks.

    Args:
        count: number of videos.
        nuisance: what else moves. `flicker`: the light goes on and off at other random moments. `shake`: the
            camera moves by up to 3 pixels in each image.
        encode: encodes images.
        seed: of the videos.
    """
    clips = []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        images, samples = _draw(random, nuisance, round(20 / IMAGE_SECONDS))
        seconds_N = np.arange(len(images)) * IMAGE_SECONDS
        grey_NXX = images.mean(3).astype(np.uint8)[:, ::2, ::2]
        motion = {FORMS[0]: (seconds_N, frame_differences(grey_NXX))}
        clips.append(Clip(motion | _by_groups(seconds_N, embed_images(encode, images)), samples))
    return clips


def _draw(random: np.random.Generator, nuisance: str, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images [num_images, SIDE, SIDE, 3] uint8 and sound that clicks when the scene changes."""
    cuts = random.random(num_images) < IMAGE_SECONDS  # one cut a second
    light = np.where(np.cumsum(random.random(num_images) < IMAGE_SECONDS) % 2, 0.5, 1.0)
    samples = random.normal(0, 1e-4, round(num_images * IMAGE_SECONDS * SYNCHRONY_SAMPLE_RATE))
    images, scene = [], _scene(random)
    for number in range(num_images):
        if cuts[number]:
            scene = _scene(random)
            start = round(number * IMAGE_SECONDS * SYNCHRONY_SAMPLE_RATE)
            click = random.normal(0, 0.3, 400) * np.exp(-np.arange(400) / 80)
            samples[start : start + 400] += click[: len(samples) - start]
        shift = tuple(random.integers(-3, 4, 2)) if nuisance == "shake" else (0, 0)
        image = np.roll(scene, shift, (0, 1)) * (light[number] if nuisance == "flicker" else 1.0)
        images.append(image.astype(np.uint8))
    return np.stack(images), samples.astype(np.float32)


def _scene(random: np.random.Generator) -> np.ndarray:
    """Return stripes of two random colours and a random direction [SIDE, SIDE, 3]."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    angle, frequency = random.uniform(0, np.pi), random.uniform(0.2, 0.6)
    stripe = 0.5 + 0.5 * np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)))
    dark, light = random.uniform(0, 120, 3), random.uniform(120, 255, 3)
    return dark + stripe[..., None] * (light - dark)


def matching(clips: Sequence[Clip], window: float) -> dict[str, Any]:
    """Compare matched with shuffled windows.

    Args:
        clips: the videos.
        window: length of a window, seconds.

    Returns:
        Numbers of clips and windows, and for each form the AUC without a delay and at the best delay, with
        its 95 % interval from a bootstrap over clips.
    """
    windows = [(n, *cut) for n, clip in enumerate(clips) for cut in _windows(clip, window)]
    result: dict[str, Any] = {"clips": len({n for n, *_ in windows}), "windows": len(windows)}
    for name in FORMS:
        pairs = _pairs(windows, name)
        result[name] = {
            kind: _auc_with_interval(pairs[:, :2], pairs[:, column])
            for kind, column in (("no delay", 2), ("best delay", 3))
        }
    return result


def _windows(
    clip: Clip, window: float
) -> Iterator[tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray]]:
    """Yield motion by form and sound of the whole windows of a clip. Times start at the window's start."""
    end = min(min(times.max(initial=0.0) for times, _ in clip.motion.values()) + IMAGE_SECONDS,
              len(clip.samples) / SYNCHRONY_SAMPLE_RATE)  # fmt: skip
    length = round(window * SYNCHRONY_SAMPLE_RATE)
    for number in range(int(end / window)):
        motion = {}
        for name, (times, values) in clip.motion.items():
            inside = (times >= number * window) & (times < (number + 1) * window)
            motion[name] = (times[inside] - number * window, values[inside])
        yield motion, clip.samples[number * length : (number + 1) * length]


def _pairs(windows: Sequence[tuple], name: str) -> np.ndarray:
    """Return a row for each known pair: clip of the motion, clip of the sound, and both correlations.

    A window is paired with its own sound, and with that of at most PARTNERS windows of other clips.
    """
    min_motion = FRAMES.min_motion if name == FORMS[0] else LEVELS * MIN_EMBEDDING_MOTION
    random, rows = np.random.default_rng(0), []
    for a, (clip_a, motion, _) in enumerate(windows):
        others = [b for b, (clip_b, *_) in enumerate(windows) if clip_b != clip_a]
        for b in (a, *random.permutation(others)[:PARTNERS]):
            clip_b, _, samples = windows[b]
            times, values = motion[name]
            synchrony = measure_synchrony(times, values, samples, min_motion)
            if synchrony is not None:
                rows.append((clip_a, clip_b, synchrony.correlation, synchrony.best_correlation))
    return np.array(rows).reshape(-1, 4)


def _auc_with_interval(clips_P2: np.ndarray, value_P: np.ndarray) -> dict[str, float]:
    """Return the AUC of matched pairs, and its 95 % interval from a bootstrap over clips."""
    names, clip_P2 = np.unique(clips_P2, return_inverse=True)
    a_P, b_P = clip_P2.reshape(-1, 2).T
    matched_P = a_P == b_P
    random, aucs = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        weight_P = times[a_P] * np.where(matched_P, 1, times[b_P])
        aucs.append(weighted_auc(value_P, matched_P, weight_P))
    low, high = np.nanpercentile(aucs, [2.5, 97.5])
    return {
        "auc": round(weighted_auc(value_P, matched_P, np.ones(len(value_P))), 3),
        "low": round(float(low), 3),
        "high": round(float(high), 3),
        "matched": int(matched_P.sum()),
    }


def weighted_auc(value_P: np.ndarray, matched_P: np.ndarray, weight_P: np.ndarray) -> float:
    """Return the chance that a matched pair has a greater value than another pair. Ties count half.

    Args:
        value_P, matched_P: the pairs.
        weight_P: how often each pair counts.
    """
    _, rank_P = np.unique(value_P, return_inverse=True)
    hits, misses = (
        np.bincount(rank_P[kind], weight_P[kind], rank_P.max(initial=0) + 1)
        for kind in (matched_P, ~matched_P)
    )
    below = np.cumsum(misses) - 0.5 * misses
    total = hits.sum() * misses.sum()
    return float(hits @ below / total) if total else float("nan")


if __name__ == "__main__":
    sys.exit(main())
