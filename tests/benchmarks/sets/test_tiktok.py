"""TikTok: the parts, what is refused, and the published figure of popularity on the real data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.sets import tiktok
from benchmarks.sets.protocol import baseline, outcome, spec
from contracts.errors import InputError


def written(folder: Path, pairs: list[tuple[int, int, str]], videos: int = 12) -> Path:
    columns = dict(zip(("user_id", "video_id", "split"), zip(*pairs, strict=True), strict=True))
    table = pa.table({name: list(values) for name, values in columns.items()})
    pq.write_table(table, folder / "interactions.parquet")
    for name in ("image", "audio"):
        np.save(folder / f"{name}.npy", np.random.default_rng(0).normal(size=(videos, 4)).astype(np.float16))
    return folder


def grouped() -> list[tuple[int, int, str]]:
    """Users of two tastes; each validates and is outcome on videos of their own."""
    pairs = []
    for user in range(40):
        order = [user % 2 * 6 + (user + i) % 6 for i in range(6)]
        parts = ["train"] * 4 + ["validation", "test"]
        pairs += [(user, video, part) for video, part in zip(order, parts, strict=True)]
    return pairs


def test_popularity_gives_the_published_figures(shared_data: Path) -> None:
    split = tiktok.read(shared_data / "tiktok")
    sizes = spec(int((split.catalogue.id_row_V >= 0).sum()), 8, 1, 1, 0.0, 1 << 20)
    found = outcome(baseline("popularity", split, sizes, tiktok.KNOBS["popularity"]), split).means()
    assert (found["recall@20"], found["ndcg@20"]) == (0.0597, 0.0255)


def test_the_parts_stay_apart(tmp_path: Path) -> None:
    split = tiktok.read(written(tmp_path, grouped()))
    assert split.past.histories.lengths.tolist() == [4] * 40
    assert split.later.histories.video_E.tolist() == split.past.histories.video_E.tolist()
    train = set(zip(np.repeat(np.arange(40), 4).tolist(), split.past.histories.video_E.tolist(), strict=True))
    first_two = split.past.histories.video_E.unflatten(0, (40, 4))[:, :2]
    assert (first_two.diff() < 0).any()  # in the order of their numbers the next would always be higher
    both = (split.past.targets, split.later.targets)
    aims = [set(zip(t.user_P.tolist(), t.row_P.tolist(), strict=True)) for t in both]
    assert len(aims[0]) == len(aims[1]) == 40
    assert not train & aims[0]
    assert not train & aims[1]
    assert not aims[0] & aims[1]


def test_the_baselines_and_ours_find_two_tastes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiktok, "KNOBS", {n: replace(k, batch_size=8) for n, k in tiktok.KNOBS.items()})
    few = replace(tiktok.OURS, epochs=30, patience=30, batch_size=8, learning_rate=0.01)
    monkeypatch.setattr(tiktok, "OURS", few)
    monkeypatch.setattr(tiktok, "SEEDS", (1, 2))
    figures, ratios = tiktok.measure(written(tmp_path, grouped()))
    for name in ("itemcf", "mf_bpr", "mf_bpr_folded_in", "lightgcn", "lightgcn_folded_in"):
        assert figures[name]["ndcg@10"] > figures["popularity"]["ndcg@10"] + 0.1
    assert figures["ours"]["ndcg@10"] > figures["popularity"]["ndcg@10"] + 0.1
    assert figures["seeds"] == 2
    assert figures["ours_minus"]["popularity"]["ndcg@20"]["low"] > 0
    published = {f"{n}_over_published_recall@20" for n in ("popularity", "mf_bpr", "lightgcn")}
    assert set(ratios) == published | {f"ours_over_{n}_recall@20" for n in tiktok.PUBLISHED}


def test_what_is_not_the_release_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no interactions"):
        tiktok.read(tmp_path)
    with pytest.raises(InputError, match="no row has split 'test'"):
        tiktok.read(written(tmp_path, [(0, 1, "train"), (0, 2, "validation")]))
    with pytest.raises(InputError, match="video_id is 15, but there are vectors of 12"):
        tiktok.read(written(tmp_path, [(0, 15, "train"), (0, 2, "validation"), (0, 3, "test")]))
