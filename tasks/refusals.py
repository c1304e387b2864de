"""The media that embed refuses, as rows of `rejects`: one a video, file and step of a night."""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from contracts.lake import Lake
from contracts.tables import REJECTS
from tasks.unembedded import WHOLE_FILE, Video

Reject = dict[str, Any]


def reject(video: Video, day: date, step: str, reason: str, detail: str) -> Reject:
    """The row that tells what a video's file was refused for."""
    return {
        "day": day,
        "step": step,
        "reason": reason,
        "received_day": video.received,
        "source_file": video.media_uri,
        "source_line": None,
        "record": json.dumps({"video_id": video.video_id, "detail": detail}),
    }


class Refusals:
    """What a night refuses. A file that it refused before and tries again is told of once, as it is now."""

    def __init__(self, lake: Lake, day: date) -> None:
        self._lake, self._partition = lake, {"day": day, "step": WHOLE_FILE}
        self._told = lake.scan("rejects", f"day = '{day}' and step = '{WHOLE_FILE}'").to_pylist()

    def commit(self, tried: Sequence[Video], rejects: Sequence[Reject]) -> None:
        """Add rejects; what the night said before of the files that were tried goes in the same transaction.

        To be done before the files' vectors are committed: a run that is killed in between tries them again.
        """
        files = {(video.video_id, video.media_uri) for video in tried if video.lacks_media}
        before = [row for row in self._told if _file(row) in files]
        stay = [row for row in self._told if _file(row) not in files]
        if list(rejects) == before:
            return
        self._told = stay + [row for row in rejects if row["step"] == WHOLE_FILE]
        rows, replace = (stay + list(rejects), [self._partition]) if before else (rejects, [])
        self._lake.write("rejects", pa.Table.from_pylist(rows, REJECTS.schema), replace)


def _file(row: Reject) -> tuple[str, str]:
    return json.loads(row["record"])["video_id"], row["source_file"]
