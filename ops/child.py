"""Child processes that never outlive us, not even when we are killed with SIGKILL."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def start(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], output: int | IO[str]
) -> subprocess.Popen[str]:
    """Start a command (an argument list, never a shell) in a session of its own; stderr joins stdout.

    The kernel kills the child when the thread that started it ends, however it ends.
    """
    return subprocess.Popen(
        list(command),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_die_with(os.getpid()),
    )


def ask_to_end(child: "subprocess.Popen[str]") -> None:
    """SIGTERM to a child and all it started; does not wait, so a signal handler may call it."""
    _signal(child, signal.SIGTERM)


def stop(child: "subprocess.Popen[str]", patience: float = 10.0) -> None:
    """End a child and all it started: first asked, after `patience` seconds killed."""
    ask_to_end(child)
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal(child, signal.SIGKILL)
        child.wait()


def _signal(child: "subprocess.Popen[str]", number: int) -> None:
    """Signal the child's whole process group, which may outlive the child itself."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def _die_with(parent: int) -> Callable[[], None]:
    """What the child runs before exec; the parent may be gone before it asks to be told."""

    def ask() -> None:
        if _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0 or os.getppid() != parent:
            os._exit(1)

    return ask
