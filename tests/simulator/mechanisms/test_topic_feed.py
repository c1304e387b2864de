import numpy as np

from simulator.mechanisms.topic_feed import choose_videos

V = 60


def _shown(times: int = 200, **changes: np.ndarray) -> np.ndarray:
    """Return how often each video was shown, [V]."""
    state = {
        "age_days": np.full(V, 9.0),
        "view_counts": np.full(V, 50),
        "affinity": np.zeros(V),
        "seen": np.zeros(V, bool),
    }
    counts = np.zeros(V)
    for number in range(times):
        chosen = choose_videos(np.random.default_rng(number), 10, **(state | changes))
        assert len(set(chosen.tolist())) == 10
        counts[chosen] += 1
    return counts


def _half(value: float, other: float) -> np.ndarray:
    return np.where(np.arange(V) < V // 2, value, other)


def test_popular_new_matching_and_unseen_videos_are_shown_more():
    for changes in (
        {"view_counts": _half(1000, 5)},
        {"age_days": _half(0.1, 9)},
        {"affinity": _half(1, -1)},
        {"seen": _half(0, 1).astype(bool)},
    ):
        counts = _shown(**changes)
        assert counts[: V // 2].sum() > 1.5 * counts[V // 2 :].sum(), changes.keys()


def test_a_video_is_not_shown_before_its_upload():
    counts = _shown(age_days=_half(1, -0.01))
    assert counts[V // 2 :].sum() == 0
    assert (counts[: V // 2] > 0).all()


def test_a_share_of_the_feed_is_random():
    counts = _shown(view_counts=_half(1e6, 0), affinity=_half(30, -30))
    share = counts[V // 2 :].sum() / counts.sum()
    assert 0.06 < share < 0.14


def test_a_short_catalogue_is_shown_completely():
    chosen = choose_videos(
        np.random.default_rng(0),
        10,
        age_days=np.ones(4),
        view_counts=np.zeros(4),
        affinity=np.zeros(4),
        seen=np.zeros(4, bool),
    )
    assert sorted(chosen.tolist()) == [0, 1, 2, 3]
