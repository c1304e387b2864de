"""Distillation of a night's model: the student is a challenger of its own, near its teacher."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from core.config import load_params
from core.errors import DONE, REFUSED_INPUT, InputError
from core.hashing import hash_bundle, hash_folder
from core.paths import PROJECT_ROOT, Night
from core.time_split import TEST_FOLD
from evaluation.ranking import load_scorer, rank_model, read_test_targets
from models.bundle import load_bundle, save_bundle
from models.evaluation.scoring import Scorer, average_users
from models.interest_model import InterestModel
from models.sources import count_sources
from snapshots.reader import SnapshotReader
from tasks import align, evaluate
from tests.support.command_line import undercurrent
from tests.support.served_model import load_recommender, request_rows
from tests.support.snapshots import NIGHT, plant
from training.model_config import build_model_config
from undercurrent.distil import link_inputs

SOURCES = ["trending", "category_affinity"]


def _save_teacher(night: Night) -> None:
    """Save a model whose order follows from a source that is unlike the true targets."""
    params = load_params(night.params_path).train
    snapshot = SnapshotReader(night)
    torch.manual_seed(3)
    model = InterestModel(build_model_config(params.model, snapshot, TEST_FOLD, 16))
    fold = snapshot.fold(TEST_FOLD, model.config)
    count_sources(model.sources, fold.users.sequences, fold.item_table)
    model.sources["trending"].score_I.normal_()  # type: ignore[union-attr, operator]
    model.final_ranker.weight_S.copy_(torch.tensor([0.0, 3.0, 0.5]))
    model.final_ranker.is_fitted.fill_(True)
    model.set_average_users(average_users(Scorer(model, fold.item_table, fold.users)))
    save_bundle(night.folder("train"), model)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A night after its training, with one student with the teacher and one without."""
    folder = tmp_path_factory.mktemp("night")
    overlay = {
        "base": str(PROJECT_ROOT / "params.yaml"),
        "align": {"width": 16, "epochs": 2},
        "train": {
            "epochs": 15,
            "model": {"sources": SOURCES, "max_length": 20, "rerank": {"candidates": 10}},
        },
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(overlay))
    planted = plant(folder / "workspace", users=120, videos=60, seed=2)
    night = Night(NIGHT, planted.workspace, folder / "params.yaml")
    align.run(load_params(night.params_path).align, night)
    _save_teacher(night)
    assert distil(night, "student") == DONE
    assert distil(night, "alone", "--teacher-weight", "0") == DONE
    return night


def distil(night: Night, out: str, *options: str) -> int:
    return undercurrent(
        "distil",
        "--night",
        str(night.day),
        *("--workspace", str(night.workspace), "--params", str(night.params_path)),
        *("--out", str(night.workspace / out), "--width", "8", *options),
    )


def student_of(night: Night, name: str) -> Night:
    return Night(night.day, night.workspace / name, night.params_path)


def test_the_student_ranks_more_like_the_teacher_than_a_model_of_its_size(night: Night) -> None:
    teacher = load_scorer(night.workspace / "train", SnapshotReader(night))
    targets = read_test_targets(teacher, SnapshotReader(night))
    best = rank_model("teacher", teacher, targets, 10)[0].top_BK
    shares = {}
    for name in ("student", "alone"):
        scorer = load_scorer(
            student_of(night, name).workspace / "train", SnapshotReader(student_of(night, name))
        )
        own = rank_model(name, scorer, targets, 10)[0].top_BK
        shares[name] = float((own[:, :, None] == best[:, None, :]).any(2).float().mean())
    assert shares["student"] > shares["alone"] + 0.2


def test_the_student_is_small_and_complete_without_sources(night: Night) -> None:
    student, teacher = (load_bundle(night.workspace / path) for path in ("student/train", "train"))
    assert isinstance(student, InterestModel)
    assert (student.config.width, student.config.encoder, student.config.fusion) == (8, "mean", "uniform")
    assert list(student.config.sources) == []
    assert student.config.rerank["candidates"] == 0
    size = {
        name: sum(x.numel() for x in model.state_dict().values())
        for name, model in (("student", student), ("teacher", teacher))
    }
    assert size["student"] < size["teacher"] / 2


def test_the_student_is_evaluated_and_served_as_a_challenger(night: Night) -> None:
    student = student_of(night, "student")
    evaluate.run(load_params(night.params_path).evaluate, student)
    details = json.loads((student.workspace / "evaluate" / "details.json").read_text())
    assert details["models"]["challenger"]["ndcg@10"] > 0
    recommended = load_recommender(student).predict(None, request_rows(SnapshotReader(student)), {"k": 5})
    assert {len(ids) for ids in recommended["video_ids"]} == {5}


def test_the_run_manifest_names_teacher_and_settings(night: Night) -> None:
    manifest = json.loads((night.workspace / "student/run_manifests/train.json").read_text())
    assert manifest["facts"]["teacher_bundle"] == hash_bundle(night.workspace / "train")
    assert manifest["facts"]["student"] == {"width": 8, "encoder": "mean", "teacher_weight": 1.0}
    curve = json.loads((night.workspace / "student/train/curve.json").read_text())
    assert curve[-1]["distillation"] < curve[0]["distillation"]
    alone = json.loads((night.workspace / "alone/train/curve.json").read_text())
    assert "distillation" not in alone[0]


def test_the_same_seed_gives_the_same_student_and_the_teacher_is_unchanged(night: Night) -> None:
    teacher, student = (hash_folder(night.workspace / path) for path in ("train", "student/train"))
    assert distil(night, "again") == DONE
    assert hash_folder(night.workspace / "again/train") == student
    assert hash_folder(night.workspace / "train") == teacher


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--width", "0"), "--width is 0; it must be above 0"),
        (("--encoder", "gru"), "--encoder is 'gru'; choose from transformer, ligr, lstm, hstu, mean"),
        (("--teacher-weight", "-1"), "--teacher-weight is -1.0; it must not be negative"),
    ],
)
def test_a_setting_out_of_range_is_refused(night: Night, options: tuple, message: str, capsys) -> None:
    assert distil(night, "refused", *options) == REFUSED_INPUT
    assert message in capsys.readouterr().err


def test_a_length_that_is_not_the_teacher_s_is_refused(night: Night, tmp_path: Path, capsys) -> None:
    overlay = tmp_path / "short.yaml"
    overlay.write_text(f"base: {night.params_path}\ntrain: {{model: {{max_length: 10}}}}\n")
    assert distil(Night(night.day, night.workspace, overlay), "short") == REFUSED_INPUT
    assert "train.model.max_length is 10, but the teacher reads 20" in capsys.readouterr().err


def test_private_training_of_a_student_is_refused(night: Night, tmp_path: Path, capsys) -> None:
    overlay = tmp_path / "private.yaml"
    overlay.write_text(
        f"base: {night.params_path}\ntrain: {{privacy: {{noise_multiplier: 1.0, delta: 0.0001}}}}\n"
    )
    assert distil(Night(night.day, night.workspace, overlay), "private") == REFUSED_INPUT
    assert "train.privacy is set, but a student learns from a teacher" in capsys.readouterr().err


def test_the_student_s_workspace_has_the_record_of_the_checks_and_of_one_night_only(
    night: Night, tmp_path: Path
) -> None:
    day = Night(night.day, tmp_path / "day", night.params_path)
    for name in ("snapshot", "align", "run_manifests"):
        (day.workspace / name).mkdir(parents=True)
    (day.run_manifests / "check.json").write_text("{}")
    student = Night(night.day, tmp_path / "student", night.params_path)
    link_inputs(day, student)
    link_inputs(day, student)  # again is no error
    assert [path.name for path in student.run_manifests.iterdir()] == ["check.json"]
    with pytest.raises(InputError, match="choose another --out"):
        link_inputs(Night(night.day, tmp_path / "other", night.params_path), student)
    with pytest.raises(InputError, match="exists and is no link to"):
        link_inputs(day, day)


def test_a_baseline_is_no_teacher(night: Night, tmp_path: Path, capsys) -> None:
    overlay = tmp_path / "popularity.yaml"
    overlay.write_text(f"base: {night.params_path}\ntrain: {{model: {{name: popularity}}}}\n")
    arguments = ("--night", str(night.day), "--workspace", str(night.workspace), "--params", str(overlay))
    assert undercurrent("distil", *arguments) == REFUSED_INPUT
    assert "train.model.name is popularity" in capsys.readouterr().err
