"""Run the expectations with Great Expectations, store every validation and write the Data Docs.

A suite checks one row, the metrics of a table. So it takes milliseconds, whatever the size of the table. A
night that is checked again adds pages and deletes none.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.checkpoint import UpdateDataDocsAction
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context import AbstractDataContext
from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig
from great_expectations.datasource.fluent import PandasDatasource
from great_expectations.expectations import ExpectColumnMaxToBeBetween
from great_expectations.expectations.metadata_types import FailureSeverity

from checks.data_docs import finish_data_docs
from checks.outcome import ExpectationResult
from checks.suites import Expectation
from checks.table_metrics import TableMetrics

SEVERITY = {"error": FailureSeverity.CRITICAL, "warn": FailureSeverity.WARNING}


def validate(
    expectations: Sequence[Expectation],
    metrics: Mapping[str, TableMetrics],
    run_name: str,
    store: Path,
    site: Path,
) -> list[ExpectationResult]:
    """Validate all expectations whose metric was measured, and write the Data Docs.

    Args:
        expectations: the expectations.
        metrics: table -> its metrics.
        run_name: name of the run in the Data Docs, which is the night.
        store: folder of suites and validations. It is created if it is missing.
        site: folder of the pages. It is created if it is missing.

    Returns:
        One result for each expectation, in the same order.
    """
    context = _context(store, site)
    source = context.data_sources.add_pandas("lake")
    run_id = RunIdentifier(run_name, datetime.now(UTC))
    results: dict[Expectation, ExpectationResult] = {}
    for table, table_metrics in metrics.items():
        known = [e for e in expectations if e.table == table and table_metrics[e.metric] is not None]
        success = _run_suite(context, source, table, known, table_metrics, run_id)
        for e in known:
            results[e] = ExpectationResult(
                e, table_metrics[e.metric], "passed" if success[e.metric] else "failed"
            )
    finish_data_docs(site, store)
    return [results.get(e, ExpectationResult(e, None, "skipped")) for e in expectations]


def _run_suite(
    context: AbstractDataContext,
    source: PandasDatasource,
    table: str,
    expectations: Sequence[Expectation],
    metrics: TableMetrics,
    run_id: RunIdentifier,
) -> dict[str, bool]:
    """Run the suite of one table as a checkpoint with Data Docs. Return metric -> success."""
    batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("metrics")
    suite = gx.ExpectationSuite(name=table, expectations=[_to_gx(e) for e in expectations])
    definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add_or_update(suite))
    checkpoint = gx.Checkpoint(
        name=table,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[UpdateDataDocsAction(name="data_docs")],
    )
    frame = pd.DataFrame([{name: value for name, value in metrics.items() if value is not None}])
    result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame}, run_id=run_id)
    (validation,) = result.run_results.values()
    return dict(_metric_success(result) for result in validation.results)


def _to_gx(e: Expectation) -> ExpectColumnMaxToBeBetween:
    """Express an expectation as bounds of a column's maximum.

    The frame has one row, so its maximum is the metric. The Data Docs show it as the observed value.
    """
    return ExpectColumnMaxToBeBetween(
        column=e.metric,
        min_value=e.min_value,
        max_value=e.max_value,
        severity=SEVERITY[e.severity],
        description=f"{e.description}: {e.bound} ({e.severity})",
    )


def _metric_success(result: Any) -> tuple[str, bool]:
    """Return an expectation's metric and success. An expectation that was not evaluated is a bug."""
    if result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{result.expectation_config} was not evaluated: {result.exception_info}")
    return result.expectation_config.kwargs["column"], bool(result.success)


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
                "store_backend": _folder(site),
                # `checks.data_docs` overwrites this index.
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            }
        },
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _folder(path: Path) -> dict[str, str]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(path)}


def _on_disk(class_name: str, path: Path) -> dict[str, Any]:
    return {"class_name": class_name, "store_backend": _folder(path)}


def _in_memory(class_name: str) -> dict[str, Any]:
    return {"class_name": class_name, "store_backend": {"class_name": "InMemoryStoreBackend"}}
