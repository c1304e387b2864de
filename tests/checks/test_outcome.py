from checks.outcome import ExpectationResult, night_outcome

ERROR = ("events", "rows", "events received", "error")
WARN = ("events", "volume_ratio", "against the days before", "warn")


def test_an_error_blocks():
    results = [
        ExpectationResult(*WARN, 1.0, 0.5, None, "passed"),
        ExpectationResult(*ERROR, 3, 100, None, "failed"),
    ]
    assert night_outcome(results) == "blocked"


def test_a_warning_does_not_block():
    results = [
        ExpectationResult(*WARN, 0.1, 0.5, None, "failed"),
        ExpectationResult(*ERROR, 300, 100, None, "passed"),
    ]
    assert night_outcome(results) == "warned"


def test_an_unmeasured_expectation_decides_nothing():
    results = [ExpectationResult(*kind, None, 1, None, "skipped") for kind in (ERROR, WARN)]
    assert night_outcome(results) == "passed"


def test_the_sentence_names_metric_value_and_bound():
    sentence = "events.rows is 3, must be at least 100 (events received)"
    assert ExpectationResult(*ERROR, 3, 100, None, "failed").describe() == sentence
    both = ExpectationResult("events", "share", "a share", "error", 2 / 3, 0.25, 0.5, "failed")
    assert both.describe() == "events.share is 0.6667, must be at least 0.25 and at most 0.5 (a share)"
