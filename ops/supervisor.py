"""Keeps a set of processes running: starts them, restarts the one that dies, ends them all together."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from contracts import place
from ops import child

MOST_DEATHS = 5  # within QUICK_SECONDS: it will not come up, so say so instead of going on for ever
QUICK_SECONDS = 120.0
TAIL_LINES = 15


class ComponentDiedError(RuntimeError):
    """A component keeps dying; the message carries the end of its log."""


@dataclass(frozen=True)
class Component:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass
class _Running:
    process: "subprocess.Popen[str]"
    deaths: list[float] = field(default_factory=list)


class Supervisor:
    """Runs components while it is open; each one's words go to `<logs>/<name>.log`.

    `watch` must be called every second or so: it restarts whatever died. A component's whole process group is
    ended before its successor starts, so that two schedulers never work side by side.
    """

    def __init__(self, components: Sequence[Component], logs: Path) -> None:
        self._components = {c.name: c for c in components}
        self._running: dict[str, _Running] = {}
        self._logs = logs

    def __enter__(self) -> "Supervisor":
        self._logs.mkdir(parents=True, exist_ok=True)
        for name in self._components:
            self._running[name] = _Running(self._start(name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._running.values():
            child.ask_to_end(one.process)
        for one in self._running.values():
            child.stop(one.process)

    def watch(self) -> list[str]:
        """Restart what died since the last call; returns the names.

        Raises:
            ComponentDiedError: one died too often in too short a time.
        """
        dead = [name for name, one in self._running.items() if one.process.poll() is not None]
        for name in dead:
            self._restart(name)
        return dead

    def wait_for(self, ready: Callable[[], bool], what: str, patience: float) -> None:
        """Wait until `ready`, watching meanwhile.

        Raises:
            ComponentDiedError: one of the components keeps dying.
            TimeoutError: not ready after `patience` seconds.
        """
        until = time.monotonic() + patience
        while not ready():
            if time.monotonic() > until:
                raise TimeoutError(f"{what} was not ready after {patience:.0f} s; see {self._logs}")
            self.watch()
            time.sleep(0.5)

    def pid(self, name: str) -> int:
        """The process id of a component."""
        return self._running[name].process.pid

    def _restart(self, name: str) -> None:
        one, now = self._running[name], time.monotonic()
        code = one.process.returncode
        one.deaths = [t for t in one.deaths if now - t < QUICK_SECONDS] + [now]
        if len(one.deaths) >= MOST_DEATHS:
            raise ComponentDiedError(
                f"{name} keeps dying (exit code {code}); its last words:\n{self._tail(name)}"
            )
        print(f"{name} ended (exit code {code}); starting it again", file=sys.stderr)
        child.stop(one.process)
        one.process = self._start(name)

    def _start(self, name: str) -> "subprocess.Popen[str]":
        component = self._components[name]
        with self._log(name).open("a", encoding="utf-8") as output:
            return child.start(component.command, place.PROJECT, component.environment, output)

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return place.without_credentials("\n".join(lines[-TAIL_LINES:]))
