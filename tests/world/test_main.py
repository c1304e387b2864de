from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from contracts.digests import of_folder
from contracts.place import PROJECT
from tests.world.worlds import TINY
from world.__main__ import main


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """A params.yaml of the tiny world, with hardly any video to render."""
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    raw["world"] = asdict(TINY) | {"users": 4, "videos": 2, "new_videos_per_day": 0}
    raw["clean"]["bot_events_per_hour"] = 100
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_make_poison_and_mend_go_through_the_command_line(params, landing, home, capsys):
    assert main(["make", "--params", str(params)]) == 0
    assert (landing / "SYNTHETIC.txt").exists()
    assert (home / "truth/world.json").exists()
    night = ["--night", "2026-03-03"]
    assert main(["poison", *night, "--params", str(params)]) == 0
    assert (landing / "events/dt=2026-03-03/_mended-events.jsonl").exists()
    assert main(["mend", *night]) == 0
    assert not (landing / "events/dt=2026-03-03/_mended-events.jsonl").exists()
    told = capsys.readouterr().out
    assert "4 users, 2 videos" in told
    assert "have lost their user" in told


def test_out_holds_both_folders(params, tmp_path):
    assert main(["stream", "--events", "2e3", "--params", str(params), "--out", str(tmp_path / "big")]) == 0
    assert sorted(path.name for path in (tmp_path / "big").iterdir()) == ["landing", "truth"]


def test_film_writes_the_videos_that_make_would_and_nobody_who_watches_them(params, tmp_path):
    out = tmp_path / "film"
    assert main(["film", "--seed", "8", "--videos", "3", "--params", str(params), "--out", str(out)]) == 0
    assert sorted(path.name for path in (out / "landing").iterdir()) == ["SYNTHETIC.txt", "media", "videos"]
    assert [path.name for path in (out / "truth").iterdir()] == ["videos.parquet"]
    raw = yaml.safe_load(params.read_text())
    raw["world"] |= {
        "seed": 8,
        "videos": 3,
        "history_days": 1,
        "nights": 0,
        "outage_night": 0,
        "new_users_per_day": 0,
    }
    params.write_text(yaml.safe_dump(raw))
    assert main(["make", "--params", str(params), "--out", str(tmp_path / "make")]) == 0
    for kind in ("media", "videos"):
        assert of_folder(out / "landing" / kind) == of_folder(tmp_path / "make/landing" / kind)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["poison", "--night", "tomorrow"], "'tomorrow' is not a date; write it as YYYY-MM-DD"),
        (["mend", "--night", "2026-03-03"], "is not a night of a demo world"),
        (["make", "--params", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(argv, told, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err.strip()
    assert told in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "argv", [["stream", "--events", "many", "--out", "x"], ["stream", "--events", "0.5", "--out", "x"], []]
)
def test_a_wrong_command_line_is_refused_with_the_usage(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "usage: python -m world" in capsys.readouterr().err
