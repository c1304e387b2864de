"""The night, for the scheduler: every step is `python -m tasks.<step>`, the same command as in dvc.yaml.

Wiring only: schedule, retries, pools, time limits. contracts/steps.py has the edges, ops/pools.json the pools.
"""

from datetime import datetime, timedelta

from airflow.sdk import DAG, CronPartitionTimetable, Param

from contracts.steps import STEPS
from ops.operators import StepOperator

# step: what it does, the most it may take (minutes), its pool
ABOUT = {
    "ingest": ("Takes the landing files into the lake, each file once.", 60, "heavy"),
    "clean": ("Cleans the events (Spark); refused rows go to `rejects` with their reason.", 120, "heavy"),
    "embed": ("Turns frames, captions and sound of the new videos into vectors.", 360, "heavy"),
    "check": ("Checks events, interactions and features; an error-level failure ends the night.", 60, "heavy"),
    "sequences": ("Builds each person's history as of the day (Spark).", 120, "heavy"),
    "snapshot": ("Pins the table versions and writes the files that the model half reads.", 60, "heavy"),
    "align": ("Aligns the modalities by contrast (InfoNCE).", 120, "heavy"),
    "train": ("Trains tonight's challenger.", 360, "heavy"),
    "evaluate": ("Scores challenger, champion and baselines on the newest day.", 120, "heavy"),
    "gate": ("Decides from the evaluation; moves nothing.", 10, "default_pool"),
    "promote": ("Registers the challenger and, if the gate said so, moves `champion` to it.", 30, "promotion"),
    "record": ("Commits and tags the night in the record repository.", 60, "promotion"),
    "report": ("Writes the night's page.", 30, "default_pool"),
}

NIGHT = Param(
    None,
    type=["null", "string"],
    format="date",
    pattern=r"^\d{4}-\d{2}-\d{2}$",
    title="Night",
    description="The day whose logs are taken in (UTC). A scheduled run takes the day that has just ended.",
)

with DAG(
    "nightly",
    description="One night: landing files to promoted model, recorded and reported",
    doc_md=__doc__,
    schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params={"night": NIGHT},
    default_args={"owner": "undercurrent", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["undercurrent"],
) as dag:
    steps = {}
    for name, upstream in STEPS.items():
        what, minutes, pool = ABOUT[name]
        steps[name] = StepOperator(
            task_id=name, doc_md=what, pool=pool, execution_timeout=timedelta(minutes=minutes)
        )
        steps[name].set_upstream([steps[before] for before in upstream])
