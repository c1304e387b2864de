"""# Backlog of videos without vectors

Trigger the run after a large import or with a new encoder, before the next night. It embeds what the step
`embed` of a night would embed, in shards. A shard that fails is tried again alone, and what it has committed
stays. One shard runs at a time, because one process at a time writes vectors. Each task runs
`python -m tasks.embed`.

## Triage notes

**What a failed run means.** Some videos have no vectors yet. The next night embeds them, which takes longer.

**Whether it can wait.** Yes, until the next night.

**Where the logs are.** Open the failed shard in Airflow, then its Logs. The last line gives the reason.

**What to do.**

| last line of the log | retried | what to do |
|---|---|---|
| `embed: refused: …` | no | Follow the remedy in the message, then clear the shard. |
| `embed: failed: …` | twice | A server does not answer. Start it, then clear the shard. |
| a traceback | twice | A bug, or no memory or disk space. Clear the shard. If it fails again, report it. |
| the task timed out | twice | Trigger the DAG with more shards. |
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from ops.dag_defaults import dag_defaults
from ops.operators import NIGHT_SCHEMA, EmbedShardOperator

with DAG(
    "embed_backlog",
    description="Vectors of all videos that have none, in shards",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params={
        "night": Param(
            **NIGHT_SCHEMA | {"type": "string"},
            title="Night",
            description="Videos that were received up to this day (UTC).",
        ),
        "shards": Param(8, type="integer", minimum=1, maximum=1000, title="Shards"),
    },
    tags=["undercurrent", "lake"],
    **dag_defaults(),
) as dag:

    @task(doc_md="Lists the shards.", execution_timeout=timedelta(minutes=5))
    def list_shards(params: dict) -> list[str]:
        """Return 1/8, 2/8, …, 8/8."""
        return [f"{number}/{params['shards']}" for number in range(1, params["shards"] + 1)]

    EmbedShardOperator.partial(
        task_id="embed",
        doc_md="Embeds the videos of one shard that have no vectors.",
        pool="gpu",
        max_active_tis_per_dag=1,
        execution_timeout=timedelta(hours=6),
        map_index_template="{{ task.shard }}",
    ).expand(shard=list_shards())
