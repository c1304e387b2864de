"""The approval of a promotion, answered through the API of a real Airflow."""

import json
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from core.config import load_params
from core.paths import APPROVAL_FILE, PROJECT_ROOT
from core.run_manifests import read_manifest
from ops import airflow_server
from ops.airflow_api import AirflowClient
from ops.airflow_server import DAG_ID
from ops.approval import APPROVE, REJECT, approval_card
from ops.supervisor import Supervisor
from ops.watch_run import watch_run
from tasks import gate
from tests.support.processes import free_port
from tests.support.workspaces import sample_night

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
# A person reads first. Airflow takes a task that is answered within a second for one that was killed, because
# the process that asked has not ended yet. It then asks again.
READING_SECONDS = 8
GREY = replace(PARAMS.gate, approval_margin=1.0)


def judged_night(home: Path, day: date) -> Path:
    """A night whose verdict lies in the grey margin, before `promote`."""
    night = sample_night(home / "nights" / str(day), day=day, champion=None)
    gate.run(GREY, night)
    return night.workspace


def run_promotion(api: AirflowClient, supervisor: Supervisor, day: date, answer: str | None) -> None:
    """Run `promote` of a night, and answer what Airflow asks."""
    run_id = f"approval-{day}"
    api.trigger_run(DAG_ID, run_id, {"steps": ["promote"]}, partition_key=str(day))
    supervisor.wait_for(
        lambda: api.approval_request(DAG_ID, run_id, "approval") is not None, "the request", 600
    )
    request = api.approval_request(DAG_ID, run_id, "approval")
    assert request is not None
    assert "| better_than_" in request["body"]
    if answer:
        time.sleep(READING_SECONDS)
        api.respond(DAG_ID, run_id, "approval", answer)
    assert watch_run(api, supervisor, DAG_ID, run_id) == "success"


@pytest.mark.timeout(900)
def test_only_an_approved_challenger_becomes_the_champion(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERCURRENT_APPROVAL_HOURS", "0.02")  # the answers below come earlier
    days = {REJECT: date(2026, 3, 10), None: date(2026, 3, 11), APPROVE: date(2026, 3, 12)}
    workspaces = {answer: judged_night(home, day) for answer, day in days.items()}
    with airflow_server.start(free_port()) as (api, supervisor):
        api.set_paused(DAG_ID, False)
        for answer, day in days.items():
            run_promotion(api, supervisor, day, answer)
        # Only a new champion is announced to the DAGs that wait for it.
        supervisor.wait_for(lambda: bool(api.asset_runs("undercurrent_model")), "the event", timeout=60)
        assert api.asset_runs("undercurrent_model") == [f"approval-{days[APPROVE]}"]
    outcomes = {a: read_manifest(w / "run_manifests", "promote")["facts"] for a, w in workspaces.items()}
    assert outcomes[REJECT]["outcome"] == "does not become champion: admin rejected it"
    assert outcomes[None]["outcome"] == "does not become champion: the time limit rejected it"
    assert outcomes[APPROVE]["outcome"] == "is now the champion; there was none before"
    assert json.loads((workspaces[APPROVE] / APPROVAL_FILE).read_text())["approved"] is True


def test_the_card_shows_verdict_intervals_slices_cost_and_model(home: Path) -> None:
    card = approval_card(judged_night(home, date(2026, 3, 12)))
    assert "A person must approve it." in card
    for heading in ("Slices", "Cost", "Model card"):
        assert f"**{heading}**" in card
    assert "| new_users |" in card
    assert "| train |" in card
