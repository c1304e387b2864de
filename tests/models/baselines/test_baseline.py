"""Every baseline learns, is saved without users, and is not changed by padding."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.baselines import BASELINES, Baseline
from models.baselines.baseline import UNKNOWN_SCORE
from models.bundle import load_bundle, save_bundle
from models.data.sequences import SequenceBatch
from models.evaluation.scoring import Scorer, mean_ndcg
from tests.support.planted_preferences import (
    USERS,
    VIDEOS,
    empty_profiles,
    make_item_table,
    make_scorer,
    planted_sequences,
    train_baseline,
)

MIN_NDCG = {
    "itemcf": 0.4,
    "mf_bpr": 0.4,
    "lightgcn": 0.4,
    "sasrec": 0.95,
    "esasrec": 0.95,
    "bert4rec": 0.9,
    "comirec": 0.8,
}
EPOCHS = {"din": 2, "sasrec": 12, "esasrec": 12, "bert4rec": 40}
TRAINED_BASELINES = sorted(set(BASELINES) - {"popularity", "itemcf"})


@cache
def trained_scorer(name: str) -> Scorer:
    return train_baseline(name, EPOCHS.get(name, 20))[0]


def compute_scores(model: Baseline, batch: SequenceBatch, videos: int = VIDEOS) -> torch.Tensor:
    items = model.eval().encode_items(make_item_table(videos))
    with torch.no_grad():
        return model.score_items(model.encode_user(batch, empty_profiles(len(batch.users_B)), items), items)[
            0
        ]


@pytest.mark.parametrize("name", MIN_NDCG)
def test_each_baseline_learns_the_planted_preference(name: str) -> None:
    _, targets = planted_sequences()
    popularity_ndcg = mean_ndcg(trained_scorer("popularity"), targets, 10)
    ndcg = mean_ndcg(trained_scorer(name), targets, 10)
    assert ndcg > MIN_NDCG[name] > 1.5 * popularity_ndcg


@pytest.mark.parametrize("name", TRAINED_BASELINES)
def test_a_step_updates_every_parameter(name: str) -> None:
    torch.manual_seed(3)
    sequences, _ = planted_sequences()
    scorer = make_scorer(BASELINES[name](trained_scorer(name).model.config), sequences)
    rows_V = scorer.item_table.id_row_V
    scorer.model.init_from_statistics(trained_scorer("popularity").user_data.seen)
    before = {key: p.clone() for key, p in scorer.model.named_parameters()}
    optimiser = torch.optim.SGD(scorer.model.parameters(), lr=1.0)
    scorer.model.train().loss(sequences.padded_batch(torch.arange(USERS), 12), rows_V).backward()
    optimiser.step()
    assert [key for key, p in scorer.model.named_parameters() if torch.equal(before[key], p)] == []


@pytest.mark.parametrize("name", BASELINES)
def test_padding_changes_nothing(name: str) -> None:
    sequences, _ = planted_sequences()
    short = replace(sequences.padded_batch(torch.arange(9), 4), users_B=torch.arange(9))
    filled = {}
    for field, value in vars(short).items():
        if value is None:
            continue
        extra = torch.ones(9, 5, *value.shape[2:]).to(value.dtype)
        filled[field] = value if field == "users_B" else torch.cat([value, extra], 1)
    filled["mask_BT"][:, 4:] = False
    model = trained_scorer(name).model
    assert torch.allclose(
        compute_scores(model, short), compute_scores(model, SequenceBatch(**filled)), atol=1e-4
    )


@pytest.mark.parametrize("name", BASELINES)
def test_unknown_videos_come_last_and_are_ignored_as_input(name: str) -> None:
    sequences, model = planted_sequences()[0], trained_scorer(name).model
    batch = sequences.padded_batch(torch.arange(5), 12)
    known = compute_scores(model, batch)
    extended = compute_scores(model, batch, VIDEOS + 3)
    assert torch.equal(extended[:, :VIDEOS], known)
    assert (extended[:, VIDEOS:] == UNKNOWN_SCORE).all()
    assert known.min() > UNKNOWN_SCORE
    strange = replace(batch, video_BT=torch.where(batch.positive_BT, batch.video_BT, VIDEOS + 1))
    all_positive = replace(strange, positive_BT=torch.ones_like(batch.positive_BT))
    if name != "popularity":
        assert not torch.equal(
            compute_scores(model, batch), compute_scores(model, sequences.padded_batch(torch.arange(5), 2))
        )
    assert torch.allclose(compute_scores(model, all_positive, VIDEOS + 3), extended, atol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_a_saved_baseline_has_no_users_and_keeps_its_scores(name: str, tmp_path: Path) -> None:
    sequences = planted_sequences()[0]
    model = train_baseline(name, 2)[0].model
    assert isinstance(model, Baseline)
    expected = compute_scores(model, sequences.padded_batch(torch.arange(20), 12))
    model.drop_user_embeddings()
    save_bundle(tmp_path, model)
    loaded = load_bundle(tmp_path)
    assert isinstance(loaded, BASELINES[name])
    assert torch.equal(compute_scores(loaded, sequences.padded_batch(torch.arange(20), 12)), expected)
    assert not [key for key, t in load_file(tmp_path / "model.safetensors").items() if USERS in t.shape]
