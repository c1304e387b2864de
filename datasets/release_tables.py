"""Read the tables of a release. A row that cannot be used is counted by its reason, not hidden.

Rows in = kept + rejected. The reasons are:

| reason | meaning |
|---|---|
| `wrong_number_of_cells` | The row has more or fewer cells than the table has columns. |
| `not_utf8` | A cell is not UTF-8 text, although the file is. |
| `missing_<column>` | A required cell is empty. |
| `invalid_<column>` | A cell has another type than its column, or is beyond its bounds. |
| `duplicate_<column>` | An earlier row has the same id. |
| `unknown_<column>` | Another file of the release does not have the id. |
| `conflicting_<column>` | Most rows with the same id have another value. |
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import csv

from core.errors import InputError

Record = dict[str, Any]
CellType = type[pl.DataType]  # pl.String, pl.Int64, pl.Float64 or pl.Date

END_OF_TIME = 253_402_300_800  # the year 10000, in seconds since 1970
REPLACEMENT = "\ufffd"  # stands for bytes that are not text
UNIT_SEPARATOR = "\x1f"
VALUE = "_value"
NOT_FINITE = r"^\s*[+-]?(nan|inf|infinity)\s*$"  # no number, as pandas and numpy write it


@dataclass(frozen=True)
class TableForm:
    """How the cells of a text table are separated and encoded.

    Attributes:
        separator: The text between two cells.
        is_quoted: Whether a cell in double quotes may hold separators and line ends.
        encoding: `utf-8` or `latin-1`.
        header: The names of all columns, if the file has no line with them.
    """

    separator: str = ","
    is_quoted: bool = True
    encoding: str = "utf-8"
    header: Sequence[str] = ()


@dataclass(frozen=True)
class ReleaseTable:
    """The kept rows of a table of a release, and how many rows were rejected for each reason.

    Attributes:
        path: The file.
        rows: The kept rows, in the order of the file.
        rejected: Reason -> rows.
    """

    path: Path
    rows: pl.DataFrame
    rejected: Counter[str] = field(default_factory=Counter)

    def reject(self, condition: pl.Expr, reason: str) -> "ReleaseTable":
        """Reject the kept rows that meet a condition. A condition that is null is not met."""
        is_rejected = self.rows.select(condition.fill_null(False).alias("is_rejected")).to_series()
        if not (count := int(is_rejected.sum())):
            return self
        return replace(
            self, rows=self.rows.filter(~is_rejected), rejected=self.rejected + Counter({reason: count})
        )

    def reject_repeated(self, *columns: str) -> "ReleaseTable":
        """Keep the first row of each id, which may have several columns."""
        return self.reject(~pl.struct(columns).is_first_distinct(), f"duplicate_{'_'.join(columns)}")

    def reject_unknown(self, column: str, table: "ReleaseTable") -> "ReleaseTable":
        """Reject the rows whose id is in no row of another table."""
        known = table.rows[column].unique()
        return self.reject(~pl.col(column).is_in(known.implode()), f"unknown_{column}")

    def reject_invalid_time(self, column: str, units_per_second: int = 1) -> "ReleaseTable":
        """Reject times before 1970 or after the year 9999, counted since 1970."""
        is_valid = pl.col(column).is_between(0, END_OF_TIME * units_per_second, closed="left")
        return self.reject(~is_valid, f"invalid_{column}")

    def select(self, *columns: pl.Expr) -> "ReleaseTable":
        """Return the table with other columns, made from those of each row."""
        return replace(self, rows=self.rows.select(columns))

    def records(self) -> list[Record]:
        """Return the kept rows as records."""
        return self.rows.to_dicts()

    def summary(self) -> str:
        """Return the counts as `<file>: N rows in = N kept + N rejected (N <reason>, …)`."""
        kept, rejected = len(self.rows), self.rejected.total()
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.rejected.items()))
        counts = f"{kept + rejected} rows in = {kept} kept + {rejected} rejected"
        return f"{self.path.name}: {counts}" + (f" ({reasons})" if reasons else "")

    def require_complete(self) -> "ReleaseTable":
        """Return the table if no row was rejected. A comparison with published figures needs all rows.

        Raises:
            InputError: A row was rejected.
        """
        if self.rejected:
            raise InputError(f"{self.path.parent}/{self.summary()}; get the release's own file")
        return self


def read_table(
    path: Path,
    columns: Mapping[str, CellType],
    form: TableForm = TableForm(),
    optional: Collection[str] = (),
) -> ReleaseTable:
    """Read the named columns of a text table.

    Args:
        path: The file.
        columns: Column of the file -> type of its cells.
        form: Separator, quotes and encoding.
        optional: Columns that may have empty cells. An empty cell is null. In a column of numbers, NaN and
            infinity are empty too.

    Returns:
        The table. A column loses what follows a colon in its name, as in `user_id:token` of RecBole.

    Raises:
        InputError: The file or a column is missing, or no row can be used.
    """
    table = _read_cells(path, list(columns), form)
    for column in columns:
        table = table.reject(pl.col(column).str.contains(REPLACEMENT, literal=True), "not_utf8")
    table = replace(table, rows=table.rows.rename({column: _short_name(column) for column in columns}))
    for column, cell_type in columns.items():
        table = _parse_column(table, _short_name(column), cell_type, column in optional)
    if table.rows.is_empty():
        raise InputError(f"{path} has no rows to use, {table.summary()}; get the release's own file")
    return table


def _read_cells(path: Path, columns: list[str], form: TableForm) -> ReleaseTable:
    """Return the texts of the columns. Rows that do not fit the table are counted.

    Raises:
        InputError: The file or a column is missing.
    """
    malformed = Counter[str]()

    def count_malformed(_: csv.InvalidRow) -> str:
        malformed["wrong_number_of_cells"] += 1
        return "skip"

    separator = form.separator if len(form.separator) == 1 else UNIT_SEPARATOR
    try:
        text = path.read_bytes().decode(form.encoding, errors="replace").removeprefix("\ufeff")
        cells = csv.read_csv(
            pa.BufferReader(text.replace(form.separator, separator).encode()),
            read_options=csv.ReadOptions(column_names=list(form.header) or None, use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter=separator,
                quote_char='"' if form.is_quoted else False,
                newlines_in_values=form.is_quoted,
                invalid_row_handler=count_malformed,
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=columns,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowException, OSError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is not the expected table ({reason}); it needs {', '.join(columns)}"
        ) from None
    return ReleaseTable(path, pl.DataFrame(cells), malformed)


def _short_name(column: str) -> str:
    return column.partition(":")[0]


def _parse_column(table: ReleaseTable, name: str, cell_type: CellType, is_optional: bool) -> ReleaseTable:
    """Convert the texts of a column, and reject the rows that have none or an invalid one."""
    rows = table.rows.with_columns(_value(pl.col(name), cell_type).alias(VALUE))
    is_missing, value = pl.col(name).is_null(), pl.col(VALUE)
    if cell_type in (pl.Int64, pl.Float64):
        is_missing |= pl.col(name).str.to_lowercase().str.contains(NOT_FINITE)
    table = replace(table, rows=rows)
    if not is_optional:
        table = table.reject(is_missing, f"missing_{name}")
    table = table.reject(~is_missing & value.is_null(), f"invalid_{name}")
    values = table.rows.with_columns(pl.when(~is_missing).then(value).alias(name))
    return replace(table, rows=values.drop(VALUE))


def _value(text: pl.Expr, cell_type: CellType) -> pl.Expr:
    """Return the value of a cell, or null if it has none."""
    if cell_type == pl.String:
        return text
    if cell_type == pl.Date:
        return text.str.to_date("%Y-%m-%d", strict=False)
    return text.str.strip_chars().cast(cell_type, strict=False)
