from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.config import load_params
from core.errors import DONE, REFUSED_INPUT
from tests.support.command_line import undercurrent
from tests.support.landing_files import DAY, at, event, land, small_platform


def _init(landing: Path, out: Path, *more: str) -> dict[str, Any]:
    assert undercurrent("init", "--landing", str(landing), "--out", str(out), *more) == DONE
    load_params(out)
    proposed = yaml.safe_load(out.read_text())
    assert (out.parent / proposed.pop("base")).resolve().name == "params.yaml"
    return proposed


def test_only_what_differs_from_the_defaults_is_proposed(landing, tmp_path):
    small_platform(landing)
    proposed = _init(landing, tmp_path / "mine.yaml")
    assert proposed["night"] == str(DAY)
    assert proposed["clean"] == {"late_days": 0}
    assert proposed["embed"] == {"visual": "none", "audio": "none"}
    assert proposed["check"]["min_rows"] < 20
    assert proposed["snapshot"] == {"profile_categories": ["age_band"]}  # the other columns have one value
    assert "creator_affinity" not in proposed["train"]["model"]["sources"]
    assert "category_affinity" in proposed["train"]["model"]["sources"]
    assert proposed["train"]["model"]["contexts"] == []


def test_columns_with_many_values_are_numbers_or_are_left_out(landing, tmp_path, capsys):
    small_platform(landing)
    users = [
        {"user_id": f"u{n}", "height": 150 + n, "nickname": f"n{n}", "plan": "ab"[n % 2]} for n in range(60)
    ]
    land(landing, "users", DAY, users, "more.jsonl")
    snapshot = _init(landing, tmp_path / "mine.yaml")["snapshot"]
    assert snapshot == {"profile_categories": ["age_band", "plan"], "profile_numbers": ["height"]}
    assert "many values: city_tier, device, nickname" in capsys.readouterr().out


def test_media_landed_vectors_and_contexts_select_their_parameters(landing, tmp_path):
    small_platform(landing)
    land(landing, "videos", DAY, [{"video_id": "v1", "media_uri": "a.mp4", "author_id": "a"}], "more.jsonl")
    vector = {"video_id": "v1", "modality": "visual", "vector": [1.0, 2.0]}
    land(landing, "features", DAY, [vector])
    seen = event(9999, "u1", "v1", "view", at(DAY, 9), context={"device": "tv"})
    land(landing, "events", DAY, [seen], "more.jsonl")
    proposed = _init(landing, tmp_path / "mine.yaml")
    assert proposed["embed"] == {"visual": "landed"}
    assert proposed["train"]["model"] == {"contexts": ["device"]}


def test_late_days_cover_nearly_all_late_events(landing, tmp_path):
    small_platform(landing)
    late = [event(9000 + n, "u1", "v1", "view", at(DAY - timedelta(3), 9)) for n in range(5)]
    land(landing, "events", DAY, late, "late.jsonl")
    assert _init(landing, tmp_path / "mine.yaml")["clean"] == {"late_days": 3}


def test_an_earlier_night_can_be_chosen(landing, tmp_path):
    small_platform(landing)
    night = str(DAY - timedelta(1))
    proposed = _init(landing, tmp_path / "mine.yaml", "--night", night)
    assert (proposed["night"], proposed["sequences"]) == (night, {"validation_days": 1})


@pytest.mark.parametrize(
    ("days", "night", "complaint"),
    [
        (2, None, "has folders of 2 days; a night needs events"),
        (4, date(2026, 4, 1), "has folders of 4 days up to 2026-04-01"),
    ],
)
def test_too_few_days_are_refused(landing, tmp_path, capsys, days, night, complaint):
    small_platform(landing, days)
    more = ["--night", str(night)] if night else []
    out = tmp_path / "mine.yaml"
    assert undercurrent("init", "--landing", str(landing), "--out", str(out), *more) == REFUSED_INPUT
    assert complaint in capsys.readouterr().err
    assert not out.exists()


def test_an_existing_file_is_kept(landing, tmp_path, capsys):
    small_platform(landing)
    out = tmp_path / "mine.yaml"
    out.write_text("mine")
    assert undercurrent("init", "--landing", str(landing), "--out", str(out)) == REFUSED_INPUT
    assert "exists; move it away" in capsys.readouterr().err
    assert out.read_text() == "mine"
