"""The sequences and the measure that all contenders of `benchmarks.train` share, and two that learn."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import train
from benchmarks.sasrec import contender
from benchmarks.sasrec.contender import Clock, Contender, Data, Options
from benchmarks.sasrec.synthetic import sequences
from benchmarks.sasrec.with_ours import Ours
from benchmarks.sasrec.with_torch import Plain
from benchmarks.train import faster, learned_from, per_second, ratios_of, seconds_to


def test_sequences_have_the_length_that_was_asked_for_and_repeat() -> None:
    data = sequences(2000, 1000, seed=3)
    lengths = np.diff(data.offsets)
    assert lengths.mean() - 1 == pytest.approx(13, abs=1)
    assert lengths.max() <= contender.LENGTH + 1
    assert data.items.max() < data.catalogue == 1000
    assert np.array_equal(data.items, sequences(2000, 1000, seed=3).items)


class Oracle:
    """Knows what comes next, and puts `above` items that nobody has seen before it."""

    def __init__(self, data: Data, above: int) -> None:
        self.data, self.above = data, above

    def fit(self, epochs: int, clock: Clock) -> None:
        """There is nothing to learn."""

    def scores(self, users: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(users), self.data.catalogue))
        for row, user in enumerate(users):
            taken = [*self.data.history(user), self.data.next_U[user]]
            others = np.setdiff1d(np.arange(self.data.catalogue), taken)
            scores[row, taken] = 3.0  # the history ties with the target: it must not count
            scores[row, others[: self.above]] = 4.0
        return scores


def test_ndcg_is_that_of_the_rank_among_what_was_not_seen() -> None:
    data = sequences(50, 400, seed=1)
    for above, expected in ((0, 1.0), (2, 0.5), (10, 0.0)):
        assert contender.ndcg(Oracle(data, above), data) == pytest.approx(expected)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("kind", [Ours, Plain])
def test_what_is_ours_and_the_plain_form_learn(
    kind: type[Contender], sampled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("contender", "with_ours", "with_torch"):
        monkeypatch.setattr(f"benchmarks.sasrec.{module}.BATCH", 64, raising=False)
    data = sequences(512, 200, seed=1)
    model = kind(data, Options(sampled, 1, tmp_path))  # type: ignore[call-arg]
    before = contender.ndcg(model, data)
    clock = Clock()
    model.fit(12, clock)
    assert len(clock.seconds) == 12
    assert contender.ndcg(model, data) > before + 0.01  # ours starts from popularity, which is .14 here


def test_ratios_are_ours_over_each_with_the_same_loss() -> None:
    rates = {"ours exact": 20.0, "torch exact": 5.0, "ours sampled": 90.0, "torch sampled": 30.0}
    assert ratios_of(rates) == {"exact_over_torch": 4.0, "sampled_over_torch": 3.0}


def test_a_contender_that_fails_is_told_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sequences(8, 20, seed=1).save(tmp_path / "data.npz")
    monkeypatch.setattr(train, "python_of", lambda name: [sys.executable])  # in ours RecBole is not there
    found = train.run("recbole", tmp_path, 1, "exact", {})
    assert "recbole exact 0.001: failed (exit code 1), left out" in capfd.readouterr().err
    rates = {"ours exact": 20.0, "recbole exact": per_second(8, found["seconds"])}
    assert rates["recbole exact"] is None
    assert ratios_of(rates) == {}


def test_data_that_cannot_be_read_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--path", str(tmp_path)])
    assert train.main() == 2
    assert f"train: refused: {tmp_path / 'Beauty.txt'} does not exist" in capsys.readouterr().err


def test_the_time_to_a_level_is_that_of_the_line_between_the_two_points_around_it() -> None:
    curve = [(10.0, 0.2), (20.0, 0.4), (40.0, 0.3)]
    assert seconds_to(0.1, curve) == 5.0
    assert seconds_to(0.3, curve) == 15.0
    assert seconds_to(0.4, curve) == 20.0
    assert seconds_to(0.41, curve) == float("inf")


def test_every_contender_learns_at_the_rate_that_was_asked_for(tmp_path: Path) -> None:
    data = sequences(64, 100, seed=1)
    ours, plain = (kind(data, Options(False, 1, tmp_path, rate=0.02)) for kind in (Ours, Plain))
    assert ours.params.learning_rate == plain.optimiser.param_groups[0]["lr"] == 0.02


@pytest.mark.parametrize("kind", [Ours, Plain])
def test_whoever_has_learned_enough_or_takes_too_long_is_stopped_after_that_epoch(
    kind: type[Contender], tmp_path: Path
) -> None:
    data = sequences(64, 100, seed=1)
    told = iter([0.1, 0.2, 0.3, 0.4])
    clock = Clock(lambda: next(told), level=0.3)
    kind(data, Options(False, 1, tmp_path)).fit(9, clock)  # type: ignore[call-arg]
    assert clock.ndcg == [0.1, 0.2, 0.3]
    assert len(clock.seconds) == 3
    late = Clock(within=0.0)
    kind(data, Options(False, 1, tmp_path)).fit(9, late)  # type: ignore[call-arg]
    assert len(late.seconds) == 1


def test_judging_an_epoch_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.sasrec.contender.time.perf_counter", lambda: now[0])

    def judge() -> float:
        now[0] += 100
        return 0.5

    clock = Clock(judge)
    for _ in range(2):
        clock.start()
        now[0] += 3
        assert clock.stop()
    assert clock.seconds == [3.0, 3.0]


def test_of_real_sequences_the_last_but_one_comes_next_and_the_last_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "Beauty.txt").write_text("1 4 5 6 7\n2 8 9 10\n")
    with learned_from(tmp_path) as folder:
        data = Data.load(folder / "data.npz")
    told = {tuple(data.history(user).tolist()): int(data.next_U[user]) for user in range(data.users)}
    assert told == {(3, 4): 5, (7,): 8}
    assert data.catalogue == 10


def test_seconds_that_never_came_to_an_end_have_no_ratio() -> None:
    took = {"ours exact": 4.0, "torch exact": 10.0, "replay exact": float("inf")}
    assert faster(took) == {"exact_over_torch": 2.5}
