from dataclasses import replace

import numpy as np

from simulator.catalogue import make_videos
from simulator.frames import FRAMES_PER_SECOND, HEIGHT, WIDTH, render_frames, vividness
from simulator.topics import TOPICS
from tests.support.simulated_platforms import small_calendar

VIDEO = replace(
    make_videos(3, small_calendar())[0],
    duration_ms=6000,
    segment_topics=(0, 0),
    segment_appeal=(0.0, 0.0),
    media_fault=None,
)


def _render_topic(topic: int, number: int) -> np.ndarray:
    video = replace(VIDEO, video_id=f"syn-v{number}", segment_topics=(topic, topic), duration_ms=300)
    return np.stack(list(render_frames(video, seed=1)))


def _features(pixels: np.ndarray) -> np.ndarray:
    """Return mean colour and edge strength, which even an untrained network can use."""
    small = pixels[0, ::4, ::4].astype(float)
    edges = [np.abs(np.diff(small.mean(2), axis=axis)).mean() for axis in (0, 1)]
    return np.concatenate([small.mean((0, 1)), small.std((0, 1)), edges])


def test_a_video_has_the_frames_of_its_length():
    pixels = np.stack(list(render_frames(VIDEO, seed=1)))
    assert pixels.shape == (6 * FRAMES_PER_SECOND, HEIGHT, WIDTH, 3)
    assert pixels.dtype == np.uint8


def test_topics_are_classified_by_their_frames():
    mean_features = np.array(
        [np.mean([_features(_render_topic(topic, n)) for n in range(3)], axis=0) for topic in range(12)]
    )
    correct = [
        np.abs(mean_features - _features(_render_topic(topic, n))).sum(1).argmin() == topic
        for topic in range(len(TOPICS))
        for n in range(3, 7)
    ]
    assert np.mean(correct) > 0.9


def test_every_topic_moves():
    for topic in range(len(TOPICS)):
        video = replace(VIDEO, segment_topics=(topic,), segment_appeal=(0.0,), duration_ms=1000)
        first, *_, last = (frame.astype(int) for frame in render_frames(video, seed=1))
        assert np.abs(first - last).mean() > 3, TOPICS[topic].name


def test_a_segment_shows_its_own_topic_and_an_appealing_one_is_more_vivid():
    video = replace(VIDEO, segment_topics=(0, 1), duration_ms=10_000)
    pixels = np.stack(list(render_frames(video, seed=1))).astype(float)
    assert pixels[:50, ..., 0].mean() > pixels[50:, ..., 0].mean() + 30  # orange, then green
    dull, vivid = (
        np.stack(list(render_frames(replace(VIDEO, segment_appeal=(appeal, appeal)), 1)))[0].mean(2).std()
        for appeal in (-2.0, 2.0)
    )
    assert vivid > 1.3 * dull
    assert vividness(-2) < 0.2 < 0.8 < vividness(2)
