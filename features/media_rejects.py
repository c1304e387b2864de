"""The media files that `embed` refuses, as rows of `rejects`.

Each night has at most one row for each video, file and step.
"""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from core.tables import REJECTS
from features.embedding_backlog import UNREADABLE_FILE_REJECT_STEP, BacklogVideo
from lake.client import Lake

RejectRow = dict[str, Any]


def reject_row(video: BacklogVideo, day: date, step: str, reason: str, detail: str) -> RejectRow:
    """Build the row of `rejects` for a video's file.

    Args:
        video: The video.
        day: The night's day.
        step: WHOLE_FILE_STEP, or the step of one modality.
        reason: The reject reason.
        detail: The error message.
    """
    return {
        "day": day,
        "step": step,
        "reason": reason,
        "received_day": video.received_day,
        "source_file": video.media_uri,
        "source_line": None,
        "record": json.dumps({"video_id": video.video_id, "detail": detail}),
    }


class MediaRejects:
    """The rejects of one night. If a file is tried again, the new outcome replaces its earlier reject."""

    def __init__(self, lake: Lake, day: date) -> None:
        self._lake, self._partition = lake, {"day": day, "step": UNREADABLE_FILE_REJECT_STEP}
        self._recorded = lake.scan(
            "rejects", f"day = '{day}' and step = '{UNREADABLE_FILE_REJECT_STEP}'"
        ).to_pylist()

    def commit(self, retried: Sequence[BacklogVideo], rejects: Sequence[RejectRow]) -> None:
        """Add rejects and delete the earlier rejects of the same files, in one transaction.

        Call this before the vectors of these files are committed. If the run is killed in between, the next
        run tries the files again.

        Args:
            retried: The videos that were tried.
            rejects: The rows of those that were refused.
        """
        files = {(video.video_id, video.media_uri) for video in retried if video.needs_media}
        replaced = [row for row in self._recorded if _file_key(row) in files]
        unaffected = [row for row in self._recorded if _file_key(row) not in files]
        if list(rejects) == replaced:
            return
        self._recorded = unaffected + [row for row in rejects if row["step"] == UNREADABLE_FILE_REJECT_STEP]
        rows, replace = (unaffected + list(rejects), [self._partition]) if replaced else (rejects, [])
        self._lake.write("rejects", pa.Table.from_pylist(rows, REJECTS.schema), replace)


def _file_key(row: RejectRow) -> tuple[str, str]:
    return json.loads(row["record"])["video_id"], row["source_file"]
