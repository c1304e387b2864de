"""Restart a scheduler that runs but does nothing.

On a full disk some of its workers die. It then waits for them without an end, and no night runs any more.
"""

import os
import signal
import sys
import time

from ops.airflow_api import AirflowClient
from ops.supervisor import Supervisor

CHECK_SECONDS = 30.0
HUNG_SECONDS = 300.0  # Airflow's scheduler gives a sign of life every few seconds


class SchedulerWatch:
    """Kills the scheduler after `HUNG_SECONDS` without a sign of life. `Supervisor.restart_dead` restarts it.

    No clock but the monotonic one is read, so neither a corrected clock nor a suspended machine counts.
    """

    def __init__(self, api: AirflowClient, supervisor: Supervisor) -> None:
        self._api, self._supervisor = api, supervisor
        self._heartbeat: str | None = None
        self._changed_at = self._checked_at = time.monotonic()

    def check(self) -> None:
        """Look for a new sign of life, at most every `CHECK_SECONDS`. Call it about every second."""
        now = time.monotonic()
        if now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        heartbeat = self._api.scheduler_heartbeat()
        if heartbeat is None or heartbeat != self._heartbeat:
            self._heartbeat, self._changed_at = heartbeat, now
        elif now - self._changed_at >= HUNG_SECONDS:
            print(f"scheduler has hung since {heartbeat}; ending it", file=sys.stderr)
            os.kill(self._supervisor.pid("scheduler"), signal.SIGKILL)
            self._changed_at = now  # the next one gets as long to start
