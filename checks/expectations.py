"""Expectations that Great Expectations does not have, each for pandas and for Spark."""

# ruff: noqa: N805 - Great Expectations passes the class to the functions of a metric

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine, SparkDFExecutionEngine
from great_expectations.expectations.expectation import (
    BatchExpectation,
    ColumnAggregateExpectation,
    ColumnMapExpectation,
)
from great_expectations.expectations.metrics import (
    ColumnAggregateMetricProvider,
    ColumnMapMetricProvider,
    column_aggregate_partial,
    column_aggregate_value,
    column_condition_partial,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 - the usual name in Spark code

NORM_TOLERANCE = 1e-3  # of vectors of unit length
NUM_EXAMPLES = 20  # of repeated keys
OTHER = "other"  # stands for all values that are not usual
MIN_SHARE = 1e-4  # stands for a share of zero, whose logarithm is infinite


class ColumnUsualValueCounts(ColumnAggregateMetricProvider):
    """The number of rows with each usual value, then the number with any other value."""

    metric_name = "column.usual_value_counts"
    value_keys = ("usual_shares",)

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, usual_shares: dict[str, float] | None, **_: Any) -> list[int]:
        counts = [int((column == value).sum()) for value in usual_shares or {}]
        return [*counts, int(column.count()) - sum(counts)]

    @column_aggregate_partial(engine=SparkDFExecutionEngine)
    def _spark(cls, column: Column, usual_shares: dict[str, float] | None, **_: Any) -> Column:
        usual = [F.count_if(column == value) for value in usual_shares or {}]
        other = F.count_if(~column.isin(list(usual_shares or {})))
        return F.array(*usual, other)


def population_stability_index(shares: Mapping[str, float], usual_shares: Mapping[str, float]) -> float:
    """Return the population stability index (PSI) of two distributions: Σ (p − q) · ln(p / q).

    Below 0.1 is stable. Above 0.25 is a large shift.

    Args:
        shares, usual_shares: value -> share. A missing value has the share 0.
    """
    pairs = [
        (max(shares.get(value, 0), MIN_SHARE), max(usual_shares.get(value, 0), MIN_SHARE))
        for value in sorted({*shares, *usual_shares})
    ]
    return math.fsum((p - q) * math.log(p / q) for p, q in pairs)


class ExpectColumnPsiToBeAtMost(ColumnAggregateExpectation):
    """Expect the distribution of a column of texts to be close to the usual one.

    Args:
        usual_shares: value -> usual share. None: unknown, so there is nothing to compare.
        max_value: the largest PSI.
    """

    usual_shares: dict[str, float] | None
    max_value: float

    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.usual_value_counts",)
    success_keys: ClassVar[tuple[str, ...]] = ("usual_shares", "max_value")

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        counts = metrics["column.usual_value_counts"]
        if self.usual_shares is None or not sum(counts):
            return _nothing_measured()
        values = [*self.usual_shares, OTHER]
        shares = {value: count / sum(counts) for value, count in zip(values, counts, strict=True)}
        psi = population_stability_index(shares, self.usual_shares)
        return _measured(psi, psi <= self.max_value, shares=shares)


class ExpectVolumeRatioToBeAtLeast(BatchExpectation):
    """Expect the number of rows to reach a share of the usual number.

    Args:
        usual_rows: the usual number. None: unknown, so there is nothing to compare.
        min_value: the smallest ratio.
    """

    usual_rows: float | None
    min_value: float

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.row_count",)
    success_keys: ClassVar[tuple[str, ...]] = ("usual_rows", "min_value")

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        if not self.usual_rows:
            return _nothing_measured()
        ratio = metrics["table.row_count"] / self.usual_rows
        return _measured(ratio, ratio >= self.min_value)


class ExpectRejectRateToBeAtMost(ColumnAggregateExpectation):
    """Expect few rejects, relative to the records from which they come.

    Args:
        reason: count the rejects with this reason. None: count all.
        num_records: number of the records. 0: there is nothing to measure.
        max_value: the largest rate.
    """

    reason: str | None = None
    num_records: int
    max_value: float

    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.value_counts",)
    success_keys: ClassVar[tuple[str, ...]] = ("reason", "num_records", "max_value")

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        if not self.num_records:
            return _nothing_measured()
        counts = metrics["column.value_counts"]
        rejects = counts.sum() if self.reason is None else counts.get(self.reason, 0)
        rate = float(rejects / self.num_records)
        return _measured(rate, rate <= self.max_value)


class RepeatedKeys(TableMetricProvider):
    """The number of rows whose key is that of another row, and examples of such keys.

    On Spark the keys are compared by 64-bit hashes, whose exchange is cheap. Among n keys the probability of
    a collision is about n² / 2⁶⁵. The metric of Great Expectations sorts all rows by their keys.
    """

    metric_name = "table.repeated_keys"
    value_keys = ("columns",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict,
        metric_value_kwargs: dict,
        **_: Any,
    ) -> tuple[int, list[dict]]:
        rows, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, MetricDomainTypes.TABLE)
        columns = metric_value_kwargs["columns"]
        repeated = rows.loc[rows.duplicated(columns, keep=False), columns]
        return len(repeated), repeated.drop_duplicates().head(NUM_EXAMPLES).to_dict("records")

    @metric_value(engine=SparkDFExecutionEngine)
    def _spark(
        cls,
        execution_engine: SparkDFExecutionEngine,
        metric_domain_kwargs: dict,
        metric_value_kwargs: dict,
        **_: Any,
    ) -> tuple[int, list[dict]]:
        rows, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, MetricDomainTypes.TABLE)
        columns = metric_value_kwargs["columns"]
        repeated = rows.groupBy(F.xxhash64(*columns)).count().where("count > 1")
        num_rows = sum(row[0] or 0 for row in repeated.agg(F.sum("count")).collect())
        if not num_rows:
            return 0, []
        examples = rows.groupBy(*columns).count().where("count > 1").select(*columns).limit(NUM_EXAMPLES)
        return num_rows, [row.asDict() for row in examples.collect()]


class ExpectKeyToBeUnique(BatchExpectation):
    """Expect no two rows to have the same key.

    Args:
        columns: the columns of the key.
    """

    columns: list[str]

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.row_count", "table.repeated_keys")
    success_keys: ClassVar[tuple[str, ...]] = ("columns",)

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        num_rows, (num_repeated, examples) = metrics["table.row_count"], metrics["table.repeated_keys"]
        counts = {
            "element_count": num_rows,
            "unexpected_count": num_repeated,
            "unexpected_percent": 100 * num_repeated / num_rows if num_rows else None,
            "partial_unexpected_list": examples,
        }
        return {"success": num_repeated == 0, "result": counts}


def _measured(value: float, success: bool, **details: Any) -> dict[str, Any]:
    return {"success": bool(success), "result": {"observed_value": float(value), "details": details}}


def _nothing_measured() -> dict[str, Any]:
    return {"success": True, "result": {"observed_value": None}}


class ColumnVectorWidths(ColumnAggregateMetricProvider):
    """The number of different widths of the vectors of a column."""

    metric_name = "column.num_vector_widths"

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> int:
        return int(column.dropna().map(len).nunique())

    @column_aggregate_partial(engine=SparkDFExecutionEngine)
    def _spark(cls, column: Column, **_: Any) -> Column:
        return F.size(F.collect_set(F.array_size(column)))


class ExpectNumVectorWidthsToBeAtMost(ColumnAggregateExpectation):
    """Expect the vectors of a column to have few different widths.

    Args:
        max_value: the largest number of different widths.
    """

    max_value: int

    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.num_vector_widths",)
    success_keys: ClassVar[tuple[str, ...]] = ("max_value",)

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        widths = metrics["column.num_vector_widths"]
        return _measured(widths, widths <= self.max_value) if widths else _nothing_measured()


class ColumnValuesValidVector(ColumnMapMetricProvider):
    """Whether a vector is finite and not zero. If `unit_length`, its norm must be 1."""

    condition_metric_name = "column_values.valid_vector"
    condition_value_keys = ("unit_length",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, unit_length: bool, **_: Any) -> pd.Series:
        norms = column.map(lambda vector: np.linalg.norm(np.asarray(vector, float))).astype(float)
        if unit_length:
            return (norms - 1).abs() <= NORM_TOLERANCE
        return (norms > 0) & (norms < math.inf)

    @column_condition_partial(engine=SparkDFExecutionEngine)
    def _spark(cls, column: Column, unit_length: bool, **_: Any) -> Column:
        squares = F.aggregate(column, F.lit(0.0), lambda total, x: total + x.cast("double") * x)
        norm = F.coalesce(F.sqrt(squares), F.lit(0.0))
        if unit_length:
            return F.abs(norm - 1) <= NORM_TOLERANCE
        return (norm > 0) & (norm < math.inf)


class ExpectVectorsToBeValid(ColumnMapExpectation):
    """Expect vectors that are finite and not zero.

    Args:
        unit_length: whether the norm must be 1, as of vectors of our own encoders.
    """

    unit_length: bool

    map_metric: ClassVar[str] = "column_values.valid_vector"
    success_keys: ClassVar[tuple[str, ...]] = ("unit_length", "mostly")
