"""Each null lacks exactly what its name says."""

import numpy as np
import pytest

from simulator.mechanisms.nulls import make_impersonal, make_noise, make_static
from simulator.mechanisms.topics import Topics, make_topics
from simulator.timeline import simulate_days
from simulator.vectors import WIDTHS
from tests.support.simulated_platforms import small_calendar

CALENDAR = small_calendar(
    users=60, videos=600, history_days=4, nights=2, new_users_per_day=2, new_videos_per_day=5, drift_share=0.6
)


def _centroid_accuracy(mechanism: Topics, modality: str, column: int) -> float:
    """Return how often the nearest centroid of one half finds the watched topic in the other half."""
    x_VF = mechanism.modality_vectors()[modality]
    topic_V = np.array([video.topics[column] for video in mechanism.watched_content])
    half = len(topic_V) // 2
    centroids = np.stack([x_VF[:half][topic_V[:half] == topic].mean(0) for topic in range(12)])
    distances = ((x_VF[half:, None] - centroids) ** 2).sum(2)
    return float((distances.argmin(1) == topic_V[half:]).mean())


def test_vectors_of_topics_show_the_topic_and_vectors_of_noise_do_not():
    topics, noise = make_topics(CALENDAR), make_noise(CALENDAR)
    for column, (modality, width) in enumerate(WIDTHS.items()):
        assert topics.modality_vectors()[modality].shape == (len(topics.videos), width)
        assert _centroid_accuracy(topics, modality, column) > 0.95
        assert _centroid_accuracy(noise, modality, column) < 0.16  # chance is 1/12


def test_what_noise_shows_is_independent_of_what_is_watched():
    noise = make_noise(CALENDAR)
    pairs = list(zip(noise.videos, noise.watched_content, strict=True))
    for column in range(3):
        assert (
            0.04 < np.mean([shown.topics[column] == hidden.topics[column] for shown, hidden in pairs]) < 0.14
        )
    assert np.mean([shown.author_id == hidden.author_id for shown, hidden in pairs]) < 0.08
    assert all(shown.duration_ms == hidden.duration_ms for shown, hidden in pairs)
    appeal = np.array([(shown.segment_appeal[0], hidden.segment_appeal[0]) for shown, hidden in pairs])
    assert abs(np.corrcoef(appeal.T)[0, 1]) < 0.12


def test_users_of_noise_still_differ_in_what_they_watch():
    noise = make_noise(CALENDAR)
    by_topic: dict[tuple[str, int], list[float]] = {}
    for day in simulate_days(noise):
        for interaction in day:
            hidden = noise.watched_content[int(interaction.video.video_id[5:])]
            key = interaction.user.user_id, hidden.topics[0]
            by_topic.setdefault(key, []).append(interaction.affinity)
    assert np.std([np.mean(values) for values in by_topic.values()]) > 0.3


def test_users_of_impersonal_are_alike():
    impersonal = make_impersonal(CALENDAR)
    first = impersonal.user_truth(0)
    for row, user in enumerate(impersonal.users):
        truth = impersonal.user_truth(row)
        assert np.array_equal(truth["tastes"], first["tastes"])
        assert truth["drift_day"] is None
        assert user.modality_weights == pytest.approx([1 / 3] * 3)
    assert not impersonal.daypart_effects.any()
    assert impersonal.summary()["trend_day"] is None


def test_users_of_static_keep_their_taste():
    topics, static = make_topics(CALENDAR), make_static(CALENDAR)
    assert any(user.drift_day is not None for user in topics.users)
    for row, user in enumerate(static.users):
        truth = static.user_truth(row)
        assert truth["drift_day"] is None
        assert np.ptp(truth["tastes"], axis=0).max() == 0
        if user.arrival_day < CALENDAR.trend_day:
            assert np.array_equal(user.initial_preference, topics.users[row].initial_preference)
    assert static.summary()["trending_topics"] == {}


def test_the_nulls_keep_the_volume_of_events():
    counts = [
        sum(len(day) for day in simulate_days(make(CALENDAR)))
        for make in (make_topics, make_noise, make_impersonal, make_static)
    ]
    assert min(counts) > 0.7 * max(counts)
