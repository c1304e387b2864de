"""The sound of a video: each topic has its own motif, tempo and timbre."""

from collections.abc import Callable

import numpy as np

from world.catalogue import SEGMENT_SECONDS, Video
from world.pictures import vividness
from world.seeds import rng
from world.topics import TOPICS, Motif

SAMPLE_RATE = 16_000
TAU = 2 * np.pi

Timbre = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def sound(video: Video, seed: int) -> np.ndarray:
    """The video's sound [S] float32 in −1…1, at SAMPLE_RATE, mono. An appealing segment is louder."""
    random = rng(seed, "sounds", video.video_id)
    samples = video.duration_ms * SAMPLE_RATE // 1000
    music = _play(TOPICS[video.topics[2]].motif, samples, random)
    return (music * _loudness(video, samples) + random.normal(scale=0.003, size=samples)).astype(np.float32)


def _play(motif: Motif, samples: int, random: np.random.Generator) -> np.ndarray:
    """The motif over and over, one note after the other."""
    tempo, transpose = motif.tempo * random.uniform(0.9, 1.1), random.uniform(-1, 1)
    length = int(SAMPLE_RATE / tempo)
    seconds = np.arange(length) / SAMPLE_RATE
    music = np.zeros(samples + length)
    for number, start in enumerate(range(0, samples, length)):
        semitones = motif.notes[number % len(motif.notes)] + transpose
        music[start : start + length] = TIMBRES[motif.timbre](
            seconds, motif.root * 2 ** (semitones / 12), random
        )
    return music[:samples]


def _loudness(video: Video, samples: int) -> np.ndarray:
    levels = np.array([0.15 + 0.5 * vividness(appeal) for appeal in video.appeal])
    return levels[np.arange(samples) // (SAMPLE_RATE * SEGMENT_SECONDS)]


def _harmonics(seconds: np.ndarray, pitch: float, amplitudes: np.ndarray) -> np.ndarray:
    """A tone from its harmonics, those above half the sampling rate left out."""
    numbers = np.arange(1, len(amplitudes) + 1)
    heard = numbers * pitch < SAMPLE_RATE / 2
    waves = np.sin(TAU * pitch * np.outer(numbers[heard], seconds))
    return amplitudes[heard] @ waves / np.abs(amplitudes).sum()


def _fade(seconds: np.ndarray, rate: float) -> np.ndarray:
    return np.exp(-rate * seconds) * np.minimum(1, seconds * 200)


_N = np.arange(1, 13)
TIMBRES: dict[str, Timbre] = {
    "sine": lambda s, f, r: np.sin(TAU * f * s) * _fade(s, 2),
    "organ": lambda s, f, r: _harmonics(s, f, np.array([1, 0.8, 0, 0.6, 0, 0, 0, 0.5])) * _fade(s, 0.1),
    "saw": lambda s, f, r: _harmonics(s, f, 1 / _N) * _fade(s, 1),
    "square": lambda s, f, r: _harmonics(s, f, (_N % 2) / _N) * _fade(s, 3),
    "pluck": lambda s, f, r: _harmonics(s, f, 0.8**_N) * _fade(s, 6),
    "bell": lambda s, f, r: (np.sin(TAU * f * s + 3 * np.sin(TAU * 1.41 * f * s))) * _fade(s, 3),
    "glide": lambda s, f, r: np.sin(TAU * f * (s + 0.4 * s**2)) * _fade(s, 1),
    "drum": lambda s, f, r: (0.6 * r.normal(size=len(s)) + np.sin(TAU * f * s)) * _fade(s, 18),
}
