from checks.outcome import Finding, judge
from checks.suites import Expectation

ERROR = Expectation("events", "rows", "events received", low=100)
WARN = Expectation("events", "of_usual", "against the days before", "warn", low=0.5)


def test_an_error_blocks_whatever_else_is_fine():
    assert judge([Finding(WARN, 1.0, "passed"), Finding(ERROR, 3, "failed")]) == "blocked"


def test_a_warning_is_told_and_blocks_nothing():
    assert judge([Finding(WARN, 0.1, "failed"), Finding(ERROR, 300, "passed")]) == "warned"


def test_what_could_not_be_measured_decides_nothing():
    assert judge([Finding(WARN, None, "skipped"), Finding(ERROR, None, "skipped")]) == "passed"


def test_the_sentence_names_figure_value_and_bound():
    assert (
        Finding(ERROR, 3, "failed").sentence() == "events.rows is 3, must be at least 100 (events received)"
    )
    both = Expectation("events", "share", "a share", low=0.25, high=0.5)
    sentence = "events.share is 0.6667, must be at least 0.25 and at most 0.5 (a share)"
    assert Finding(both, 2 / 3, "failed").sentence() == sentence
