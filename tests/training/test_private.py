"""A night can be trained privately or federated, and its bundle says what (ε, δ) covers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from core.config import load_params
from core.config.model_half import FederatedTrainingConfig, PrivateTrainingConfig
from core.config.models import PopularityConfig, TransformerConfig
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.schema import replace_nested
from models.bundle import load_bundle
from snapshots.reader import SnapshotReader
from tasks import evaluate, train
from training.private import COUNTED_PARTS_OF_INTEREST_MODEL, with_seed_of_night

BASE = load_params(PROJECT_ROOT / "params.yaml")
INTEREST = replace_nested(
    BASE.train,
    {"epochs": 2, "batch_size": 16, "model.layers": 1, "model.max_length": 20, "model.sources": ()},
)
SASREC_MODEL = TransformerConfig(
    "sasrec", layers=1, heads=2, dropout=0.1, max_length=20, num_negatives=0, share_negatives=True
)
SASREC = replace(INTEREST, model=SASREC_MODEL)
PRIVACY = PrivateTrainingConfig(noise_multiplier=1.0, delta=1e-3)


def details(night: Night) -> dict[str, Any]:
    evaluate.run(replace(BASE.evaluate, bootstrap_samples=10), night)
    return json.loads(Path(night.workspace, "evaluate", "details.json").read_text(encoding="utf-8"))


def test_a_private_baseline_depends_on_users_by_noisy_gradients_only(night: Night) -> None:
    facts = train.run(replace(SASREC, privacy=PRIVACY), night).facts
    model = load_bundle(night.folder("train"))
    record = model.config.privacy
    assert record["not_covered"] == []
    assert (record["sampling_rate"], record["steps"]) == (16 / 39, 6)  # 39 users, 16 a step, 2 epochs
    assert facts["epsilon"] == record["epsilon"] > 0
    assert (facts["num_epochs"], facts["num_validation_users"]) == (2, 0)  # nothing was selected
    assert model.config.video_ids == SnapshotReader(night).videos["video_id"].to_pylist()
    assert int(model.num_positives_I.sum()) == 0
    assert details(night)["privacy"] == record


def test_the_record_of_the_interest_model_names_what_was_counted(night: Night) -> None:
    train.run(replace(INTEREST, privacy=PRIVACY, epochs=1), night)
    model = load_bundle(night.folder("train"))
    assert model.config.privacy["not_covered"] == list(COUNTED_PARTS_OF_INTEREST_MODEL)
    assert model.config.privacy["steps"] == 3


def test_nights_draw_noise_of_their_own() -> None:
    def seed(params: Any, day: str) -> int:
        return with_seed_of_night(params, Mock(**{"night.day": day})).seed

    private = replace(SASREC, privacy=PRIVACY)
    assert seed(SASREC, "2026-03-10") == seed(SASREC, "2026-03-11") == SASREC.seed
    assert seed(private, "2026-03-10") == seed(private, "2026-03-10") != seed(private, "2026-03-11")


def test_plain_training_has_no_record(night: Night) -> None:
    facts = train.run(replace(SASREC, epochs=1), night).facts
    assert load_bundle(night.folder("train")).config.privacy == {}
    assert "epsilon" not in facts
    assert details(night)["privacy"] == {}


@pytest.mark.parametrize("params", [INTEREST, SASREC], ids=["interest", "sasrec"])
def test_one_client_gives_the_bytes_of_central_training(params: Any, night: Night) -> None:
    central = train.run(params, night).digests
    assert train.run(replace(params, federated=FederatedTrainingConfig(1, 1)), night).digests == central
    assert train.run(replace(params, federated=FederatedTrainingConfig(3, 1)), night).digests != central


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"federated": FederatedTrainingConfig(2, 1), "privacy": PRIVACY}, "are both set; set one to null"),
        (
            {"privacy": PRIVACY, "model": PopularityConfig("popularity")},
            "train.privacy does not allow train.model.name popularity",
        ),
        ({"privacy": PRIVACY, "batch_by": "events"}, "train.batch_by is events, but .*; write users"),
        ({"federated": FederatedTrainingConfig(99, 1)}, r"clients is 99, but only 3\d users"),
    ],
)
def test_a_training_that_cannot_be_private_or_federated_is_refused(
    change: dict[str, Any], message: str, night: Night
) -> None:
    with pytest.raises(InputError, match=message):
        train.run(replace(SASREC, **change), night)
