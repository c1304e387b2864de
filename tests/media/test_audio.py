from pathlib import Path

import av
import numpy as np
import pytest

from media.clip import SamplingConfig
from media.decode import decode_video
from tests.support.media_files import write_video

RATE = 16_000


def decode_audio(path: Path, max_segments: int = 40, rate: int = RATE) -> dict[int, np.ndarray]:
    return decode_video(path, SamplingConfig(5.0, max_segments, 1, None, "squash", rate)).audio


def pitch(samples: np.ndarray, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_tone_keeps_its_pitch_at_the_sample_rate(tmp_path: Path, rate: int) -> None:
    segments = decode_audio(write_video(tmp_path / "v.mp4", hertz=1000.0), rate=rate)
    assert pitch(segments[0], rate) == pytest.approx(1000, abs=5)
    assert segments[0].dtype == np.float32
    assert 0.4 < np.abs(segments[0]).max() <= 1


def test_audio_is_cut_at_the_segments(tmp_path: Path) -> None:
    segments = decode_audio(write_video(tmp_path / "v.m4a", seconds=11, picture=None))
    assert [len(part) for part in segments.values()] == [80_000, 80_000, pytest.approx(RATE, abs=1500)]


def test_codec_padding_makes_no_segment(tmp_path: Path) -> None:
    segments = decode_audio(write_video(tmp_path / "v.m4a", seconds=5.02, picture=None))
    assert sorted(segments) == [0]


def test_late_audio_is_padded_with_silence(tmp_path: Path) -> None:
    segments = decode_audio(write_video(tmp_path / "v.mkv", seconds=4, sound_start=2.0))
    assert np.abs(segments[0][: int(1.8 * RATE)]).max() == 0
    assert np.abs(segments[0][int(2.2 * RATE) :]).max() > 0.4


def test_non_finite_samples_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "v.wav"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_f32le", rate=RATE, layout="mono")
        bad = np.full((1, RATE), np.nan, np.float32)
        bad[:, ::2] = 1e30
        frame = av.AudioFrame.from_ndarray(bad, format="flt", layout="mono")
        frame.sample_rate = RATE
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    samples = decode_audio(path)[0]
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1
