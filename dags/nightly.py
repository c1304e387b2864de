"""# One night: landing files to promoted model

The run starts at 02:00 UTC and takes in the logs of the day before. To run another night, trigger the DAG
with the parameter `night`. To run several, use `make backfill`. Each task runs `python -m tasks.<step>`.
The partition key of a run is its night. A recorded night runs again only with the parameter `force`.

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

from airflow.sdk import DAG, Asset, AssetAlias, CronPartitionTimetable, Param, TaskGroup

from core.step_graph import LAKE_HALF, STEPS
from ops.approval import ApprovalTask
from ops.dag_defaults import dag_defaults
from ops.operators import NIGHT_SCHEMA, StepOperator

# step -> what it does, its time limit in minutes, its pool
TASK_SETTINGS = {
    "ingest": ("Reads the landing files into the lake, each file once.", 60, "heavy"),
    "clean": ("Cleans the events and stores rejected ones in `rejects` with a reason.", 120, "heavy"),
    "embed": ("Embeds the frames, captions and audio of new videos.", 360, "gpu"),
    "check": (
        "Checks events, interactions and vectors. A failed check of severity error blocks the night.",
        60,
        "heavy",
    ),
    "sequences": ("Builds the sequence of each user at the end of the day.", 120, "heavy"),
    "snapshot": ("Pins the table versions and writes the files that the model half reads.", 60, "heavy"),
    "align": ("Aligns the modalities by contrastive learning (InfoNCE).", 120, "gpu"),
    "train": ("Trains the challenger of the night.", 360, "gpu"),
    "evaluate": ("Evaluates challenger, champion and baselines on the test day.", 120, "gpu"),
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

# What a step publishes. Another DAG can wait for it with schedule=[Asset("undercurrent_interactions")]. An
# alias has an event only if there is something new: a champion.
OUTLETS = {
    "check": [Asset("undercurrent_interactions"), Asset("undercurrent_features")],
    "sequences": [Asset("undercurrent_sequences")],
    "evaluate": [Asset("undercurrent_recommendations")],
    "promote": [AssetAlias("undercurrent_model")],
}

PARAMS = {
    "night": Param(
        None,
        **NIGHT_SCHEMA,
        title="Night",
        description="The day (UTC) whose logs are taken in. Leave it empty in a backfill.",
    ),
    "steps": Param(
        list(STEPS),
        type="array",
        minItems=1,
        items={"type": "string", "enum": list(STEPS)},
        examples=list(STEPS),
        title="Steps to run",
        description="The other steps are skipped. They must have run before.",
    ),
    "model_half_from": Param(
        None,
        **NIGHT_SCHEMA,
        title="Model half from",
        description="Nights before this day run their lake half only. Empty: all nights run both halves.",
    ),
    "force": Param(False, type="boolean", title="Force", description="Run a recorded night again."),
    "dry_run": Param(False, type="boolean", title="Dry run", description="Log the commands, run none."),
}

# In this time zone (UTC-2) midnight is 02:00 UTC. The keys 2026-03-10 of a backfill, of a schedule and of a
# form then mean the same instant, and a backfill's first and last day are both included.
TWO_O_CLOCK = "Etc/GMT+2"

with DAG(
    "nightly",
    description="One night: from landing files to a promoted, recorded and reported model",
    doc_md=__doc__,
    schedule=CronPartitionTimetable("0 0 * * *", timezone=TWO_O_CLOCK, run_offset=-1, key_format="%Y-%m-%d"),
    catchup=False,  # unpausing runs at most the newest night that has ended
    max_active_runs=1,
    params=PARAMS,
    tags=["undercurrent", "nightly"],
    **dag_defaults(),
) as dag:
    lake_half = TaskGroup("lake_half", prefix_group_id=False, tooltip="Landing files to checked tables")
    model_half = TaskGroup("model_half", prefix_group_id=False, tooltip="Snapshot to promoted model")
    operators = {}
    for name, upstream in STEPS.items():
        description, minutes, pool = TASK_SETTINGS[name]
        operators[name] = StepOperator(
            task_id=name,
            task_group=lake_half if name in LAKE_HALF else model_half,
            doc_md=description,
            pool=pool,
            outlets=OUTLETS.get(name, []),
            execution_timeout=timedelta(minutes=minutes),
            trigger_rule="none_failed",  # a step that the params leave out does not stop the later ones
        )
        operators[name].set_upstream([operators[upstream_step] for upstream_step in upstream])
    approval = ApprovalTask(
        task_id="approval",
        task_group=model_half,
        doc_md="Asks a person about a promotion within `gate.approval_margin`. No answer means no.",
        trigger_rule="none_failed",
    )
    operators["gate"] >> approval >> operators["promote"]
