"""What each source adds: which sources are left out, and what is pooled."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.source_ablation import ALL, SEQUENCE, measure_night, prepare_nights, summarise
from core.errors import InputError
from tests.support.snapshots import plant

PROJECT = Path(__file__).parents[3]


def arguments(params: Path, **changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{"nights": None, "set": None, "path": None, "params": params, **changes})


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    model = "{sources: [trending, ease]}"
    path.write_text(f"base: {PROJECT / 'params.yaml'}\ntrain: {{epochs: 1, model: {model}}}\n", "utf-8")
    return path


def test_the_ranking_changes_with_each_source_that_is_left_out(tmp_path: Path, params: Path) -> None:
    given = plant(tmp_path / "2026-03-15", users=40, videos=60)
    folder = tmp_path / "work"
    folder.mkdir()
    (night,) = prepare_nights(arguments(params, nights=[given.workspace]), folder)
    ndcg = measure_night(night)
    assert list(ndcg) == [SEQUENCE, "trending", "ease", ALL]
    assert all(not np.array_equal(ndcg[ALL], without) for name, without in ndcg.items() if name != ALL)
    assert not (given.workspace / "align").exists()


def test_the_gain_of_a_source_is_pooled_over_the_nights() -> None:
    nights = [
        {"trending": np.full(3, 0.25), ALL: np.full(3, 0.5)},
        {"trending": np.full(1, 0.5), ALL: np.full(1, 0.5)},
    ]
    figures = summarise(nights)
    assert (figures["user_nights"], figures["ndcg@10"]) == (4, 0.5)
    assert figures["gains"]["trending"]["mean"] == pytest.approx(0.1875, abs=1e-4)


def test_a_night_without_a_snapshot_is_refused(tmp_path: Path, params: Path) -> None:
    with pytest.raises(InputError, match="2026-03-15 has no snapshot"):
        prepare_nights(arguments(params, nights=[tmp_path / "2026-03-15"]), tmp_path)


def test_a_published_set_needs_its_path(tmp_path: Path, params: Path) -> None:
    with pytest.raises(InputError, match="--set needs --path"):
        prepare_nights(arguments(params, set="tiktok"), tmp_path)
