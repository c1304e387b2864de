"""The training loop: a killed run goes on as if nothing had been, and processes learn together as one."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import params as parameters
from contracts.model_params import Train
from contracts.place import PROJECT
from models import processes
from models.determinism import settle
from models.devices import moved
from models.interest import LEARNED
from models.scoring import Scorer, Targets
from models.training import Objective, step_seed
from tasks import fitting
from tasks.fitting import Checkpoint, fit, schedule
from tests.models.worlds import catalogue, model, people
from tests.other_device import GPU, OtherDevice
from tests.torchrun import torchrun

PARAMS = replace(
    parameters.load(PROJECT / "params.yaml").train, epochs=3, patience=3, batch_size=3, warmup_epochs=1
)
PEOPLE = people((3, 8, 5, 8, 2, 7, 1, 4))
VALID = Targets(
    torch.arange(8), (~PEOPLE.seen.mask(torch.arange(8), 12)).float().argmax(1)
)  # the first unseen


class KilledError(Exception):
    """Stands for the machine's going away."""


def learn(
    params: Train = PARAMS, checkpoint: Checkpoint | None = None, **changes: object
) -> tuple[list, dict]:
    """Train a small model, of which `changes` are other than usual; its curve and weights."""
    settle(1)
    objective = Objective(
        ranking_weight=0.5,
        align_weight=0.25,
        anchor_weight=0.0,
        negatives=params.negatives,
        id_dropout=params.id_dropout,
        horizon=params.horizon,
        half_life_days=params.half_life_days,
        last_day=PEOPLE.histories.last_day,
        aligned=torch.arange(12),
        twin_cosine=0.99,
    )
    scorer = Scorer(model(dropout=params.dropout, **changes), catalogue(), PEOPLE)
    curve = fit(scorer, VALID, params, objective, checkpoint)
    return curve, scorer.model.state_dict()


@settings(max_examples=6)
@given(steps=st.integers(1, 8))
def test_a_run_killed_at_any_step_goes_on_to_the_same_curve_and_weights(
    steps: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("killed") / "train.checkpoint"
    descend, done = fitting.descend, []

    def until_killed(*arguments: object) -> float:
        if len(done) == steps:
            raise KilledError
        done.append(1)
        return descend(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "descend", until_killed)
        with pytest.raises(KilledError):
            learn(checkpoint=Checkpoint(path, "this run", seconds=0))
    assert path.exists()
    curve, weights = learn(checkpoint=Checkpoint(path, "this run", seconds=0))
    whole, untouched = learn()
    assert curve == whole
    assert all(torch.equal(weights[name], value) for name, value in untouched.items())


def test_what_another_run_has_left_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "train.checkpoint"
    learn(replace(PARAMS, learning_rate=0.1), Checkpoint(path, "another run", seconds=0))
    assert learn(checkpoint=Checkpoint(path, "this run", seconds=0))[0] == learn()[0]


def written(path: Path, identity: str = "this run") -> bytes:
    """The file that a run of this identity leaves when it is not over."""
    learn(checkpoint=Checkpoint(path, identity, seconds=0))
    return path.read_bytes()


def test_a_kill_in_the_middle_of_writing_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.checkpoint"
    before = written(path)

    def torn(self: Path, target: Path) -> None:
        self.write_bytes(self.read_bytes()[:99])
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", torn)
        with pytest.raises(KilledError):
            learn(replace(PARAMS, seed=2), Checkpoint(path, "another run", seconds=0))
    assert path.read_bytes() == before
    learn(checkpoint=(again := Checkpoint(path, "this run", seconds=0)))
    again.remove()
    assert list(tmp_path.iterdir()) == []


def _flipped(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]


DAMAGES = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "one byte short": lambda whole: whole[:-1],
    "empty": lambda whole: b"",
    "text": lambda whole: b"no checkpoint\n",
    "zeros": lambda whole: bytes(len(whole)),
    "one byte other": _flipped,
    "of another form": lambda whole: whole.partition(b"\n")[2] or whole[9:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_word_and_training_starts_anew(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.checkpoint"
    path.write_bytes(DAMAGES[damage](written(path)))
    capsys.readouterr()
    curve, weights = learn(checkpoint=Checkpoint(path, "this run", seconds=0))
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "checkpoint" in line]
    assert told == f"train: {path} cannot be read, so training starts anew"
    whole, untouched = learn()
    assert curve == whole
    assert all(torch.equal(weights[name], value) for name, value in untouched.items())


def test_a_folder_in_the_checkpoints_place_is_passed_over_too(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    assert Checkpoint(tmp_path, "mine").load(model, torch.optim.AdamW(model.parameters())) is None


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace

    def noted(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"{self.name} -> {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", renamed)
    written(tmp_path / "train.checkpoint")
    new = ".train.checkpoint.new"
    assert done[:3] == [new, f"{new} -> train.checkpoint", tmp_path.name]


def test_a_checkpoint_is_read_onto_the_cpu_wherever_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked, real = tmp_path / "checkpoint", [], torch.load
    written(path, "of a GPU")
    monkeypatch.setattr(torch, "load", lambda *a, **k: asked.append(k["map_location"]) or real(*a, **k))
    model = torch.nn.Linear(1, 1)
    assert Checkpoint(path, "mine").load(model, torch.optim.AdamW(model.parameters())) is None
    assert asked == ["cpu"]


@pytest.mark.parametrize("seed", [1, 20260312, 2**32 - 1])
def test_every_seed_that_params_may_hold_can_be_drawn_from(seed: int) -> None:
    drawn = {step_seed(seed, epoch, step) for epoch in range(3) for step in range(3)}
    assert len(drawn) == 9
    for one in drawn:
        torch.manual_seed(one + (3 << 48))  # as the fourth process does


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [schedule(done / 2, warmup=2, epochs=10) for done in range(1, 21)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0.05)


# Nothing random: what one process draws for all its people, two cannot draw alike for half of them each.
STILL = replace(PARAMS, dropout=0.0, id_dropout=0.0, horizon=1, learning_rate=0.01)


def main(out: Path) -> None:
    """What torchrun starts."""
    with processes.joined():
        curve, weights = learn(STILL)
        torch.save({"curve": curve, "weights": weights}, out / f"{processes.rank()}.pt")


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    torchrun("tests.tasks.test_fitting", tmp_path)
    curve, _ = learn(STILL)
    assert curve[-1]["total"] < curve[0]["total"]
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for alone, together in zip(curve, one["curve"], strict=True):
        assert together == pytest.approx(alone, rel=1e-3)
    assert one["curve"] == other["curve"]
    assert all(torch.equal(weight, other["weights"][name]) for name, weight in one["weights"].items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))


@pytest.mark.parametrize(
    ("precision", "device", "has_bf16", "lower"),
    [
        ("auto", "cpu", True, False),
        ("auto", "cuda", True, True),
        ("auto", "cuda", False, False),
        ("bf16", "cpu", False, True),
        ("fp32", "cuda", True, False),
    ],
)
def test_training_computes_in_bf16_where_it_is_told_to_and_by_itself_on_a_gpu_that_has_it(
    precision: str, device: str, has_bf16: bool, lower: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "multiplies_bf16", lambda device: has_bf16)
    assert fitting.lower_precision(replace(PARAMS, precision=precision), torch.device(device)) == lower


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("negatives", [0, 6])
@pytest.mark.parametrize(
    "changes",
    [{"fusion": fusion, "walk": 0.5} for fusion in (*LEARNED, "uniform", "early")]
    + [{"encoder": encoder} for encoder in ("hstu", "lstm", "mean")],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_on_a_gpu_nothing_of_training_stays_behind(
    changes: dict, negatives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = replace(PARAMS, negatives=negatives, epochs=1, precision="fp32")
    here, _ = learn(params, **changes)
    monkeypatch.setattr(fitting, "choose_device", lambda name: GPU)
    descend, others = fitting.descend, []

    def watched(*arguments: object) -> float:
        others.append(torch.backends.cuda.flash_sdp_enabled() or torch.backends.cuda.cudnn_sdp_enabled())
        return descend(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "descend", watched)
    with OtherDevice():
        for name in ("PEOPLE", "VALID"):  # what is made before has no mark
            monkeypatch.setitem(globals(), name, moved(globals()[name], torch.device("cpu")))
        there, weights = learn(params, **changes)
    assert there == [pytest.approx(row, rel=1e-5) for row in here]  # its kernels are others
    assert {tensor.place for tensor in weights.values()} == {"here"}
    assert others
    assert not any(others)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("changes", [{"fusion": fusion} for fusion in (*LEARNED, "uniform")], ids=str)
def test_a_gpu_learns_and_repeats_what_it_has_learned(changes: dict) -> None:
    params, changes = replace(PARAMS, device="cuda", negatives=6), {**changes, "width": 16}  # heads of 8
    curve, weights = learn(params, **changes)
    again, same = learn(params, **changes)
    assert curve[-1]["total"] < curve[0]["total"]
    assert curve == again
    assert all(torch.equal(weights[name], value) for name, value in same.items())
