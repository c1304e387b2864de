"""# One night: landing files to promoted model

The run starts at 02:00 UTC and takes in the logs of the day before. To run another night, trigger the DAG
with the parameter `night`. Each task runs `python -m tasks.<step>`.

## Triage notes

**What a failed run means.** Only `promote` replaces the champion. If an earlier task failed, the old champion
is still served, one day older. A night whose challenger is refused is not a failure. Its run
succeeds, and its report gives the reason.

**Whether it can wait.** Yes, until working hours. The next night starts on its own and takes in landing files
that were missed. Until the failed night is repaired, it may lack its model, record and report. If `check`
blocked it, later nights do not read its rows. If several nights fail in a row, act the same day, because the
champion becomes stale.

**Where the logs are.** Open the failed task in Airflow, then its Logs. The last line gives the reason. The
files of the night are in `$UNDERCURRENT_HOME/nights/<night>/`. A step that finished has a run manifest in
`run_manifests/` there. The Data Docs are in `$UNDERCURRENT_HOME/data_docs/index.html`.

**What to do.**

| last line of the log | retried | what to do |
|---|---|---|
| `<step>: refused: …` | no | Follow the remedy in the message, then clear the task. |
| `check: blocked: …` | no | See `check/results.json` or Data Docs. Repair the files. Clear from `ingest`. |
| `<step>: failed: …` | twice | A server does not answer. Start it, then clear the task. |
| a traceback | twice | A bug, or no memory or disk space. Clear the task. If it fails again, report it. |
| the task timed out | twice | Look for a busy machine or a hanging mount, then clear the task. |

Every step can run again and replaces its own output. Clear a task with its downstream tasks. `promote` and
`record` never overwrite a newer decision or a tag. If a promoted champion is bad, use the rollback of
docs/operations.md.

**More help.** docs/operations.md has more symptoms and remedies.
"""

# Each task runs the same command as its stage in dvc.yaml. core/step_graph.py gives the edges, ops/pools.json
# the pools.

from datetime import timedelta

from airflow.sdk import DAG, CronPartitionTimetable, Param

from core.step_graph import STEPS
from ops.operators import StepOperator

# step -> what it does, its time limit in minutes, its pool
TASK_SETTINGS = {
    "ingest": ("Reads the landing files into the lake, each file once.", 60, "heavy"),
    "clean": ("Cleans the events (Spark) and stores rejected ones in `rejects` with a reason.", 120, "heavy"),
    "embed": ("Embeds the frames, captions and audio of new videos.", 360, "heavy"),
    "check": (
        "Checks events, interactions and vectors. A failed check of severity error blocks the night.",
        60,
        "heavy",
    ),
    "sequences": ("Builds the sequence of each user at the end of the day (Spark).", 120, "heavy"),
    "snapshot": ("Pins the table versions and writes the files that the model half reads.", 60, "heavy"),
    "align": ("Aligns the modalities by contrastive learning (InfoNCE).", 120, "heavy"),
    "train": ("Trains the challenger of the night.", 360, "heavy"),
    "evaluate": ("Evaluates challenger, champion and baselines on the test day.", 120, "heavy"),
    "gate": (
        "Decides whether the challenger replaces the champion, and changes nothing.",
        10,
        "default_pool",
    ),
    "promote": (
        "Registers the challenger and, if the gate allows it, makes it the champion.",
        30,
        "promotion",
    ),
    "record": ("Commits and tags the night in the record repository.", 60, "promotion"),
    "report": ("Writes the report page of the night.", 30, "default_pool"),
}

NIGHT_PARAM = Param(
    None,
    type=["null", "string"],
    format="date",
    pattern=r"^\d{4}-\d{2}-\d{2}$",
    title="Night",
    description="The day (UTC) whose logs are taken in. A scheduled run takes the day before.",
)

with DAG(
    "nightly",
    description="One night: from landing files to a promoted, recorded and reported model",
    doc_md=__doc__,
    schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    catchup=False,  # and no start_date, so that no past runs are scheduled
    max_active_runs=1,
    params={"night": NIGHT_PARAM},
    default_args={"owner": "undercurrent", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["undercurrent"],
) as dag:
    operators = {}
    for name, upstream in STEPS.items():
        description, minutes, pool = TASK_SETTINGS[name]
        timeout = timedelta(minutes=minutes)
        operators[name] = StepOperator(task_id=name, doc_md=description, pool=pool, execution_timeout=timeout)
        operators[name].set_upstream([operators[upstream_step] for upstream_step in upstream])
