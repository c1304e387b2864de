"""# Forget users

Trigger the run with the path of a file that holds one user id in each line. It deletes these users from
landing files, tables, the files of all nights and the record. Airflow keeps the path, never the ids. Delete
the file after the run. The task runs `undercurrent forget`. Run no night at the same time.

## Triage notes

**What a failed run means.** Some records of the users are left. A certificate in
`$UNDERCURRENT_HOME/forgotten/` shows what was deleted. It has `"complete": false`.

**Whether it can wait.** Only as long as the law allows. No night is affected.

**Where the logs are.** Open the failed task in Airflow, then its Logs. The last line gives the reason.

**What to do.** Keep the file of ids. The task continues where it stopped.

| last line of the log | retried | what to do |
|---|---|---|
| `forget: refused: …` | no | Follow the remedy in the message, then clear the task. |
| `forget: failed: …` | twice | git, DVC or a server failed. Repair it, then clear the task. |
| a traceback | twice | A bug, or no memory or disk space. Clear the task. If it fails again, report it. |
| the task timed out | twice | Clear the task. What it has done stays done. |

**More help.** docs/how-to/forget-a-user.md lists what is deleted and what is not.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from ops.dag_defaults import dag_defaults
from ops.operators import CommandOperator

USER_IDS_PARAM = Param(
    type="string",
    minLength=1,
    title="File of user ids",
    description="Path of a text file with one user id in each line.",
)

with DAG(
    "forget_user",
    description="Deletion of users from all that the pipeline keeps",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params={"user_ids": USER_IDS_PARAM},
    tags=["undercurrent", "privacy"],
    **dag_defaults(),
) as dag:
    CommandOperator(
        task_id="forget",
        options=["--user-ids", "{{ params.user_ids }}"],
        doc_md="Deletes the users of a file from landing files, tables, nights and the record.",
        pool="heavy",
        execution_timeout=timedelta(hours=6),
    )
