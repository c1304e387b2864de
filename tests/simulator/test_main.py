from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from core.hashing import hash_folder
from core.paths import PROJECT_ROOT
from simulator.__main__ import main
from tests.support.simulated_platforms import TINY


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """A params.yaml of the tiny platform with two videos."""
    raw = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text())
    raw["simulator"] = asdict(TINY) | {"users": 4, "videos": 2, "new_videos_per_day": 0}
    raw["clean"]["bot_events_per_hour"] = 100
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_make_corrupt_and_repair_on_the_command_line(params, landing, home, capsys):
    assert main(["make", "--params", str(params)]) == 0
    assert (landing / "SYNTHETIC.txt").exists()
    assert (home / "ground_truth/simulator.json").exists()
    night = ["--night", "2026-03-03"]
    assert main(["corrupt", *night, "--params", str(params)]) == 0
    assert (landing / "events/dt=2026-03-03/_original-events.jsonl").exists()
    assert main(["repair", *night]) == 0
    assert not (landing / "events/dt=2026-03-03/_original-events.jsonl").exists()
    output = capsys.readouterr().out
    assert "4 users, 2 videos" in output
    assert "removed the user from" in output


def test_out_holds_landing_and_ground_truth(params, tmp_path):
    assert main(["stream", "--events", "2e3", "--params", str(params), "--out", str(tmp_path / "big")]) == 0
    assert sorted(path.name for path in (tmp_path / "big").iterdir()) == ["ground_truth", "landing"]


def test_render_writes_the_same_videos_as_make_and_no_users(params, tmp_path):
    out = tmp_path / "render"
    assert main(["render", "--seed", "8", "--videos", "3", "--params", str(params), "--out", str(out)]) == 0
    assert sorted(path.name for path in (out / "landing").iterdir()) == ["SYNTHETIC.txt", "media", "videos"]
    assert [path.name for path in (out / "ground_truth").iterdir()] == ["videos.parquet"]
    raw = yaml.safe_load(params.read_text())
    raw["simulator"] |= {
        "seed": 8,
        "videos": 3,
        "history_days": 1,
        "nights": 0,
        "outage_night": 0,
        "new_users_per_day": 0,
    }
    params.write_text(yaml.safe_dump(raw))
    assert main(["make", "--params", str(params), "--out", str(tmp_path / "make")]) == 0
    for folder in ("media", "videos"):
        assert hash_folder(out / "landing" / folder) == hash_folder(tmp_path / "make/landing" / folder)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["corrupt", "--night", "tomorrow"], "'tomorrow' is not a date; write it as YYYY-MM-DD"),
        (["repair", "--night", "2026-03-03"], "is not a night of a simulation"),
        (["make", "--params", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(argv, message, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "argv", [["stream", "--events", "many", "--out", "x"], ["stream", "--events", "0.5", "--out", "x"], []]
)
def test_a_wrong_command_line_prints_the_usage(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "usage: python -m simulator" in capsys.readouterr().err
