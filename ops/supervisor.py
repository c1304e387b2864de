"""Keep a set of processes running: start them, restart those that die, end them together."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from core import paths
from ops import process_group

MAX_RESTARTS = 5  # exits within RESTART_WINDOW_SECONDS after which a component is given up
RESTART_WINDOW_SECONDS = 120.0
TAIL_LINES = 15


class ComponentDiedError(RuntimeError):
    """A component keeps dying. The message holds the end of its log."""


@dataclass(frozen=True)
class Component:
    """A process to keep running. `name` is also the name of its log file."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass
class _RunningComponent:
    process: "subprocess.Popen[str]"
    exit_times: list[float] = field(default_factory=list)


class Supervisor:
    """Runs components while its context is open. Each writes to `<log_folder>/<name>.log`.

    Call `restart_dead` about every second. A component's whole process group is ended before its restart, so
    two schedulers never run at the same time.
    """

    def __init__(self, components: Sequence[Component], log_folder: Path) -> None:
        self._components = {c.name: c for c in components}
        self._running: dict[str, _RunningComponent] = {}
        self._log_folder = log_folder

    def __enter__(self) -> "Supervisor":
        self._log_folder.mkdir(parents=True, exist_ok=True)
        for name in self._components:
            self._running[name] = _RunningComponent(self._start(name))
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in self._running.values():
            process_group.terminate(running.process)
        for running in self._running.values():
            process_group.stop(running.process)

    def restart_dead(self) -> list[str]:
        """Restart the components that died since the last call.

        Returns:
            their names.

        Raises:
            ComponentDiedError: a component died MAX_RESTARTS times within RESTART_WINDOW_SECONDS.
        """
        dead = [name for name, running in self._running.items() if running.process.poll() is not None]
        for name in dead:
            self._restart(name)
        return dead

    def wait_for(self, is_ready: Callable[[], bool], name: str, timeout: float) -> None:
        """Wait until `is_ready()` is true. Components that die meanwhile are restarted.

        Args:
            name: what is waited for, for the error message.
            timeout: seconds.

        Raises:
            ComponentDiedError: a component keeps dying.
            TimeoutError: `is_ready()` was not true within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{name} was not ready after {timeout:.0f} s; see the logs in {self._log_folder}"
                )
            self.restart_dead()
            time.sleep(0.5)

    def pid(self, name: str) -> int:
        """Return the process id of a component."""
        return self._running[name].process.pid

    def _restart(self, name: str) -> None:
        running, now = self._running[name], time.monotonic()
        exit_code = running.process.returncode
        running.exit_times = [t for t in running.exit_times if now - t < RESTART_WINDOW_SECONDS] + [now]
        if len(running.exit_times) >= MAX_RESTARTS:
            raise ComponentDiedError(
                f"{name} keeps dying (exit code {exit_code}); end of its log:\n{self._log_tail(name)}"
            )
        print(f"{name} died (exit code {exit_code}); restarting it", file=sys.stderr)
        process_group.stop(running.process)
        running.process = self._start(name)

    def _start(self, name: str) -> "subprocess.Popen[str]":
        component = self._components[name]
        with self._log_path(name).open("a", encoding="utf-8") as output:
            return process_group.start(component.command, paths.PROJECT_ROOT, component.environment, output)

    def _log_path(self, name: str) -> Path:
        return self._log_folder / f"{name}.log"

    def _log_tail(self, name: str) -> str:
        lines = self._log_path(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return paths.redact_credentials("\n".join(lines[-TAIL_LINES:]))
