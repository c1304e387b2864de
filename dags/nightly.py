"""The night, for the scheduler: each step is `python -m tasks.<step>`, the same command as in dvc.yaml.

Wiring only: schedule, retries, pools, time limits. Edges: contracts/steps.py. Pools: ops/pools.json.
"""

from datetime import timedelta

from airflow.sdk import DAG, CronPartitionTimetable, Param

from contracts.steps import STEPS
from ops.operators import StepOperator

# step: what it does, the most it may take (minutes), its pool
ABOUT = {
    "ingest": ("Takes the landing files into the lake, each file once.", 60, "heavy"),
    "clean": ("Cleans the events (Spark); refused rows go to `rejects` with their reason.", 120, "heavy"),
    "embed": ("Turns frames, captions and sound of the new videos into vectors.", 360, "heavy"),
    "check": ("Checks events, interactions and vectors; an error ends the night.", 60, "heavy"),
    "sequences": ("Builds each person's history as of the day (Spark).", 120, "heavy"),
    "snapshot": ("Pins the table versions and writes the files that the model half reads.", 60, "heavy"),
    "align": ("Aligns the modalities by contrast (InfoNCE).", 120, "heavy"),
    "train": ("Trains tonight's challenger.", 360, "heavy"),
    "evaluate": ("Scores challenger, champion and baselines on the newest day.", 120, "heavy"),
    "gate": ("Decides from the evaluation; moves nothing.", 10, "default_pool"),
    "promote": ("Registers the challenger; moves `champion` to it if the gate says so.", 30, "promotion"),
    "record": ("Commits and tags the night in the record repository.", 60, "promotion"),
    "report": ("Writes the night's page.", 30, "default_pool"),
}

NIGHT = Param(
    None,
    type=["null", "string"],
    format="date",
    pattern=r"^\d{4}-\d{2}-\d{2}$",
    title="Night",
    description="The day whose logs are taken in (UTC). A scheduled run takes the day just over.",
)

with DAG(
    "nightly",
    description="One night: landing files to promoted model, recorded and reported",
    doc_md=__doc__,
    schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    catchup=False,  # and no start_date: the first scheduled run is the next one, none is made up for the past
    max_active_runs=1,
    params={"night": NIGHT},
    default_args={"owner": "undercurrent", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["undercurrent"],
) as dag:
    steps = {}
    for name, upstream in STEPS.items():
        what, minutes, pool = ABOUT[name]
        limit = timedelta(minutes=minutes)
        steps[name] = StepOperator(task_id=name, doc_md=what, pool=pool, execution_timeout=limit)
        steps[name].set_upstream([steps[before] for before in upstream])
