import pytest

from evaluation.verdict import night_outcome


@pytest.mark.parametrize(
    ("promote", "promotion", "outcome"),
    [
        (True, {"version": "4", "champion": "4"}, "promoted"),
        (True, {"version": "4", "champion": "3"}, "not promoted"),  # not approved, or frozen
        (True, {"version": None, "champion": None}, "not promoted"),  # an experiment
        (True, {}, "not promoted"),  # the step did not run
        (False, {"version": "4", "champion": "4"}, "refused"),
    ],
)
def test_a_night_is_promoted_only_if_its_model_is_the_champion(promote, promotion, outcome):
    assert night_outcome(promote, promotion) == outcome
