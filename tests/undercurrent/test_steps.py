import pytest

from core.errors import DONE, InputError
from core.step_graph import STEPS
from tests.support.command_line import undercurrent
from undercurrent.steps import describe_steps, select_steps


def test_every_step_is_listed_on_one_line_with_its_inputs_and_outputs(capsys):
    assert undercurrent("steps") == DONE
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["step", "waits"]
    assert [line.split()[0] for line in lines] == list(STEPS)
    align = lines[list(STEPS).index("align")]
    assert align.split()[:4] == ["align", "snapshot", "snapshot/", "align/"]
    assert "Align the modalities" in align


def test_every_step_has_inputs_outputs_and_a_summary():
    assert all(step.reads and step.writes and step.summary for step in describe_steps())


def test_steps_are_selected_from_the_first_to_the_last():
    assert select_steps() == list(STEPS)
    assert select_steps("gate") == ["gate", "promote", "record", "report"]
    assert select_steps(last="clean") == ["ingest", "clean"]
    assert select_steps("check", "check") == ["check"]


def test_a_first_step_after_the_last_is_refused():
    with pytest.raises(InputError, match="--from is train, which comes after --until align; exchange"):
        select_steps("train", "align")
