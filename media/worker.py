"""A decoding process: `python -m media.worker <fd>`. It reads jobs and writes results on that socket.

A file that crashes, hangs or bloats libav takes this process with it, and nothing else.
"""

import ctypes
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import av

from media.clip import Clip, Limits, Sampling, StoreUnavailable, Unreadable
from media.decode import decode
from media.fetch import find

READY = "ready"
PR_SET_PDEATHSIG = 1


def serve(connection: Connection) -> None:
    """Answer (landing, sampling, limits), then one uri after another, until the parent hangs up."""
    _die_with_parent()
    av.logging.set_level(av.logging.PANIC)  # a bad file is told in its reject, not on the screen
    landing, sampling, limits = connection.recv()
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    connection.send(READY)
    while True:
        try:
            uri = connection.recv()
        except EOFError:
            return
        connection.send(_answer(uri, landing, sampling, limits))


def _answer(
    uri: str, landing: Path, sampling: Sampling, limits: Limits
) -> Clip | Unreadable | StoreUnavailable:
    try:
        return decode(find(uri, landing), sampling, limits)
    except (Unreadable, StoreUnavailable) as outcome:
        return outcome
    except MemoryError:
        return Unreadable("out_of_memory", "decoding it needs more memory than embed.decode_memory_mib")


def _die_with_parent() -> None:
    """Without this, the child of a killed step would go on beside its retry."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
