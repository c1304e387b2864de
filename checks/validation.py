"""Great Expectations: runs the suites on the figures, keeps every validation, and writes the Data Docs.

Each table's figures are one row, so a suite costs milliseconds however large the table is. The validations
and suites are kept in `store`, the pages in `site`; a night that is checked again adds pages and loses none.
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

from checks.figures import Figures
from checks.outcome import Finding
from checks.pages import finish
from checks.suites import Expectation

SEVERITY = {"error": FailureSeverity.CRITICAL, "warn": FailureSeverity.WARNING}


def validate(
    expectations: Sequence[Expectation], measured: Mapping[str, Figures], run: str, store: Path, site: Path
) -> list[Finding]:
    """Validate every measured expectation and write the Data Docs of it.

    Args:
        measured: table -> its figures.
        run: name of the run in the Data Docs (the night).
        store, site: folders of the validations and of the pages; made when missing.

    Returns:
        One finding an expectation, in their order.
    """
    context = _context(store, site)
    source = context.data_sources.add_pandas("lake")
    run_id = RunIdentifier(run, datetime.now(UTC))
    observed: dict[Expectation, Finding] = {}
    for table, figures in measured.items():
        known = [e for e in expectations if e.table == table and figures[e.figure] is not None]
        success = _run(context, source, table, known, figures, run_id)
        for e in known:
            observed[e] = Finding(e, figures[e.figure], "passed" if success[e.figure] else "failed")
    finish(site, store)
    return [observed.get(e, Finding(e, None, "skipped")) for e in expectations]


def _run(
    context: AbstractDataContext,
    source: PandasDatasource,
    table: str,
    expectations: Sequence[Expectation],
    figures: Figures,
    run_id: RunIdentifier,
) -> dict[str, bool]:
    """Figure -> success of one table's suite on its one-row frame, as a checkpoint with Data Docs."""
    batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("figures")
    suite = gx.ExpectationSuite(name=table, expectations=[_native(e) for e in expectations])
    definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add_or_update(suite))
    checkpoint = gx.Checkpoint(
        name=table,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[UpdateDataDocsAction(name="data_docs")],
    )
    frame = pd.DataFrame([{name: value for name, value in figures.items() if value is not None}])
    result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame}, run_id=run_id)
    (validation,) = result.run_results.values()
    return dict(_success(result) for result in validation.results)


def _native(e: Expectation) -> ExpectColumnMaxToBeBetween:
    """On a single row the maximum is the figure itself, and the Data Docs show it as the observed value."""
    return ExpectColumnMaxToBeBetween(
        column=e.figure,
        min_value=e.low,
        max_value=e.high,
        severity=SEVERITY[e.severity],
        description=f"{e.meaning}: {e.bound} ({e.severity})",
    )


def _success(result: Any) -> tuple[str, bool]:
    """An expectation's figure and whether it was met; one that could not be evaluated is a bug of ours."""
    if result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{result.expectation_config} was not evaluated: {result.exception_info}")
    return result.expectation_config.kwargs["column"], bool(result.success)


def _context(store: Path, site: Path) -> AbstractDataContext:
    """A context that knows only this run; what it writes stays on disk. Nothing is sent anywhere."""
    config = DataContextConfig(
        stores={
            "expectations": _on_disk("ExpectationsStore", store / "expectations"),
            "validations": _on_disk("ValidationResultsStore", store / "validations"),
            "checkpoints": _in_memory("CheckpointStore"),
            "validation_definition_store": _in_memory("ValidationDefinitionStore"),  # its name is fixed
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
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},  # checks.pages overwrites it
            }
        },
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _folder(path: Path) -> dict[str, str]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(path)}


def _on_disk(kind: str, path: Path) -> dict[str, Any]:
    return {"class_name": kind, "store_backend": _folder(path)}


def _in_memory(kind: str) -> dict[str, Any]:
    return {"class_name": kind, "store_backend": {"class_name": "InMemoryStoreBackend"}}
