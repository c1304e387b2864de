"""Child processes that never outlive their parent, not even if the parent is killed with SIGKILL."""

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
    command: Sequence[str], working_folder: Path, environment: Mapping[str, str], output: int | IO[str]
) -> subprocess.Popen[str]:
    """Start a command in its own session. Its stderr goes to its stdout.

    The kernel kills the child as soon as the thread that started it ends.

    Args:
        command: argument list; no shell is used.
        output: file for the output, or `subprocess.PIPE`.
    """
    return subprocess.Popen(
        list(command),
        cwd=working_folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_kill_with_parent(os.getpid()),
    )


def terminate(process: "subprocess.Popen[str]") -> None:
    """Send SIGTERM to a child and all its children. It does not wait, so signal handlers may call it."""
    _signal_group(process, signal.SIGTERM)


def stop(process: "subprocess.Popen[str]", timeout: float = 10.0) -> None:
    """End a child and all its children: SIGTERM first, SIGKILL after `timeout` seconds."""
    terminate(process)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: "subprocess.Popen[str]", signal_number: int) -> None:
    """Signal the child's whole process group, which may outlive the child itself."""
    try:
        os.killpg(process.pid, signal_number)
    except ProcessLookupError:
        return


def _kill_with_parent(parent_pid: int) -> Callable[[], None]:
    """Return what the child runs before exec.

    The parent may end before the child has set its death signal. The child then ends itself.
    """

    def set_death_signal() -> None:
        die_with_parent()
        if os.getppid() != parent_pid:
            os._exit(1)

    return set_death_signal


def die_with_parent() -> None:
    """Let the kernel kill this process as soon as the thread that started it ends."""
    if _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        os._exit(1)
