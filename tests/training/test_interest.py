"""Training of the interest model: resuming after a kill, several processes, devices and precision."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import config as parameters
from core.config.model_half import TrainConfig
from core.paths import PROJECT_ROOT
from core.schema import replace_nested
from models import distributed
from models.data.folds import Fold
from models.data.targets import Targets
from models.devices import to_device
from models.evaluation.scoring import Scorer
from models.interest_model import USER_DEPENDENT_FUSIONS, USER_INDEPENDENT_FUSIONS
from models.seeding import seed_everything
from models.training import trainer
from models.training.batching import step_seed
from models.training.checkpoint import Checkpoint
from models.training.objective import Objective
from models.training.trainer import learning_rate_factor
from tests.support.model_inputs import make_item_table, make_model, make_user_data
from tests.support.other_device import GPU, OtherDevice
from tests.support.torchrun import torchrun
from training import interest
from training.interest import fit_interest_model
from training.validation import NdcgValidation

PARAMS = replace_nested(
    parameters.load_params(PROJECT_ROOT / "params.yaml").train,
    {
        "epochs": 3,
        "patience": 3,
        "batch_size": 3,
        "model.warmup_epochs": 1,
        "model.objective.ranking_weight": 0.5,
        "model.objective.align_weight": 0.25,
        "model.objective.anchor_weight": 0.0,
    },
)
USER_DATA = make_user_data((3, 8, 5, 8, 2, 7, 1, 4))
# The target of each user is the first unseen video.
TARGETS = Targets(torch.arange(8), (~USER_DATA.seen.mask(torch.arange(8), 12)).float().argmax(1))
VALIDATION = NdcgValidation([Fold(3, make_item_table(), USER_DATA, TARGETS)])


class KilledError(Exception):
    """Simulates a kill of the process."""


def train_model(
    params: TrainConfig = PARAMS, checkpoint: Checkpoint | None = None, **changes: object
) -> tuple[list, dict]:
    """Train a small model with changed settings, and return its curve and weights."""
    seed_everything(1)
    objective = Objective(
        params.model.objective,
        last_day=USER_DATA.sequences.last_day,
        alignment_rows=torch.arange(12),
        near_duplicate_cosine=0.99,
    )
    scorer = Scorer(make_model(dropout=params.model.dropout, **changes), make_item_table(), USER_DATA)
    callbacks = [checkpoint] if checkpoint else []
    curve = fit_interest_model(scorer, VALIDATION, params, objective, params.epochs, callbacks)
    return curve, scorer.model.state_dict()


@settings(max_examples=6)
@given(steps=st.integers(1, 8))
def test_a_killed_run_resumes_to_the_same_weights(
    steps: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("killed") / "train.checkpoint"
    real_step, steps_done = trainer.optimizer_step, []

    def until_killed(*arguments: object) -> float:
        if len(steps_done) == steps:
            raise KilledError
        steps_done.append(1)
        return real_step(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer, "optimizer_step", until_killed)
        with pytest.raises(KilledError):
            train_model(checkpoint=Checkpoint(path, "this run", min_interval=0))
    assert path.exists()
    curve, weights = train_model(checkpoint=Checkpoint(path, "this run", min_interval=0))
    expected_curve, expected_weights = train_model()
    assert curve == expected_curve
    assert all(torch.equal(weights[name], value) for name, value in expected_weights.items())


def test_a_checkpoint_of_another_run_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "train.checkpoint"
    train_model(replace(PARAMS, learning_rate=0.1), Checkpoint(path, "another run", min_interval=0))
    assert train_model(checkpoint=Checkpoint(path, "this run", min_interval=0))[0] == train_model()[0]


def fold_with_targets(*users: int) -> Fold:
    return replace(VALIDATION.folds[0], targets=Targets(torch.tensor(users).long(), torch.arange(len(users))))


def test_the_horizon_is_at_most_the_largest_number_of_targets_of_a_user() -> None:
    next_item, next_day = fold_with_targets(0, 1, 2), fold_with_targets(0, 1, 1, 1)
    assert interest.bounded_horizon(20, [next_item]) == 1
    assert interest.bounded_horizon(20, [next_item, next_day]) == 3
    assert interest.bounded_horizon(2, [next_day]) == 2
    assert interest.bounded_horizon(20, [fold_with_targets()]) == 20


def write_checkpoint(path: Path, identity: str = "this run") -> bytes:
    """Write the checkpoint of an unfinished run with this identity, and return its bytes."""
    train_model(checkpoint=Checkpoint(path, identity, min_interval=0))
    return path.read_bytes()


def test_a_kill_during_writing_keeps_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.checkpoint"
    original = write_checkpoint(path)

    def write_a_part(self: Path, target: Path) -> None:
        self.write_bytes(self.read_bytes()[:99])
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", write_a_part)
        with pytest.raises(KilledError):
            train_model(replace(PARAMS, seed=2), Checkpoint(path, "another run", min_interval=0))
    assert path.read_bytes() == original
    train_model(checkpoint=(checkpoint := Checkpoint(path, "this run", min_interval=0)))
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "empty": lambda content: b"",
    "text": lambda content: b"no checkpoint\n",
    "zeros": lambda content: bytes(len(content)),
    "one byte changed": _flipped,
    "without digest": lambda content: content.partition(b"\n")[2] or content[9:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_training_restarts(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.checkpoint"
    path.write_bytes(DAMAGES[damage](write_checkpoint(path)))
    capsys.readouterr()
    curve, weights = train_model(checkpoint=Checkpoint(path, "this run", min_interval=0))
    (message,) = [line for line in capsys.readouterr().err.splitlines() if "checkpoint" in line]
    assert message == f"train: checkpoint {path} is damaged; training starts again"
    expected_curve, expected_weights = train_model()
    assert curve == expected_curve
    assert all(torch.equal(weights[name], value) for name, value in expected_weights.items())


def test_a_folder_at_the_checkpoint_path_is_ignored(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    assert Checkpoint(tmp_path, "this run").load(model, torch.optim.AdamW(model.parameters())) is None


def test_a_checkpoint_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, Path.replace

    def record_sync(descriptor: int) -> None:
        calls.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def record_rename(self: Path, target: Path) -> Path:
        calls.append(f"{self.name} -> {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "replace", record_rename)
    write_checkpoint(tmp_path / "train.checkpoint")
    new = ".train.checkpoint.new"
    assert calls[:3] == [new, f"{new} -> train.checkpoint", tmp_path.name]


def test_a_checkpoint_is_loaded_onto_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, map_locations, real_load = tmp_path / "checkpoint", [], torch.load
    write_checkpoint(path, "run on a GPU")
    monkeypatch.setattr(
        torch, "load", lambda *a, **k: map_locations.append(k["map_location"]) or real_load(*a, **k)
    )
    model = torch.nn.Linear(1, 1)
    assert Checkpoint(path, "this run").load(model, torch.optim.AdamW(model.parameters())) is None
    assert map_locations == ["cpu"]


@pytest.mark.parametrize("seed", [1, 20260312, 2**32 - 1])
def test_step_seeds_are_distinct_and_valid(seed: int) -> None:
    drawn = {step_seed(seed, epoch, step) for epoch in range(3) for step in range(3)}
    assert len(drawn) == 9
    for drawn_seed in drawn:
        torch.manual_seed(drawn_seed + (3 << 48))  # as the process with distributed rank 3 does


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate_factor(done / 2, warmup=2, epochs=10) for done in range(1, 21)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0.05)


# Without random draws: two processes with half of the users each cannot draw what one process draws.
DETERMINISTIC = replace_nested(
    PARAMS,
    {
        "model.dropout": 0.0,
        "model.objective.id_dropout": 0.0,
        "model.objective.horizon": 1,
        "learning_rate": 0.01,
    },
)


def main(out: Path) -> None:
    """Train in a process that torchrun started."""
    with distributed.process_group():
        curve, weights = train_model(DETERMINISTIC)
        torch.save({"curve": curve, "weights": weights}, out / f"{distributed.get_rank()}.pt")


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    torchrun("tests.training.test_interest", tmp_path)
    curve, _ = train_model(DETERMINISTIC)
    assert curve[-1]["total"] < curve[0]["total"]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for alone, together in zip(curve, first["curve"], strict=True):
        assert together == pytest.approx(alone, rel=1e-3)
    assert first["curve"] == second["curve"]
    assert all(torch.equal(weight, second["weights"][name]) for name, weight in first["weights"].items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))


@pytest.mark.parametrize(
    ("precision", "device", "has_bf16", "expected"),
    [
        ("auto", "cpu", True, False),
        ("auto", "cuda", True, True),
        ("auto", "cuda", False, False),
        ("bf16", "cpu", False, True),
        ("fp32", "cuda", True, False),
    ],
)
def test_bf16_is_used_when_set_or_supported_by_the_gpu(
    precision: str, device: str, has_bf16: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interest, "supports_bf16", lambda device: has_bf16)
    assert interest.uses_bf16(replace(PARAMS, precision=precision), torch.device(device)) == expected


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("negatives", [0, 6])
@pytest.mark.parametrize(
    "changes",
    [{"fusion": fusion} for fusion in (*USER_DEPENDENT_FUSIONS, *USER_INDEPENDENT_FUSIONS)]
    + [{"normalisation": "adaptive", "item_attributes": {"category": ["x"]}}, {"reliability": True}]
    + [{"token_budget": 3}]
    + [{"encoder": encoder} for encoder in ("ligr", "hstu", "lstm", "mean")],
    ids=lambda changes: "-".join(map(str, changes)) + "-" + str(next(iter(changes.values()))),
)
def test_all_tensors_of_training_are_on_the_gpu(
    changes: dict, negatives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = {"model.objective.num_negatives": negatives}
    params = replace_nested(PARAMS, objective | {"epochs": 1, "precision": "fp32"})
    cpu_curve, _ = train_model(params, **changes)
    monkeypatch.setattr(interest, "choose_device", lambda name: GPU)
    real_step, flash_enabled = trainer.optimizer_step, []

    def checked_step(*arguments: object) -> float:
        flash_enabled.append(
            torch.backends.cuda.flash_sdp_enabled() or torch.backends.cuda.cudnn_sdp_enabled()
        )
        return real_step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "optimizer_step", checked_step)
    with OtherDevice():
        for name in ("USER_DATA", "VALIDATION"):  # they were made before OtherDevice marks tensors
            monkeypatch.setitem(globals(), name, to_device(globals()[name], torch.device("cpu")))
        gpu_curve, weights = train_model(params, **changes)
    assert gpu_curve == [pytest.approx(row, rel=1e-5) for row in cpu_curve]  # other kernels
    assert {tensor.fake_device for tensor in weights.values()} == {"cpu"}
    assert flash_enabled
    assert not any(flash_enabled)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize(
    "changes", [{"fusion": fusion} for fusion in (*USER_DEPENDENT_FUSIONS, "uniform")], ids=str
)
def test_training_on_a_gpu_is_deterministic(changes: dict) -> None:
    params = replace_nested(PARAMS, {"device": "cuda", "model.objective.num_negatives": 6})
    changes = {**changes, "width": 16}  # heads of 8
    curve, weights = train_model(params, **changes)
    second_curve, second_weights = train_model(params, **changes)
    assert curve[-1]["total"] < curve[0]["total"]
    assert curve == second_curve
    assert all(torch.equal(weights[name], value) for name, value in second_weights.items())
