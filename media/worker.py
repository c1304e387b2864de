"""A decoding process: `python -m media.worker <fd>`. It reads jobs from the socket and writes results to it.

A file that makes libav crash, hang or take too much memory ends only this process.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import av

from core.storage import StoragePath
from media.clip import DecodedVideo, DecodeLimits, MediaStoreUnavailable, SamplingConfig, UnreadableMedia
from media.decode import decode_video
from media.fetch import resolve_media_uri

READY = "ready"
PR_SET_PDEATHSIG = 1


def serve(connection: Connection) -> None:
    """Read (landing, roots, sampling, limits), then decode URI after URI until the parent disconnects."""
    _die_with_parent()
    av.logging.set_level(av.logging.PANIC)  # a bad file is reported in its reject
    landing, roots, sampling, limits = connection.recv()
    resource.setrlimit(resource.RLIMIT_AS, (limits.max_memory_bytes, limits.max_memory_bytes))
    connection.send(READY)
    while True:
        try:
            uri = connection.recv()
        except EOFError:
            return
        connection.send(_decode_uri(uri, landing, roots, sampling, limits))


def _decode_uri(
    uri: str, landing: StoragePath, roots: Sequence[Path], sampling: SamplingConfig, limits: DecodeLimits
) -> DecodedVideo | UnreadableMedia | MediaStoreUnavailable:
    try:
        return decode_video(resolve_media_uri(uri, landing, roots), sampling, limits)
    except (UnreadableMedia, MediaStoreUnavailable) as outcome:
        return outcome
    except MemoryError:
        return UnreadableMedia("out_of_memory", "decoding needs more memory than embed.decode_memory_mib")


def _die_with_parent() -> None:
    """End this process with its parent. Otherwise it would still run during the retry of a killed step."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
