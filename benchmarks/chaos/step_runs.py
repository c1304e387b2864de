"""Run a step of a night in a process of its own, so that it can be disturbed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Event, Thread

import psutil

from core.errors import DONE
from core.paths import PROJECT_ROOT
from core.run_manifests import read_manifest

POLL_SECONDS = 0.02
MAX_SECONDS = 300.0  # after which a step counts as hanging
CHILD_SECONDS = 10.0  # in which the children of an ended step end, too
# How a step that ends early reports its reason in one sentence.
REASON = re.compile(r"^\w+: (?:failed|refused|blocked): .+", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """A step of a night.

    Attributes:
        name: its name.
        night: the night.
        home: UNDERCURRENT_HOME. The workspace is in it.
        params: its parameter file.
    """

    name: str
    night: date
    home: Path
    params: Path = PROJECT_ROOT / "params.yaml"

    @property
    def workspace(self) -> Path:
        """The workspace of the night."""
        return self.home / str(self.night)

    @property
    def seconds(self) -> float:
        """The time of its last complete run, from its start to its run manifest."""
        return float(read_manifest(self.workspace / "run_manifests", self.name)["seconds"])

    @property
    def digests(self) -> dict[str, str]:
        """The digests of its last complete run."""
        return dict(read_manifest(self.workspace / "run_manifests", self.name)["digests"])


@dataclass(frozen=True)
class Ending:
    """How a run of a step ended.

    Attributes:
        exit_code: of the process. -9: it was killed.
        messages: what it printed.
    """

    exit_code: int
    messages: str

    @property
    def is_done(self) -> bool:
        """Whether the step completed."""
        return self.exit_code == DONE

    @property
    def has_reason(self) -> bool:
        """Whether the step completed, was killed, or gave one sentence as the reason why it ended early."""
        return self.is_done or self.exit_code == -signal.SIGKILL or bool(REASON.search(self.messages))

    @property
    def reason(self) -> str:
        """The sentence that gives the reason, else the last line that it printed."""
        if sentence := REASON.search(self.messages):
            return sentence.group()
        return (self.messages.strip().splitlines() or [""])[-1]


class StepProcess:
    """A running step. Its work begins when its first line is printed.

    Args:
        step: the step.
        prefix: a command that runs it, such as `prlimit --fsize=1`.
        variables: settings that only it has.
        module: the module that it runs. None: the step's own.
    """

    def __init__(
        self,
        step: Step,
        prefix: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        module: Sequence[str] = (),
    ) -> None:
        options = {"night": step.night, "workspace": step.workspace, "params": step.params}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [*prefix, sys.executable, "-m", *(module or [f"tasks.{step.name}"]), *arguments]
        self._first_line = f"{step.name}: night"
        self._lines: list[str] = []
        self._has_begun = Event()  # or ended
        self._process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env={**os.environ, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line)
                if line.startswith(self._first_line):
                    self._has_begun.set()
        self._has_begun.set()

    def run_for(self, seconds: float) -> bool:
        """Wait until the step has worked for some seconds. Return whether it still runs."""
        self._has_begun.wait()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def find_child(self, text: str) -> psutil.Process | None:
        """Wait until a process with a text in its command runs below the step. None: the step ended first."""
        while self._process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(self._process.pid).children(recursive=True):
                    if text in " ".join(child.cmdline()):
                        return child
            time.sleep(POLL_SECONDS)
        return None

    def kill(self) -> None:
        """Kill the step and its children."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> Ending:
        """Wait until the step ends. A step that hangs is killed.

        Raises:
            TimeoutError: it ran for more than `MAX_SECONDS`.
        """
        try:
            self._process.wait(MAX_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self._process.args!r} hangs: {''.join(self._lines)}") from None
        self._reader.join(CHILD_SECONDS)
        return Ending(self._process.returncode, "".join(self._lines))


def complete_step(step: Step) -> None:
    """Run a step.

    Raises:
        RuntimeError: it did not complete.
    """
    ending = StepProcess(step).end()
    if not ending.is_done:
        raise RuntimeError(f"{step.name} of {step.night} did not complete:\n{ending.messages}")
