"""The configuration of a night: words of the captions, and parts of the model that do not fit together."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from core import config as parameters
from core.config.models import InterestModelConfig
from core.errors import InputError
from core.paths import PROJECT_ROOT
from training import model_config
from training.model_config import frequent_words


def make_section(**changes: Any) -> InterestModelConfig:
    model = parameters.load_params(PROJECT_ROOT / "params.yaml").train.model
    assert isinstance(model, InterestModelConfig)
    return replace(model, **changes)


def test_the_words_are_those_of_the_most_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = ["cat cat cat", "Dog bird", "dog, bird", "dog fish", "", None]
    videos = pa.table({"caption": pa.array(captions)})
    assert frequent_words(videos) == ["bird", "dog"]  # "cat" is in one caption only
    monkeypatch.setattr(model_config, "MAX_VOCABULARY", 1)
    assert frequent_words(videos) == ["dog"]
    assert frequent_words(pa.table({"video_id": ["a", "b"]})) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"normalisation": "adaptive", "item_attributes": ("creator",)},
            "train.model.normalisation is adaptive, but train.model.item_attributes lacks category; add it",
        ),
        (
            {"reliability": True, "fusion": "tokens"},
            "train.model.reliability weighs pooled modalities, but train.model.fusion is tokens; choose",
        ),
        (
            {"token_budget": 100},
            r"token_budget is 100, not below train.model.max_length \(100\), so it would have no effect",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_config._require_compatible_parts(make_section(**changes), 3)
    model_config._require_compatible_parts(make_section(), 3)


@pytest.mark.parametrize(
    ("changes", "modalities"), [({"reliability": True}, 1), ({"normalisation": "adaptive"}, 0)]
)
def test_a_switch_that_lacks_modalities_is_refused(changes: dict, modalities: int) -> None:
    with pytest.raises(InputError, match=rf"the snapshot has {modalities or 'no'}"):
        model_config._require_compatible_parts(make_section(**changes), modalities)
