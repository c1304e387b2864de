"""# Maintenance of the lake

The run starts at 12:00 UTC every day. It joins small files, expires old versions of the tables and deletes
files that no table needs. It changes no row, so a night may run at the same time. The task runs
`undercurrent maintain`.

## Triage notes

**What a failed run means.** The lake keeps more files than it needs. Nights are not affected.

**Whether it can wait.** Yes, for days. If it fails for weeks, the disk fills and reads become slower.

**Where the logs are.** Open the failed task in Airflow, then its Logs. The last line gives the reason.

**What to do.**

| last line of the log | retried | what to do |
|---|---|---|
| `maintain: refused: …` | no | Follow the remedy in the message, then clear the task. |
| `maintain: failed: …` | twice | A server does not answer. Start it, then clear the task. |
| a traceback | twice | A bug, or no memory or disk space. Clear the task. If it fails again, report it. |
| the task timed out | twice | Clear the task. What it has done stays done. |

**More help.** docs/how-to/maintain-the-lake.md explains what is kept.
"""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from ops.dag_defaults import dag_defaults
from ops.operators import CommandOperator

with DAG(
    "maintenance",
    description="Small files, old versions and unneeded files of the lake",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 12 * * *", timezone="UTC"),
    catchup=False,  # unpausing the DAG runs it at most once
    max_active_runs=1,
    tags=["undercurrent", "lake"],
    **dag_defaults(),
) as dag:
    CommandOperator(
        task_id="maintain",
        doc_md="Joins small files, expires old versions and deletes files that no table needs.",
        pool="heavy",
        execution_timeout=timedelta(hours=3),
    )
