import dataclasses
from pathlib import Path

import pytest

from contracts.errors import DONE, REFUSED_INPUT
from contracts.params import Params, load
from contracts.place import PROJECT, Night
from tasks import import_dataset, ingest
from tasks.importers import segmm

# What each release needs to be different from params.yaml; all else must stay equal to it.
DIFFERENCES = {
    "movielens": {
        "train.half_life_days",
        "evaluate.half_life_days",
        "night",
        "clean.late_days",
        "clean.bot_events_per_hour",
        "embed.visual",
        "embed.audio",
        "check.min_rows",
        "check.min_of_usual",
        "snapshot.profile_categories",
        "snapshot.profile_numbers",
    },
    "segmm": {
        "night",
        "clean.late_days",
        "clean.max_loops",
        "embed.visual",
        "embed.text",
        "embed.audio",
        "check.max_watch_ratio",
        "snapshot.profile_categories",
    },
    "tiktok": {
        "train.walk",
        "train.half_life_days",
        "evaluate.half_life_days",
        "night",
        "clean.late_days",
        "embed.visual",
        "embed.text",
        "embed.audio",
        "snapshot.profile_categories",
        "train.positions",
    },
}


def _flat(params: Params) -> dict[str, object]:
    sections = dataclasses.asdict(params)
    night = {"night": sections.pop("night")}
    return night | {f"{s}.{key}": value for s, keys in sections.items() for key, value in keys.items()}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A SegMM release of three days."""
    rows = [
        f"{user},{10 + day},{day * 86_400_000 + user},9000,9000,[1 1]" for day in range(3) for user in (1, 2)
    ]
    header = "user_id,video_id,time_ms,duration_ms,playing_time,label_1D"
    (tmp_path / segmm.FILE).write_text("\n".join([header, *rows]) + "\n")
    return tmp_path


def test_what_is_written_can_be_ingested_and_the_night_it_names_exists(sample, landing, tmp_path, capsys):
    assert import_dataset.main(["--source", "segmm", "--path", str(sample)]) == DONE
    told = capsys.readouterr().out
    assert "segmm: 3 videos, 6 events" in told
    assert "days that can be a night: 1, 2024-01-03 to 2024-01-03; fullest: 2024-01-03 (2 people" in told
    params = load(PROJECT / "params" / "segmm.yaml")
    receipt = ingest.run(params.ingest, Night(segmm.EPOCH.date().replace(day=3), tmp_path / "night"))
    assert (receipt.rows.rows_in, receipt.rows.kept) == (9, 9)
    assert (landing / "videos" / "dt=2024-01-01" / "segmm.jsonl").exists()


@pytest.mark.parametrize("source", sorted(import_dataset.SOURCES))
def test_a_wrong_path_is_one_sentence_for_every_source(source, tmp_path, capsys):
    for path in (tmp_path / "nowhere", tmp_path):
        assert import_dataset.main(["--source", source, "--path", str(path)]) == REFUSED_INPUT
        told = capsys.readouterr().err
        assert told.startswith(f"import_dataset: refused: --path {path}")
        assert told.count("\n") == 1


def test_an_unknown_source_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as refused:
        import_dataset.main(["--source", "netflix", "--path", "."])
    assert refused.value.code == REFUSED_INPUT
    assert "'movielens', 'segmm'" in capsys.readouterr().err


@pytest.mark.parametrize("source", sorted(DIFFERENCES))
def test_the_parameters_of_a_release_load_and_differ_only_where_they_must(source):
    ours, theirs = _flat(load(PROJECT / "params.yaml")), _flat(load(PROJECT / "params" / f"{source}.yaml"))
    assert {key for key in ours if ours[key] != theirs[key]} == DIFFERENCES[source]


def test_every_parameter_file_is_held():
    assert {path.stem for path in (PROJECT / "params").glob("*.yaml")} == set(DIFFERENCES)
