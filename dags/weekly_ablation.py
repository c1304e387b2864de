"""# Weekly ablation

The run starts at 06:00 UTC on Sundays. It leaves out one part of the model after the other, and trains and
tests each variant on the snapshot of the night before. It changes neither tables nor champion. The task runs
`undercurrent ablate`. To measure another night, trigger the DAG with the parameter `night`.

## Triage notes

**What a failed run means.** The table in `nights/<night>/ablate/ablations.md` is missing or old. Nights are
not affected.

**Whether it can wait.** Yes, for weeks.

**Where the logs are.** Open the failed task in Airflow, then its Logs. The last line gives the reason.

**What to do.**

| last line of the log | retried | what to do |
|---|---|---|
| `ablate: refused: …` | no | The night has no snapshot. Run its model half, then clear the task. |
| `ablate: failed: …` | twice | A server does not answer. Start it, then clear the task. |
| a traceback | twice | A bug, or no memory or disk space. Clear the task. If it fails again, report it. |
| the task timed out | twice | Decrease the parameter `seeds`. |
"""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from ops.dag_defaults import dag_defaults
from ops.operators import NIGHT_SCHEMA, CommandOperator, workspace_of

# A scheduled run measures the night before, a run of the form the night of the form.
NIGHT = "{{ params.night or macros.ds_add(ds, -1) }}"

with DAG(
    "weekly_ablation",
    description="What each part of the model contributes",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 6 * * 0", timezone="UTC"),
    catchup=False,  # unpausing the DAG runs it at most once
    max_active_runs=1,
    params={
        "night": Param(None, **NIGHT_SCHEMA, title="Night", description="A night with a snapshot."),
        "seeds": Param(3, type="integer", minimum=1, title="Seeds", description="Trainings of each variant."),
    },
    user_defined_macros={"workspace_of": workspace_of},
    tags=["undercurrent", "model"],
    **dag_defaults(),
) as dag:
    CommandOperator(
        task_id="ablate",
        options=[
            *("--night", NIGHT),
            *("--workspace", "{{ workspace_of(" + NIGHT.strip("{} ") + ") }}"),
            *("--seeds", "{{ params.seeds }}"),
        ],
        doc_md="Trains and tests the model without each of its parts.",
        pool="gpu",
        execution_timeout=timedelta(hours=6),
    )
