"""The log lines of a command: text on a terminal, JSON objects for a log collector.

With UNDERCURRENT_LOG_FORMAT=json each line of stderr is one JSON object, unless stderr is a terminal. It has
time, level, night, step, attempt and message. The text of prints, progress bars, warnings and tracebacks
becomes such objects too. Credentials are hidden. Lines of child processes, such as Spark's JVM, stay text.
"""

import io
import json
import logging
import os
import sys
import threading
import time
import warnings
from datetime import UTC, datetime
from typing import TextIO

from core.errors import InputError
from core.paths import redact_credentials

FORMAT_VARIABLE = "UNDERCURRENT_LOG_FORMAT"
FORMATS = ("text", "json")
ATTEMPT_VARIABLE = "AIRFLOW_CTX_TRY_NUMBER"  # Airflow sets it, and counts from 1
PROGRESS_SECONDS = 10.0  # between two lines of one progress bar


class JsonLines(io.TextIOBase):
    """A stream that writes each line of text as a JSON object.

    Attributes:
        fields: of every object: night, step and attempt.
        encoding: of the text, for programs that ask.
    """

    encoding = "utf-8"

    def __init__(self, stream: TextIO, fields: dict[str, str | int | None]) -> None:
        self.fields = fields
        self._stream = stream
        self._line = ""
        self._last_progress = 0.0
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Write text. A line is written when it is complete.

        A carriage return starts the line again, as progress bars do. What it overwrites is written every
        `PROGRESS_SECONDS`.
        """
        with self._lock:
            *lines, self._line = (self._line + text).split("\n")
            for line in lines:
                self.write_record("INFO", line.rpartition("\r")[2])
            overwritten, _, rest = self._line.rpartition("\r")
            if overwritten and time.monotonic() - self._last_progress >= PROGRESS_SECONDS:
                self._last_progress = time.monotonic()
                self.write_record("INFO", overwritten.rpartition("\r")[2])
            self._line = rest
        return len(text)

    def write_record(self, level: str, message: str) -> None:
        """Write one JSON object, unless the message is empty.

        Args:
            level: a level of the module `logging`.
            message: its text.
        """
        if not message.strip():
            return
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            **self.fields,
            "message": redact_credentials(message.rstrip()),
        }
        with self._lock:
            self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._stream.flush()

    def fileno(self) -> int:
        """Return the file descriptor, which child processes inherit."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return False, so that no library writes colours."""
        return False


class _JsonHandler(logging.Handler):
    """Passes the records of libraries on with their level."""

    def __init__(self, stream: JsonLines) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        self._stream.write_record(record.levelname, self.format(record))


def start(step: str, night: str | None = None) -> None:
    """Format all lines that this process writes to stderr from now on.

    Args:
        step: the step or command that writes them.
        night: YYYY-MM-DD, None for a command without a night.

    Raises:
        InputError: the format is unknown, or the attempt is no number.
    """
    stream = sys.stderr
    if isinstance(stream, JsonLines):  # a command that runs a step
        stream.fields |= {"step": step, "night": night or stream.fields["night"]}
    elif _format() == "json" and not stream.isatty():
        json_lines = JsonLines(stream, {"night": night, "step": step, "attempt": _attempt()})
        sys.stderr = json_lines
        logging.getLogger().addHandler(_JsonHandler(json_lines))
        logging.captureWarnings(True)
        warnings.formatwarning = _format_warning


def write(message: str, level: str = "INFO") -> None:
    """Write a line to stderr, without credentials.

    Args:
        message: its text. In JSON, several lines of text are one object.
        level: a level of the module `logging`.
    """
    if isinstance(sys.stderr, JsonLines):
        sys.stderr.write_record(level, message)
    else:
        print(redact_credentials(message.rstrip()), file=sys.stderr)


def _format() -> str:
    text = os.environ.get(FORMAT_VARIABLE) or "text"
    if text not in FORMATS:
        raise InputError(f"{FORMAT_VARIABLE} is {text!r}; write {' or '.join(FORMATS)}")
    return text


def _attempt() -> int:
    text = os.environ.get(ATTEMPT_VARIABLE) or "1"
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{ATTEMPT_VARIABLE} is {text!r}; write the number of the attempt, from 1")
    return int(text)


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return f"{category.__name__}: {message}"
