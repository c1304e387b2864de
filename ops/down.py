"""`make down`: end the servers of a running `make up`, or those that a demo or a backfill started."""

import os
import signal
import sys
import time

from core import paths
from core.errors import DONE, FAILED, REFUSED_INPUT, InputError
from ops import up_lock

STOP_SECONDS = 180.0  # each server has 10 s to end before it is killed


def main() -> int:
    """Interrupt the command that runs the servers, and wait until it has ended all of them.

    Returns:
        the exit code.
    """
    try:
        return stop(STOP_SECONDS)
    except InputError as error:
        print(f"down: refused: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT


def stop(timeout: float) -> int:
    """End the servers of this home. It is no error if none runs.

    Args:
        timeout: seconds.

    Raises:
        InputError: the home cannot be used.
    """
    process_id = up_lock.holder()
    if process_id is None:
        print(f"down: no servers run in {paths.unchecked_home()}", file=sys.stderr)
        return DONE
    print("down: ending the servers (up to a minute)", file=sys.stderr)
    os.kill(process_id, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while up_lock.holder() == process_id:
        if time.monotonic() > deadline:
            print(f"down: process {process_id} did not end in {timeout:.0f} s", file=sys.stderr)
            return FAILED
        time.sleep(0.2)
    print("down: done", file=sys.stderr)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
