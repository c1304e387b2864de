"""Restart a scheduler that runs but does nothing.

On a full disk some of its workers die. It then waits for them forever, and no night runs any more.
"""

import os
import signal
import sys
import time

from ops.airflow_api import AirflowClient
from ops.supervisor import Supervisor

CHECK_SECONDS = 30.0
HUNG_CHECKS = 10  # so many without a sign of life; Airflow's scheduler gives one every few seconds


class SchedulerWatch:
    """Kills a scheduler that gives no sign of life. `Supervisor.restart_dead` restarts it.

    Checks are counted, not seconds. So a corrected clock or a paused machine is no reason to kill it.
    """

    def __init__(self, api: AirflowClient, supervisor: Supervisor) -> None:
        self._api, self._supervisor = api, supervisor
        self._heartbeat: str | None = None
        self._unchanged_checks = 0
        self._checked_at = time.monotonic()

    def check(self) -> None:
        """Look for a new sign of life, at most every `CHECK_SECONDS`. Call it about every second."""
        now = time.monotonic()
        if now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        heartbeat = self._api.scheduler_heartbeat()
        is_alive = heartbeat is None or heartbeat != self._heartbeat
        self._heartbeat = heartbeat
        self._unchanged_checks = 0 if is_alive else self._unchanged_checks + 1
        if self._unchanged_checks >= HUNG_CHECKS:
            print(f"scheduler has hung since {heartbeat}; ending it", file=sys.stderr)
            os.kill(self._supervisor.pid("scheduler"), signal.SIGKILL)
            self._unchanged_checks = 0  # the next one gets as long to start
