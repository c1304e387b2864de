"""What the trigger form of `nightly` refuses."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from core.errors import InputError
from dags import nightly
from ops.operators import StepOperator


def form(**values: Any) -> dict[str, Any]:
    """The params of a run, checked as Airflow checks them before it creates the run."""
    params = ParamsDict(deepcopy(nightly.PARAMS), suppress_exception=False)
    params.update(values)
    return params.validate()


@pytest.mark.parametrize(
    "values",
    [
        {"night": "2026-02-30"},
        {"night": "2026-3-9"},
        {"night": 20260309},
        {"night": "2026-03-09; ls"},
        {"steps": []},
        {"steps": ["ingst"]},
        {"model_half_from": "tomorrow"},
        {"force": "yes"},
    ],
)
def test_a_bad_value_is_refused_before_the_run_is_created(values: dict[str, Any]) -> None:
    with pytest.raises((ParamValidationError, ValueError)):
        form(**values)


def test_empty_and_full_forms_are_accepted() -> None:
    assert form()["night"] is None
    assert form(night="2026-03-09", steps=["ingest"], model_half_from="2026-03-10", force=True)["force"]


def test_a_misspelled_param_fails_each_step() -> None:
    run = SimpleNamespace(conf={"night": "2026-03-09", "step": ["check"]}, partition_key=None)
    context = {"dag": nightly.dag, "dag_run": run, "params": form(**run.conf)}
    with pytest.raises(InputError, match=r"^step is no parameter of the DAG nightly; write steps$"):
        StepOperator(task_id="promote").arguments(context)


def test_a_wrong_partition_key_is_named() -> None:
    run = SimpleNamespace(conf=None, partition_key="2026-3-9")
    context = {"dag": nightly.dag, "dag_run": run, "params": form()}
    with pytest.raises(InputError, match=r"^partition key: '2026-3-9' is not a date"):
        StepOperator(task_id="ingest").arguments(context)
