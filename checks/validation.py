"""Run the suites with Great Expectations, store every validation and write the Data Docs.

The first pass counts: Great Expectations computes most counts of a suite in one job. A second pass fetches
examples, only for the expectations that failed. So a good night costs no search for examples.

A night that is checked again adds pages and deletes none.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context import AbstractDataContext
from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.validator.validation_statistics import calc_validation_statistics
from pyspark.sql import DataFrame

from checks.data_docs import RENDERER, VIEW, write_index
from checks.night_tables import NightTables
from checks.outcome import ExpectationResult
from checks.suite import Suite, metric_of

COUNTS = {"result_format": "BASIC", "partial_unexpected_count": 0}
NUM_EXAMPLES = 20
USER_COLUMNS = ("user_id", "record")  # `record` is the text of a reject
HIDDEN = "hidden"


def validate(
    suites: Sequence[Suite],
    tables: NightTables,
    run_name: str,
    store: Path,
    site: Path,
    hide_users: bool = False,
) -> list[ExpectationResult]:
    """Validate the suites and write the Data Docs.

    Args:
        suites: the suites.
        tables: the night's tables.
        run_name: name of the run in the Data Docs, which is the night.
        store: folder of suites and validations. It is created if it is missing.
        site: folder of the pages. It is created if it is missing.
        hide_users: whether examples show `hidden` in place of ids of users and of rejected records.

    Returns:
        One result for each expectation, in the order of the suites.
    """
    context = _context(store, site)
    validations = [_validate_suite(context, suite, tables, hide_users) for suite in suites]
    _publish(context, validations, RunIdentifier(run_name, datetime.now(UTC)))
    write_index(site, store)
    return [
        _to_result(validation.suite_name, result)
        for validation in validations
        for result in validation.results
    ]


def _validate_suite(
    context: AbstractDataContext, suite: Suite, tables: NightTables, hide_users: bool
) -> ExpectationSuiteValidationResult:
    batch = _batch(context, suite.table, tables.select(suite.rows, suite.reads))
    gx_suite = gx.ExpectationSuite(name=suite.table, expectations=[copy(e) for e in suite.expectations])
    validation = batch.validate(context.suites.add_or_update(gx_suite), result_format=COUNTS)
    examples = {
        "result_format": "SUMMARY",
        "partial_unexpected_count": NUM_EXAMPLES,
        "unexpected_index_column_names": list(suite.row_id),
    }
    evaluated = {
        _config(result).meta["metric"]: result for result in map(_require_evaluated, validation.results)
    }
    in_order = [evaluated[metric_of(expectation)] for expectation in suite.expectations]
    detailed = [r if r.success else _with_examples(batch, r, examples, hide_users) for r in in_order]
    validation.results = [_pass_if_skipped(suite.table, result) for result in detailed]
    statistics = calc_validation_statistics(validation.results)._asdict()
    validation.success = statistics.pop("success")
    validation.statistics = statistics
    return validation


def _pass_if_skipped(table: str, result: ExpectationValidationResult) -> ExpectationValidationResult:
    """Mark a result as passed if there was nothing to measure, so that the pages do not call it failed."""
    if _to_result(table, result).outcome == "skipped":
        result.success = True
    return result


def _batch(context: AbstractDataContext, table: str, rows: pd.DataFrame | DataFrame) -> Batch:
    """Return the rows as a batch of the engine that holds them."""
    sources = context.data_sources
    source = (
        sources.add_or_update_pandas("in_process")
        if isinstance(rows, pd.DataFrame)
        else sources.add_or_update_spark("spark", persist=False)  # a copy of a large table fills the memory
    )
    definition = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("night")
    return definition.get_batch(batch_parameters={"dataframe": rows})


def _with_examples(
    batch: Batch, result: ExpectationValidationResult, result_format: dict[str, Any], hide_users: bool
) -> ExpectationValidationResult:
    """Validate a failed expectation again, with examples of unexpected rows."""
    detailed = _require_evaluated(
        batch.validate(_config(result).to_domain_obj(), result_format=result_format)
    )
    if examples := detailed.result.get("partial_unexpected_index_list"):
        detailed.result["unexpected_index_list"] = examples  # the pages show row ids of this list only
    if hide_users:
        detailed.result = {name: _without_users(value) for name, value in detailed.result.items()}
    return detailed


def _without_users(value: Any) -> Any:
    """Return a part of a result with `hidden` in all columns that name users."""
    if isinstance(value, dict):
        return {k: HIDDEN if k in USER_COLUMNS else _without_users(v) for k, v in value.items()}
    return [_without_users(item) for item in value] if isinstance(value, list) else value


def _require_evaluated(result: ExpectationValidationResult) -> ExpectationValidationResult:
    """Return the result. An expectation that was not evaluated is a bug."""
    # Great Expectations reports one error of the expectation, or one for each of its metrics.
    errors = [result.exception_info, *result.exception_info.values()]
    if any(isinstance(error, dict) and error.get("raised_exception") for error in errors):
        raise RuntimeError(f"{result.expectation_config} was not evaluated: {result.exception_info}")
    return result


def _publish(
    context: AbstractDataContext,
    validations: Sequence[ExpectationSuiteValidationResult],
    run_id: RunIdentifier,
) -> None:
    """Store the validations, and write their pages and those of their suites."""
    keys: list[Any] = []
    for validation in validations:
        validation.meta |= {"run_id": run_id, "validation_time": run_id.run_time}
        suite_key = ExpectationSuiteIdentifier(validation.suite_name)
        key = ValidationResultIdentifier(suite_key, run_id, "night")
        context.validation_results_store.store_validation_results(validation, key, suite_key)
        keys += [suite_key, key]
    context.build_data_docs(resource_identifiers=keys, build_index=False)


def _to_result(table: str, result: ExpectationValidationResult) -> ExpectationResult:
    """Summarise a result by one value and its bounds.

    The value of an expectation on rows is the number of unexpected rows, or their share if it allows some.
    """
    meta, arguments = _config(result).meta, _config(result).kwargs
    low, high = arguments.get("min_value"), arguments.get("max_value")
    value = result.result.get("observed_value")
    if "unexpected_count" in result.result:
        value, low, high = _unexpected_rows(result.result, arguments.get("mostly", 1))
    return ExpectationResult(
        table=table,
        metric=meta["metric"],
        description=meta["description"],
        severity=meta["severity"],
        value=value,
        min_value=low,
        max_value=high,
        outcome="skipped" if value is None else "passed" if result.success else "failed",
    )


def _config(result: ExpectationValidationResult) -> ExpectationConfiguration:
    assert result.expectation_config is not None  # it is set by each validation
    return result.expectation_config


def _unexpected_rows(counts: Mapping[str, Any], mostly: float) -> tuple[float | None, None, float | None]:
    """Return the value and the bounds of an expectation on rows. The value is None if there are no rows."""
    rows = counts["element_count"] - counts.get("missing_count", 0)
    if not rows:
        return None, None, None
    unexpected, max_share = counts["unexpected_count"], round(1 - mostly, 12)
    return (unexpected / rows, None, max_share) if max_share else (unexpected, None, 0)


def _context(store: Path, site: Path) -> AbstractDataContext:
    """Return a context for this run only. It writes to `store` and `site`, and sends nothing anywhere."""
    config = DataContextConfig(
        stores={
            "expectations": _on_disk("ExpectationsStore", store / "expectations"),
            "validations": _on_disk("ValidationResultsStore", store / "validations"),
            "checkpoints": _in_memory("CheckpointStore"),
            "validation_definition_store": _in_memory("ValidationDefinitionStore"),  # GX requires this name
        },
        expectations_store_name="expectations",
        validation_results_store_name="validations",
        checkpoint_store_name="checkpoints",
        data_docs_sites={
            "nights": {
                "class_name": "SiteBuilder",
                "site_name": "Undercurrent: data checks by night",
                "show_how_to_buttons": False,
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
                "site_section_builders": {
                    "expectations": {"view": VIEW},
                    "validations": {"view": VIEW, "renderer": RENDERER},
                    "profiling": "None",
                },
            }
        },
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _on_disk(class_name: str, path: Path) -> dict[str, Any]:
    backend = {"module_name": "checks.stored_files", "class_name": "WholeFileBackend"}
    return {"class_name": class_name, "store_backend": {**backend, "base_directory": str(path)}}


def _in_memory(class_name: str) -> dict[str, Any]:
    return {"class_name": class_name, "store_backend": {"class_name": "InMemoryStoreBackend"}}
