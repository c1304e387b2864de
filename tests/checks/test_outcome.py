from checks.outcome import ExpectationResult, night_outcome
from checks.suites import Expectation

ERROR = Expectation("events", "rows", "events received", min_value=100)
WARN = Expectation("events", "volume_ratio", "against the days before", "warn", min_value=0.5)


def test_an_error_blocks():
    assert (
        night_outcome([ExpectationResult(WARN, 1.0, "passed"), ExpectationResult(ERROR, 3, "failed")])
        == "blocked"
    )


def test_a_warning_does_not_block():
    assert (
        night_outcome([ExpectationResult(WARN, 0.1, "failed"), ExpectationResult(ERROR, 300, "passed")])
        == "warned"
    )


def test_an_unmeasured_expectation_decides_nothing():
    assert (
        night_outcome([ExpectationResult(WARN, None, "skipped"), ExpectationResult(ERROR, None, "skipped")])
        == "passed"
    )


def test_the_sentence_names_metric_value_and_bound():
    assert (
        ExpectationResult(ERROR, 3, "failed").describe()
        == "events.rows is 3, must be at least 100 (events received)"
    )
    both = Expectation("events", "share", "a share", min_value=0.25, max_value=0.5)
    sentence = "events.share is 0.6667, must be at least 0.25 and at most 0.5 (a share)"
    assert ExpectationResult(both, 2 / 3, "failed").describe() == sentence
