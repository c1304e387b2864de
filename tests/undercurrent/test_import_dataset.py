from pathlib import Path

import pytest
import yaml

from core.config import load_params, read_values
from core.errors import DONE, REFUSED_INPUT
from core.paths import PROJECT_ROOT, Night
from datasets import segmm
from tasks import ingest
from tests.support.command_line import undercurrent
from undercurrent import import_dataset


def _write_release(folder: Path, users: int) -> Path:
    """Write a SegMM release of three days. Each user watches a new video on every day."""
    rows = [
        f"{user},{10 + day},{day * 86_400_000 + user},9000,9000,[1 1]"
        for day in range(3)
        for user in range(users)
    ]
    header = "user_id,video_id,time_ms,duration_ms,playing_time,label_1D"
    (folder / segmm.INTERACTIONS_FILE).write_text("\n".join([header, *rows, "x,10,never,,,"]) + "\n")
    return folder


def test_an_imported_release_can_be_ingested(landing, tmp_path, capsys):
    source = _write_release(tmp_path, users=2)
    assert undercurrent("import-dataset", "--source", "segmm", "--path", str(source)) == DONE
    output = capsys.readouterr().out
    assert "SegMM_inter_sample.csv: 7 rows in = 6 kept + 1 rejected (1 invalid_time_ms)" in output
    assert "segmm: 3 videos, 6 events" in output
    assert "days that can be a night: 1, 2024-01-03 to 2024-01-03" in output
    params = load_params(PROJECT_ROOT / "params" / "segmm.yaml")
    run_manifest = ingest.run(params.ingest, Night(segmm.EPOCH.date().replace(day=3), tmp_path / "night"))
    assert (run_manifest.row_counts.rows_in, run_manifest.row_counts.kept) == (9, 9)
    assert (landing / "videos" / "dt=2024-01-01" / "segmm.jsonl").exists()


def test_only_nights_that_can_be_promoted_are_suggested(landing, tmp_path, capsys):
    for users, expected in (
        (99, "no night can be promoted: none reaches check.min_rows 100 and gate.min_users 30"),
        (100, "those with the most users with a new positive: 2024-01-03 (100 users)"),
    ):
        source = _write_release(tmp_path, users)
        assert undercurrent("import-dataset", "--source", "segmm", "--path", str(source)) == DONE
        output = capsys.readouterr().out
        assert expected in output
        assert ("next: undercurrent night --date 2024-01-03" in output) == (users == 100)


@pytest.mark.parametrize("source", sorted(import_dataset.SOURCES))
def test_a_wrong_path_is_refused(source, tmp_path, capsys):
    for path in (tmp_path / "nowhere", tmp_path):
        assert undercurrent("import-dataset", "--source", source, "--path", str(path)) == REFUSED_INPUT
        output = capsys.readouterr().err
        assert output.startswith(f"import-dataset: refused: --path {path}")
        assert output.count("\n") == 1


def test_an_unknown_source_is_refused_with_the_known_ones(capsys):
    assert undercurrent("import-dataset", "--source", "netflix", "--path", ".") == REFUSED_INPUT
    assert "'microlens', 'movielens', 'segmm'" in capsys.readouterr().err


OVERLAYS = sorted((PROJECT_ROOT / "params").glob("*.yaml"))


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_an_overlay_holds_only_what_differs_from_params_yaml(path):
    defaults, overlay = read_values(PROJECT_ROOT / "params.yaml"), yaml.safe_load(path.read_text())
    load_params(path)
    assert overlay.pop("base") == "../params.yaml"
    assert overlay.pop("night") != defaults["night"]
    same = [f"{s}.{k}" for s, values in overlay.items() for k, v in values.items() if defaults[s][k] == v]
    assert not same
