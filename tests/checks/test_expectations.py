import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.expectations import population_stability_index

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1)


def _shares(counts: dict[str, int]) -> dict[str, float]:
    return {value: count / sum(counts.values()) for value, count in counts.items()}


@given(COUNTS, COUNTS)
def test_the_psi_is_symmetric_and_zero_only_for_equal_distributions(first, second):
    p, q = _shares(first), _shares(second)
    psi = population_stability_index(p, q)
    assert psi >= 0
    assert psi == pytest.approx(population_stability_index(q, p))
    assert (psi < 1e-9) == (p == pytest.approx(q))


def test_the_psi_of_a_known_example():
    psi = population_stability_index({"a": 0.6, "b": 0.4}, {"a": 0.5, "b": 0.5})
    assert psi == pytest.approx(0.1 * math.log(1.2) - 0.1 * math.log(0.8))


def test_a_value_that_disappears_is_a_large_shift():
    assert population_stability_index({"a": 1.0}, {"a": 0.9, "b": 0.1}) > 0.25
