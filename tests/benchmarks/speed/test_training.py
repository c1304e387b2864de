"""The shared code of `benchmarks.speed.training`, and two of its contenders."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import training
from benchmarks.speed.sasrec import contender
from benchmarks.speed.sasrec.contender import Contender, EpochTimer, Options, SequenceData
from benchmarks.speed.sasrec.synthetic import make_sequences
from benchmarks.speed.sasrec.with_torch import TorchSASRec
from benchmarks.speed.sasrec.with_undercurrent import Undercurrent
from benchmarks.speed.training import (
    learning_data,
    ratios_to_contenders,
    seconds_to_ndcg,
    sequences_per_second,
    speedups,
)


def test_sequences_have_the_configured_length_and_are_deterministic() -> None:
    data = make_sequences(2000, 1000, seed=3)
    lengths = np.diff(data.offsets)
    assert lengths.mean() - 1 == pytest.approx(13, abs=1)
    assert lengths.max() <= contender.MAX_LENGTH + 1
    assert data.items.max() < data.num_items == 1000
    assert np.array_equal(data.items, make_sequences(2000, 1000, seed=3).items)


class Oracle:
    """A contender that knows the next item and ranks `above` unseen items before it."""

    def __init__(self, data: SequenceData, above: int) -> None:
        self.data, self.above = data, above

    def fit(self, epochs: int, timer: EpochTimer) -> None:
        """Train nothing."""

    def score_users(self, users: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(users), self.data.num_items))
        for row, user in enumerate(users):
            known = [*self.data.sequence(user), self.data.next_U[user]]
            others = np.setdiff1d(np.arange(self.data.num_items), known)
            scores[row, known] = 3.0  # seen items tie with the target and must not count
            scores[row, others[: self.above]] = 4.0
        return scores


def test_ndcg_ranks_among_unseen_items() -> None:
    data = make_sequences(50, 400, seed=1)
    for above, expected in ((0, 1.0), (2, 0.5), (10, 0.0)):
        assert contender.compute_ndcg(Oracle(data, above), data) == pytest.approx(expected)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("contender_class", [Undercurrent, TorchSASRec])
def test_undercurrent_and_torch_learn(
    contender_class: type[Contender], sampled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("contender", "with_undercurrent", "with_torch"):
        monkeypatch.setattr(f"benchmarks.speed.sasrec.{module}.BATCH_SIZE", 64)
    data = make_sequences(512, 200, seed=1)
    model = contender_class(data, Options(sampled, 1, tmp_path))  # type: ignore[call-arg]
    before = contender.compute_ndcg(model, data)
    timer = EpochTimer()
    model.fit(12, timer)
    assert len(timer.seconds) == 12
    # Undercurrent starts from popularity, which has 0.14 here.
    assert contender.compute_ndcg(model, data) > before + 0.01


def test_ratios_compare_contenders_with_the_same_loss() -> None:
    rates = {
        "undercurrent exact": 20.0,
        "torch exact": 5.0,
        "undercurrent sampled": 90.0,
        "torch sampled": 30.0,
    }
    assert ratios_to_contenders(rates) == {"exact_over_torch": 4.0, "sampled_over_torch": 3.0}


def test_a_failing_contender_is_reported_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_sequences(8, 20, seed=1).save(tmp_path / "data.npz")
    monkeypatch.setattr(training, "python_command", lambda name: [sys.executable])  # it lacks RecBole
    result = training.run_contender("recbole", tmp_path, 1, "exact", {})
    assert "recbole exact 0.001: failed with exit code 1 and is left out" in capfd.readouterr().err
    rates = {"undercurrent exact": 20.0, "recbole exact": sequences_per_second(8, result["seconds"])}
    assert rates["recbole exact"] is None
    assert ratios_to_contenders(rates) == {}


def test_unreadable_data_is_refused_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--path", str(tmp_path)])
    assert training.main() == 2
    assert f"train: refused: {tmp_path / 'Beauty.txt'} does not exist" in capsys.readouterr().err


def test_seconds_to_ndcg_is_interpolated() -> None:
    curve = [(10.0, 0.2), (20.0, 0.4), (40.0, 0.3)]
    assert seconds_to_ndcg(0.1, curve) == 5.0
    assert seconds_to_ndcg(0.3, curve) == 15.0
    assert seconds_to_ndcg(0.4, curve) == 20.0
    assert seconds_to_ndcg(0.41, curve) == float("inf")


def test_contenders_use_the_given_learning_rate(tmp_path: Path) -> None:
    data = make_sequences(64, 100, seed=1)
    undercurrent, plain = (
        contender_class(data, Options(False, 1, tmp_path, learning_rate=0.02))
        for contender_class in (Undercurrent, TorchSASRec)
    )
    assert undercurrent.params.learning_rate == plain.optimizer.param_groups[0]["lr"] == 0.02


@pytest.mark.parametrize("contender_class", [Undercurrent, TorchSASRec])
def test_training_stops_at_the_target_or_after_the_time_limit(
    contender_class: type[Contender], tmp_path: Path
) -> None:
    data = make_sequences(64, 100, seed=1)
    ndcgs = iter([0.1, 0.2, 0.3, 0.4])
    timer = EpochTimer(lambda: next(ndcgs), target_ndcg=0.3)
    contender_class(data, Options(False, 1, tmp_path)).fit(9, timer)  # type: ignore[call-arg]
    assert timer.ndcg == [0.1, 0.2, 0.3]
    assert len(timer.seconds) == 3
    limited_timer = EpochTimer(max_seconds=0.0)
    contender_class(data, Options(False, 1, tmp_path)).fit(9, limited_timer)  # type: ignore[call-arg]
    assert len(limited_timer.seconds) == 1


def test_evaluation_time_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.speed.sasrec.contender.time.perf_counter", lambda: now[0])

    def evaluate() -> float:
        now[0] += 100
        return 0.5

    timer = EpochTimer(evaluate)
    for _ in range(2):
        timer.start()
        now[0] += 3
        assert timer.stop()
    assert timer.seconds == [3.0, 3.0]


def test_the_last_but_one_item_of_real_sequences_is_the_target(tmp_path: Path) -> None:
    (tmp_path / "Beauty.txt").write_text("1 4 5 6 7\n2 8 9 10\n")
    with learning_data(tmp_path) as folder:
        data = SequenceData.load(folder / "data.npz")
    next_by_sequence = {
        tuple(data.sequence(user).tolist()): int(data.next_U[user]) for user in range(data.num_users)
    }
    assert next_by_sequence == {(3, 4): 5, (7,): 8}
    assert data.num_items == 10


def test_infinite_seconds_have_no_speedup() -> None:
    seconds = {"undercurrent exact": 4.0, "torch exact": 10.0, "replay exact": float("inf")}
    assert speedups(seconds) == {"exact_over_torch": 2.5}
