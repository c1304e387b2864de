"""Render the sound of a video. Each topic has its own motif, tempo and timbre."""

from collections.abc import Callable

import numpy as np

from simulator.catalogue import SEGMENT_SECONDS, SimulatedVideo
from simulator.frames import vividness
from simulator.seeds import make_rng
from simulator.topics import TOPICS, Motif

SAMPLE_RATE = 16_000
TAU = 2 * np.pi

Timbre = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def render_audio(video: SimulatedVideo, seed: int) -> np.ndarray:
    """Render a video's sound. A more appealing segment is louder.

    Returns:
        mono samples [X], float32 in −1…1, at SAMPLE_RATE.
    """
    random = make_rng(seed, "sounds", video.video_id)
    samples = video.duration_ms * SAMPLE_RATE // 1000
    music = _render_motif(TOPICS[video.topics[2]].audio_motif, samples, random)
    return (music * _segment_loudness(video, samples) + random.normal(scale=0.003, size=samples)).astype(
        np.float32
    )


def _render_motif(motif: Motif, samples: int, random: np.random.Generator) -> np.ndarray:
    """Repeat the motif, one note after the other."""
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


def _segment_loudness(video: SimulatedVideo, samples: int) -> np.ndarray:
    levels = np.array([0.15 + 0.5 * vividness(appeal) for appeal in video.segment_appeal])
    return levels[np.arange(samples) // (SAMPLE_RATE * SEGMENT_SECONDS)]


def _harmonics(seconds: np.ndarray, pitch: float, amplitudes: np.ndarray) -> np.ndarray:
    """Return a tone made of its harmonics below half the sampling rate.

    Args:
        seconds: time of each sample.
        pitch: frequency of the first harmonic in Hz.
        amplitudes: one for each harmonic.
    """
    numbers = np.arange(1, len(amplitudes) + 1)
    audible = numbers * pitch < SAMPLE_RATE / 2
    waves = np.sin(TAU * pitch * np.outer(numbers[audible], seconds))
    return amplitudes[audible] @ waves / np.abs(amplitudes).sum()


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
