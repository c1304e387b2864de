import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.errors import DONE, REFUSED_INPUT
from core.paths import PROJECT_ROOT
from research.synchrony.__main__ import main
from tests.support.media_files import write_flashes, write_video

BEATS = list(np.arange(5, 35) ** 1.4 / 15)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a video in step, one with late sound in a sub-folder, a mute one and a broken one."""
    folder = tmp_path / "videos"
    write_flashes(folder / "fits.mp4", BEATS, BEATS)
    write_flashes(folder / "more/late.MP4", BEATS, [beat + 0.4 for beat in BEATS], seconds=12)
    write_video(folder / "mute.mp4", hertz=None)
    (folder / "bad.mp4").write_bytes(b"garbage" * 100)
    (folder / "notes.txt").write_text("no video")
    return folder


def test_the_command_writes_one_row_for_each_video(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "synchrony.parquet"
    command = [sys.executable, "-m", "research.synchrony", str(folder), "--out", str(out)]
    result = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert "2 of 4 videos measured" in result.stderr
    assert pq.read_schema(out).names == ["video", "synchrony", "best_synchrony", "sync_delay_ms", "reason"]
    rows = {Path(row["video"]).name: row for row in pq.read_table(out).to_pylist()}
    assert set(rows) == {"fits.mp4", "late.MP4", "mute.mp4", "bad.mp4"}
    assert rows["fits.mp4"]["synchrony"] == rows["fits.mp4"]["best_synchrony"] > 0.6
    assert {name: row["sync_delay_ms"] for name, row in rows.items()} == {
        "fits.mp4": 0,
        "late.MP4": 400,
        "mute.mp4": None,
        "bad.mp4": None,
    }
    assert rows["fits.mp4"]["reason"] is None
    assert rows["mute.mp4"]["reason"] == "no_audio_stream: the file has no audio stream"
    assert rows["bad.mp4"]["reason"].startswith("unreadable_media: ")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_without_out_the_table_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fits = str(folder / "fits.mp4")
    assert main([fits, str(folder / "notes.txt"), fits]) == DONE
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["video", "synchrony", "best_synchrony", "sync_delay_ms", "reason"]
    assert [row.split()[0] for row in rows] == [fits, str(folder / "notes.txt")]
    assert rows[0].split()[3] == "0"
    assert "unreadable_media" in rows[1]


def test_embeddings_measure_motion_on_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "fits.mp4"), str(folder / "mute.mp4"), "--group", "2"]) == DONE
    _, fits, mute = capsys.readouterr().out.splitlines()
    assert float(fits.split()[1]) > 0.5
    assert fits.split()[3] == "0"
    assert "no_audio_stream" in mute


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v.mp4", "--group", "0"], "--group is 0; it must be 1 or more"),
        (["gone.mp4"], "gone.mp4 does not exist; name a video file or a folder"),
        (["."], "holds no video; name another folder"),
        (["v.mp4", "--out", "table.csv"], "table.csv is not the name of a Parquet file; end it in .parquet"),
        (["v.mp4", "--out", "gone/t.parquet"], "the folder gone does not exist; create it"),
        (["v.mp4", "--params", "gone.yaml"], "gone.yaml does not exist; pass --params"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_remedy(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "v.mp4":
        (tmp_path / "v.mp4").touch()
    assert main(arguments) == REFUSED_INPUT
    error = capsys.readouterr().err
    assert error.startswith("synchrony: refused: ")
    assert message in error
    assert error.count("\n") == 1
