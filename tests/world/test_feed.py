import numpy as np

from world.feed import choose

V = 60


def _shown(times: int = 200, **changes: np.ndarray) -> np.ndarray:
    """How often each video was shown [V]."""
    state = {
        "age_days": np.full(V, 9.0),
        "views": np.full(V, 50),
        "liking": np.zeros(V),
        "seen": np.zeros(V, bool),
    }
    counts = np.zeros(V)
    for number in range(times):
        chosen = choose(np.random.default_rng(number), 10, **(state | changes))
        assert len(set(chosen.tolist())) == 10
        counts[chosen] += 1
    return counts


def _half(value: float, other: float) -> np.ndarray:
    return np.where(np.arange(V) < V // 2, value, other)


def test_the_popular_the_new_the_fitting_and_the_unseen_are_shown_more():
    for changes in (
        {"views": _half(1000, 5)},
        {"age_days": _half(0.1, 9)},
        {"liking": _half(1, -1)},
        {"seen": _half(0, 1).astype(bool)},
    ):
        counts = _shown(**changes)
        assert counts[: V // 2].sum() > 1.5 * counts[V // 2 :].sum(), changes.keys()


def test_what_is_not_uploaded_yet_is_never_shown():
    counts = _shown(age_days=_half(1, -0.01))
    assert counts[V // 2 :].sum() == 0
    assert (counts[: V // 2] > 0).all()


def test_some_places_are_filled_at_random_even_with_what_the_feed_holds_least_of():
    counts = _shown(views=_half(1e6, 0), liking=_half(30, -30))
    share = counts[V // 2 :].sum() / counts.sum()
    assert 0.06 < share < 0.14


def test_a_short_catalogue_is_shown_whole():
    chosen = choose(
        np.random.default_rng(0),
        10,
        age_days=np.ones(4),
        views=np.zeros(4),
        liking=np.zeros(4),
        seen=np.zeros(4, bool),
    )
    assert sorted(chosen.tolist()) == [0, 1, 2, 3]
