"""Beauty: the split, what is refused, and the published figure of popularity on the real data."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.sets import beauty
from benchmarks.sets.beauty import leave_last_out, popularity_as_published, read
from contracts.errors import InputError


def written(folder: Path, *lines: str) -> Path:
    (folder / "Beauty.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_popularity_gives_the_published_figures(shared_data: Path) -> None:
    sequences = read(shared_data / "beauty")
    assert (len(sequences), sum(map(len, sequences))) == (22_363, 198_502)
    found = popularity_as_published(leave_last_out(sequences)).means()
    assert (found["recall@10"], found["ndcg@10"]) == (0.0120, 0.0056)


def test_the_last_is_the_test_the_one_before_validates_and_neither_is_learned_from() -> None:
    split = leave_last_out([[0, 1, 2, 3], [3, 4, 5]])
    assert split.past.histories.video_E.tolist() == [0, 1, 3]
    assert split.past.targets.row_P.tolist() == [2, 4]
    assert split.later.histories.video_E.tolist() == [0, 1, 2, 3, 4]
    assert split.later.targets.row_P.tolist() == [3, 5]
    assert split.later.seen.mask(torch.tensor([1]), 6).tolist() == [[False, False, False, True, True, False]]
    assert (split.catalogue.id_row_V >= 0).tolist() == [True, True, False, True, False, False]


def test_what_is_no_list_of_sequences_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Beauty\.txt does not exist; give the folder"):
        read(tmp_path)
    with pytest.raises(InputError, match="line 2: not a user and items"):
        read(written(tmp_path, "1 1 2 3", "2 4 five 6"))
    with pytest.raises(InputError, match="line 2: 2 items; 3 are needed"):
        read(written(tmp_path, "1 1 2 3", "2 4 5"))
    with pytest.raises(InputError, match="holds no sequence"):
        read(written(tmp_path))


def test_ours_and_every_baseline_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty people go round ten items: whoever reads the order knows what comes next."""
    lines = [f"{u} " + " ".join(str(1 + (u + i) % 10) for i in range(7)) for u in range(1, 41)]
    monkeypatch.setattr(beauty, "OURS", replace(beauty.OURS, epochs=30, dropout=0.0, negatives=0))
    monkeypatch.setattr(beauty, "DROPOUT", 0.0)
    few = {name: replace(knobs, epochs=8, batch_size=8) for name, knobs in beauty.KNOBS.items()}
    monkeypatch.setattr(beauty, "KNOBS", few)
    figures, ratios = beauty.measure(written(tmp_path, *lines))
    assert {*beauty.KNOBS, "ours"} < set(figures)
    assert figures["ours"]["ndcg@10"] > 0.9
    assert figures["sasrec"]["ndcg@10"] > 0.9
    assert figures["popularity"]["ndcg@10"] < 0.9
    assert ratios["ours_over_iclrec_ndcg@10"] == pytest.approx(figures["ours"]["ndcg@10"] / 0.0403, abs=0.01)
