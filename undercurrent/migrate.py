"""Migration of the lake's tables to the schema of this version of the code."""

from collections.abc import Sequence

from core.tables import TABLES
from lake.client import Lake
from lake.migration import Migration, migrate_table, plan_migration


def migrate(dry_run: bool) -> list[Migration]:
    """Migrate all tables that an older version of the code created.

    Args:
        dry_run: Whether to change nothing.

    Returns:
        What was changed, or would be, in each table that is not up to date.

    Raises:
        InputError: A table cannot be migrated. Tables before it are migrated, and stay so.
    """
    lake = Lake()
    results = [plan_migration(lake, name) if dry_run else migrate_table(lake, name) for name in TABLES]
    return [result for result in results if result is not None]


def format_migrations(migrations: Sequence[Migration]) -> str:
    """Return one line for each table."""
    if not migrations:
        return "all tables are up to date"
    return "\n".join(map(_format_migration, migrations))


def _format_migration(migration: Migration) -> str:
    changes = {"added": migration.added, "removed": migration.removed, "widened": migration.widened}
    texts = [f"{word} {', '.join(columns)}" for word, columns in changes.items() if columns]
    columns = "; ".join(texts) or "no column changed"
    return f"{migration.table}: {columns}; {migration.files} files with {migration.rows} rows"
