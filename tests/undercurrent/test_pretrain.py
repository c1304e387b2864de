import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.hashing import hash_folder
from models.encoders.default import CLAP_FILE, CLIP_FILE, init_clip, load_floating_point_state
from tests.support.command_line import undercurrent
from tests.support.landing_files import DAY, event, land
from tests.support.media_files import BLUE, RED, plain, write_video
from undercurrent import pretrain

QUICK = ["--epochs", "1", "--batch-size", "8"]


@pytest.fixture
def videos_landing(landing: Path) -> Path:
    """Write videos of two subjects, two of them without readable media, and events that are not read."""
    lines: list[dict[str, Any]] = []
    for number in range(22):
        colour, subject, hertz = ((RED, "cats", 300.0), (BLUE, "cars", 900.0))[number % 2]
        write_video(
            landing / f"media/v{number}.mp4", seconds=1, picture=lambda t, c=colour: plain(c), hertz=hertz
        )
        lines.append({"video_id": f"v{number}", "caption": f"my {subject} {number} #{subject}"})
        lines[-1]["media_uri"] = f"media/v{number}.mp4"
    (landing / "media/v3.mp4").write_bytes(b"garbage")
    lines += [{"video_id": "gone", "media_uri": "media/gone.mp4"}, {"video_id": "nothing"}]
    land(landing, "videos", DAY, [*lines, "{broken"])
    land(landing, "events", DAY, [event(1, "u1", "v1", "view", "2026-03-05T10:00:00Z")])
    return landing


def run(*more: object) -> int:
    return undercurrent("pretrain", *QUICK, *map(str, more))


def test_the_weights_and_their_card_are_written(videos_landing: Path, tmp_path: Path) -> None:
    out = tmp_path / "weights"
    assert run("--landing", videos_landing, "--out", out) == 0
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert (card["videos"], card["skipped_by_reason"]) == (21, {"missing_media": 1, "unreadable_media": 1})
    assert card["digests"] == {f: d for f, d in hash_folder(out).items() if f in (CLIP_FILE, CLAP_FILE)}
    assert card["training"]["epochs"] == len(card["curve"]) == 1
    model = init_clip()
    before = model.visual.proj.clone()
    load_floating_point_state(model, CLIP_FILE, out)
    assert not np.allclose(before.detach(), model.visual.proj.detach(), atol=1e-4)


def test_the_same_data_and_seed_give_the_same_bytes(videos_landing: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    cards = []
    for folder, seed in ((videos_landing, 1), (moved, 1), (moved, 2)):
        if not moved.exists() and folder == moved:
            videos_landing.rename(moved)
        out = tmp_path / f"weights{len(cards)}"
        assert run("--landing", folder, "--out", out, "--seed", seed) == 0
        cards.append(json.loads((out / "card.json").read_text(encoding="utf-8")))
    assert cards[0]["data"] == cards[1]["data"]
    assert cards[0]["digests"] == cards[1]["digests"] != cards[2]["digests"]


def test_only_videos_and_media_are_read(videos_landing: Path, tmp_path: Path) -> None:
    opened: list[str] = []
    watching = True
    sys.addaudithook(lambda name, args: opened.append(str(args[0])) if watching and name == "open" else None)
    assert run("--landing", videos_landing, "--out", tmp_path / "weights") == 0
    watching = False
    assert any("videos.jsonl" in name or "/videos/" in name for name in opened)
    assert not any("/events/" in name for name in opened)


def test_the_newest_record_of_a_video_counts(videos_landing: Path) -> None:
    land(
        videos_landing,
        "videos",
        DAY,
        [{"video_id": "v1", "caption": "new", "media_uri": "m.mp4"}],
        "part-1.jsonl",
    )
    captions = {record["video_id"]: record["caption"] for record in pretrain.read_videos(videos_landing)}
    assert captions["v1"] == "new"
    assert "nothing" not in captions


def test_subject_tags_are_hashtags_in_any_case() -> None:
    record = {"caption": "My #Cats and #dogs2", "hashtags": ["CATS", "#purr"]}
    assert pretrain.subject_tags(record) == {"cats", "dogs2", "purr"}
    assert pretrain.subject_tags({"caption": None, "hashtags": None}) == frozenset()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--epochs", "0"], "--epochs is 0; it must be above 0"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0"),
        (["--landing", "nowhere"], "no videos with media"),
        (["--params", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_an_impossible_argument_is_exit_code_2(
    change: list[str], words: str, landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--landing", landing, "--out", tmp_path, *change) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error


def test_too_few_videos_are_refused(
    landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(landing / "v1.mp4", seconds=1)
    land(landing, "videos", DAY, [{"video_id": "v1", "media_uri": "v1.mp4"}])
    assert run("--landing", landing, "--out", tmp_path) == 2
    assert "training needs 20 or more; add landing folders" in capsys.readouterr().err
