"""What a person sees who approves a promotion. Their answers are tested in tests/ops/test_airflow.py."""

from dataclasses import replace
from datetime import date
from pathlib import Path

from core.config import load_params
from core.paths import PROJECT_ROOT
from ops.approval import approval_card
from tasks import gate
from tests.support.workspaces import sample_night

GREY = replace(load_params(PROJECT_ROOT / "params.yaml").gate, approval_margin=1.0)


def judged_night(home: Path, day: date) -> Path:
    """A night whose verdict lies in the grey margin, before `promote`."""
    night = sample_night(home / "nights" / str(day), day=day, champion=None)
    gate.run(GREY, night)
    return night.workspace


def test_the_card_shows_verdict_intervals_slices_cost_and_model(home: Path) -> None:
    card = approval_card(judged_night(home, date(2026, 3, 12)))
    assert "A person must approve it." in card
    for heading in ("Slices", "Cost", "Model card"):
        assert f"**{heading}**" in card
    assert "| new_users |" in card
    assert "| train |" in card
