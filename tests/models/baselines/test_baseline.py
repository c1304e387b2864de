"""Every baseline learns, is saved without users, and is not changed by padding."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.baselines import BASELINES, Baseline, ContentBaseline
from models.baselines.baseline import UNKNOWN_SCORE
from models.bundle import load_bundle, save_bundle
from models.data.sequences import SequenceBatch
from models.evaluation.scoring import Scorer, mean_ndcg
from tests.support.planted_preferences import (
    GROUPS,
    USERS,
    VIDEOS,
    empty_profiles,
    group_of,
    make_item_table,
    make_scorer,
    planted_sequences,
    small_config,
    train_baseline,
)

MIN_NDCG = {
    **dict.fromkeys(["itemcf", "mf_bpr", "lightgcn", "mmgcn", "bm3"], 0.4),
    **dict.fromkeys(["sasrec", "esasrec", "m3csr"], 0.95),
    "comirec": 0.8,
    "bert4rec": 0.9,
}
EPOCHS = {"din": 2, "sasrec": 12, "esasrec": 12, "bert4rec": 40, "m3csr": 12}
TRAINED_BASELINES = sorted(set(BASELINES) - {"popularity", "itemcf"})
CONTENT_BASELINES = sorted(name for name, kind in BASELINES.items() if issubclass(kind, ContentBaseline))
ID_BASELINES = sorted(set(BASELINES) - set(CONTENT_BASELINES))


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
    scorer.model.init_from_content(scorer.item_table)
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


@pytest.mark.parametrize("name", ID_BASELINES)
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


@pytest.mark.parametrize("name", CONTENT_BASELINES)
def test_a_new_video_is_ranked_by_its_content(name: str) -> None:
    """Every user gets a new video of the liked group, and nothing else of the scores changes."""
    sequences, targets = planted_sequences()
    batch = sequences.padded_batch(torch.arange(USERS), 12)
    score_BV = compute_scores(trained_scorer(name).model, batch, VIDEOS + GROUPS)
    assert torch.allclose(score_BV[:, :VIDEOS], compute_scores(trained_scorer(name).model, batch), atol=1e-4)
    best_B = score_BV[:, VIDEOS:].argmax(1)
    assert (group_of(VIDEOS + best_B) == group_of(targets.row_P)).float().mean() > 0.95


@pytest.mark.parametrize("name", CONTENT_BASELINES)
def test_only_the_content_of_training_videos_is_counted(name: str) -> None:
    """New videos with other content change no statistic."""
    states = []
    for videos in (VIDEOS, VIDEOS + 5):
        torch.manual_seed(0)
        model, table = BASELINES[name](small_config(name)), make_item_table(videos)
        for x_VF in table.modality_features.values():
            x_VF[VIDEOS:] = 1e3
        model.init_from_content(table.select(torch.arange(videos).flip(0)))  # in any order
        states.append(model.state_dict())
    assert not states[0]["projections.visual.mean"].eq(0).any()
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


@pytest.mark.parametrize("name", CONTENT_BASELINES)
def test_modality_weights_of_a_content_baseline_sum_to_1(name: str) -> None:
    sequences, model = planted_sequences()[0], trained_scorer(name).model
    items = model.eval().encode_items(make_item_table(VIDEOS + 3))
    with torch.no_grad():
        user_state = model.encode_user(sequences.padded_batch(torch.arange(5), 12), empty_profiles(5), items)
        score_NV, alpha_MNV = model.score_items(user_state, items)
    assert alpha_MNV.shape == (2, *score_NV.shape) == (2, 5, VIDEOS + 3)
    assert torch.allclose(alpha_MNV.sum(0), torch.ones(5, VIDEOS + 3))


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
