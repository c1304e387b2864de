"""What holds for every baseline: it learns, forgets people, can be saved, and padding is nothing to it."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.baselines import BASELINES, Baseline
from models.baselines.baseline import UNKNOWN
from models.bundle import load_bundle, save_bundle
from models.histories import Batch
from models.scoring import Scorer, mean_ndcg
from tests.models.baselines.planted import USERS, VIDEOS, catalogue, nobody, scorer, trained, world

ATLEAST = {"itemcf": 0.4, "mf_bpr": 0.4, "lightgcn": 0.4, "sasrec": 0.95, "bert4rec": 0.9}
EPOCHS = {"din": 2, "sasrec": 12, "bert4rec": 40}
LEARNED = sorted(set(BASELINES) - {"popularity", "itemcf"})


@cache
def made(name: str) -> Scorer:
    return trained(name, EPOCHS.get(name, 20))[0]


def scores(model: Baseline, batch: Batch, videos: int = VIDEOS) -> torch.Tensor:
    items = model.eval().items(catalogue(videos))
    with torch.no_grad():
        return model.scores(model.newest(batch, nobody(len(batch.users_B)), items), items)[0]


@pytest.mark.parametrize("name", ATLEAST)
def test_it_learns_what_was_planted(name: str) -> None:
    _, targets = world()
    popular = mean_ndcg(made("popularity"), targets, 10)
    found = mean_ndcg(made(name), targets, 10)
    assert found > ATLEAST[name] > 1.5 * popular


@pytest.mark.parametrize("name", LEARNED)
def test_every_tensor_that_is_meant_to_learn_moves(name: str) -> None:
    torch.manual_seed(3)
    events, _ = world()
    one = scorer(BASELINES[name](made(name).model.spec), events)
    rows_V = one.catalogue.id_row_V
    one.model.start(made("popularity").people.seen)
    before = {key: p.clone() for key, p in one.model.named_parameters()}
    optimiser = torch.optim.SGD(one.model.parameters(), lr=1.0)
    one.model.train().loss(events.batch(torch.arange(USERS), 12), rows_V).backward()
    optimiser.step()
    assert [key for key, p in one.model.named_parameters() if torch.equal(before[key], p)] == []


@pytest.mark.parametrize("name", BASELINES)
def test_padding_cannot_matter(name: str) -> None:
    events, _ = world()
    short = replace(events.batch(torch.arange(9), 4), users_B=torch.arange(9))
    filled = {}
    for field, value in vars(short).items():
        if value is None:
            continue
        extra = torch.ones(9, 5, *value.shape[2:]).to(value.dtype)
        filled[field] = value if field == "users_B" else torch.cat([value, extra], 1)
    filled["mask_BT"][:, 4:] = False
    model = made(name).model
    assert torch.allclose(scores(model, short), scores(model, Batch(**filled)), atol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_a_video_that_was_not_in_training_comes_last_and_says_nothing(name: str) -> None:
    events, model = world()[0], made(name).model
    batch = events.batch(torch.arange(5), 12)
    known = scores(model, batch)
    more = scores(model, batch, VIDEOS + 3)
    assert torch.equal(more[:, :VIDEOS], known)
    assert (more[:, VIDEOS:] == UNKNOWN).all()
    assert known.min() > UNKNOWN
    strange = replace(batch, video_BT=torch.where(batch.positive_BT, batch.video_BT, VIDEOS + 1))
    liked = replace(strange, positive_BT=torch.ones_like(batch.positive_BT))
    if name != "popularity":
        assert not torch.equal(scores(model, batch), scores(model, events.batch(torch.arange(5), 2)))
    assert torch.allclose(scores(model, liked, VIDEOS + 3), more, atol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_it_is_saved_without_people_and_scores_as_before(name: str, tmp_path: Path) -> None:
    events = world()[0]
    model = trained(name, 2)[0].model
    assert isinstance(model, Baseline)
    expected = scores(model, events.batch(torch.arange(20), 12))
    model.forget_people()
    save_bundle(tmp_path, model)
    again = load_bundle(tmp_path)
    assert isinstance(again, BASELINES[name])
    assert torch.equal(scores(again, events.batch(torch.arange(20), 12)), expected)
    assert not [key for key, t in load_file(tmp_path / "model.safetensors").items() if USERS in t.shape]
