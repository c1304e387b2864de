"""Commands about data: data sets, a first params.yaml, the tables of the lake, users and rejects."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from core import paths
from core.config import load_params
from core.errors import ServiceUnavailableError
from core.paths import parse_day
from undercurrent.commands.console import run_command
from undercurrent.commands.options import DEFAULT_PARAMS, ParamsOption

SECTION = "Data"


class Dataset(StrEnum):
    """Public data sets that can be imported."""

    kuairand = "kuairand"
    microlens = "microlens"
    movielens = "movielens"
    segmm = "segmm"
    tiktok = "tiktok"


app = typer.Typer()


@app.command("import-dataset", rich_help_panel=SECTION)
def import_dataset(
    source: Annotated[Dataset, typer.Option(help="The data set.")],
    path: Annotated[Path, typer.Option(help="Folder of the data set's own files. Nothing is downloaded.")],
    out: Annotated[Path | None, typer.Option(help="Landing folder. Default: UNDERCURRENT_LANDING.")] = None,
) -> None:
    """Convert a public data set to landing files.

    datasets/<source>.py documents each column.
    """
    from undercurrent.import_dataset import import_dataset as import_files

    def action() -> None:
        typer.echo("\n".join(import_files(source.value, path, (out or paths.local_landing()).resolve())))

    run_command("import-dataset", action)


@app.command(rich_help_panel=SECTION)
def init(
    landing: Annotated[Path, typer.Option(metavar="DIR", help="Landing folder.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("params.yaml"),
    night: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Default: the newest day with events.")
    ] = None,
) -> None:
    """Propose params.yaml for a landing folder.

    The file holds only what differs from the project's params.yaml: the night, late days, encoders, profile
    columns, contexts and sources that the data has.
    """
    from undercurrent.init import write_params

    def action() -> None:
        typer.echo("\n".join(write_params(landing.resolve(), out, parse_day(night) if night else None)))

    run_command("init", action)


@app.command(rich_help_panel=SECTION)
def maintain(
    keep_days: Annotated[
        int, typer.Option(min=0, help="Days that a replaced version of a table stays readable.")
    ] = 7,
    min_age_hours: Annotated[
        int, typer.Option(min=1, help="A younger file may belong to a running step, and is not deleted.")
    ] = 24,
    target_mib: Annotated[int, typer.Option(min=1, help="Size of a joined file.")] = 128,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
) -> None:
    """Join small files of the lake, expire old versions of its tables, and delete files that no table needs.

    The rows of the tables do not change. A night may run at the same time.
    """
    from lake.maintenance import MaintenancePolicy
    from undercurrent.maintain import format_results
    from undercurrent.maintain import maintain as maintain_tables

    def action() -> None:
        policy = MaintenancePolicy(target_mib << 20, timedelta(keep_days), timedelta(hours=min_age_hours))
        typer.echo(format_results(maintain_tables(policy, dry_run)))
        if dry_run:
            typer.echo("dry run: nothing was changed")

    run_command("maintain", action)


@app.command(rich_help_panel=SECTION)
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
) -> None:
    """Bring tables that an older version of the code created to the present schema.

    Rows do not change. An added column is empty in them. Run no night at the same time. A killed migration
    leaves its table as it was.
    """
    from undercurrent.migrate import format_migrations
    from undercurrent.migrate import migrate as migrate_tables

    def action() -> None:
        typer.echo(format_migrations(migrate_tables(dry_run)))

    run_command("migrate", action)


@app.command(rich_help_panel=SECTION)
def forget(
    user_id: Annotated[list[str] | None, typer.Option(metavar="ID", help="May be repeated.")] = None,
    user_ids: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with one id in each line.")
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Delete users from landing files, tables, the files of all nights and the record.

    Old versions of the tables are deleted too. A certificate in `forgotten/` of UNDERCURRENT_HOME holds
    counts and digests, and a keyed hash instead of each id. Run no night at the same time. A killed deletion
    continues when the command is run again.
    """
    from undercurrent.forget import forget as forget_users
    from undercurrent.forget import format_summary, read_user_ids

    def action() -> None:
        ids = [*(user_id or []), *(read_user_ids(user_ids) if user_ids else [])]
        typer.echo(format_summary(forget_users(ids, load_params(params))))

    run_command("forget", action, (ServiceUnavailableError, RuntimeError))


@app.command(rich_help_panel=SECTION)
def replay(
    reason: Annotated[str, typer.Option(help="The reject reason, as in the table `rejects`.")],
    step: Annotated[
        str | None, typer.Option(help="Such as clean, embed or ingest.events. Default: all.")
    ] = None,
    day: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="The day that was processed. Default: all.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rejects to list.")] = 20,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List only.")] = False,
) -> None:
    """List rejects, and have their records processed again after their cause was repaired.

    The next night reads the landing folders, cleans the days or embeds the files again. A record that is
    still wrong is rejected again.
    """
    from lake.replay import RejectFilter
    from undercurrent.replay import format_plan, format_rejects
    from undercurrent.replay import replay as replay_rejects

    def action() -> None:
        wanted = RejectFilter(reason, step, parse_day(day, "--day") if day else None)
        rejects, plans = replay_rejects(wanted, limit, dry_run)
        typer.echo("\n".join([format_rejects(rejects), *map(format_plan, plans)]).lstrip())
        typer.echo("dry run: nothing was marked" if dry_run else "the next night processes them again")

    run_command("replay", action)
