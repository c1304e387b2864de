"""Parse the DAG folder and print a description as JSON: a process of its own, for test_nightly.py."""

import json
import sys
import time


def main(folder: str) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.providers.standard.operators.hitl import HITLOperator
    from airflow.sdk import DAG, BaseOperator, CronPartitionTimetable, Param, TaskGroup
    from airflow.sdk.definitions.deadline import DeadlineAlert
    from airflow.sdk.exceptions import AirflowFailException
    from airflow.serialization.serialized_objects import DagSerialization

    airflow_classes = DAG, BaseOperator, CronPartitionTimetable, Param, TaskGroup, HITLOperator, DeadlineAlert
    assert all(
        (*airflow_classes, AirflowFailException)
    )  # airflow.sdk imports them when they are first asked for
    before, started = set(sys.modules), time.process_time()
    bag = DagBag(dag_folder=folder, collect_dags=True)
    seconds = time.process_time() - started
    dags = {name: DagSerialization.to_dict(dag)["dag"] for name, dag in bag.dags.items()}
    description = {
        "seconds": seconds,
        "modules": sorted({name.split(".")[0] for name in set(sys.modules) - before}),
        "errors": bag.import_errors,
        "dags": dags,
        "tasks": {name: [_task(task) for task in dag.tasks] for name, dag in bag.dags.items()},
    }
    print(json.dumps(description, default=str))


def _task(task) -> dict:  # type: ignore[no-untyped-def]
    return {
        "name": task.task_id,
        "upstream": sorted(task.upstream_task_ids),
        "owner": task.owner,
        "retries": task.retries,
        "seconds": task.execution_timeout.total_seconds() if task.execution_timeout else None,
        "doc": task.doc_md,
        "pool": task.pool,
        "outlets": [asset.name for asset in task.outlets],
        "backs_off": bool(task.retry_exponential_backoff),
    }


if __name__ == "__main__":
    main(sys.argv[1])
