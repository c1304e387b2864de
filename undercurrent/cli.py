"""The console script `undercurrent`: its commands and their options.

A command imports the module that does its work when it runs. So `--help` and completion answer at once.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from core import logs, paths, step_cli
from core.config import load_params
from core.errors import DONE, FAILED, REFUSED_INPUT, InputError, ServiceUnavailableError, explain_system_error
from core.paths import PROJECT_ROOT, Night, parse_day
from core.step_graph import STEPS

# The sections of `undercurrent --help`.
NIGHTS, MODELS, DATA = "Nights", "Models", "Data"


class CommandSections(TyperGroup):
    """The group of all commands. Its help lists them by section, in the order of registration."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections. A command without one is listed under Commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            section = getattr(command, "rich_help_panel", None) or "Commands"
            sections.setdefault(section, []).append(
                (name, command.get_short_help_str(100) if command else "")
            )
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=CommandSections,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run and watch the nights, and look after models and data.\n\nFirst `undercurrent doctor`, then"
    " `undercurrent night --date YYYY-MM-DD`.",
    epilog="Exit codes: 0 done, 1 failed, 2 refused input, 3 checks blocked the night.",
)


class Dataset(StrEnum):
    """Public data sets that can be imported."""

    kuairand = "kuairand"
    microlens = "microlens"
    movielens = "movielens"
    segmm = "segmm"
    tiktok = "tiktok"


Step = StrEnum("Step", {step: step for step in STEPS})  # type: ignore[misc]  # its values are the choices
ParamsOption = Annotated[Path, typer.Option(help="Parameter file.")]
NightOption = Annotated[
    str, typer.Option(metavar="YYYY-MM-DD", help="The day whose logs the night takes in.")
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the night's files. Default: nights/YYYY-MM-DD of UNDERCURRENT_HOME."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be read and written, and what is up to date.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _run(
    command: str,
    action: Callable[[], int | None],
    failures: tuple[type[Exception], ...] = (ServiceUnavailableError,),
) -> None:
    """Run a command, then exit. An error is printed as one sentence without credentials.

    Args:
        command: Name in the message.
        action: Returns the exit code. None is 0.
        failures: Errors that are reported in one sentence, in addition to `InputError`.
    """
    sys.excepthook = step_cli.print_redacted_traceback
    try:
        logs.start(command)
        code = action() or DONE
    except InputError as error:
        logs.write(f"{command}: refused: {error}", "ERROR")
        code = REFUSED_INPUT
    except failures as error:
        logs.write(f"{command}: failed: {error}", "ERROR")
        code = FAILED
    except Exception as error:
        if not (reason := explain_system_error(error)):
            raise
        logs.write(f"{command}: failed: {reason}", "ERROR")
        code = FAILED
    raise typer.Exit(code)


def _night(date: str, workspace: Path | None, params: Path) -> Night:
    day = parse_day(date)
    return Night(day, workspace.resolve() if workspace else paths.default_workspace(day), params.resolve())


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def _print_plan(night: Night, steps: list[str], as_json: bool = False) -> None:
    """Print what a run of these steps would read and write, and which of them are up to date."""
    from undercurrent.night import format_plan
    from undercurrent.step_state import plan_step

    params, commit = load_params(night.params_path), step_cli.code_commit()
    plan = [plan_step(night, step, params, commit) for step in steps]
    if as_json:
        _print_json({"night": night.day, "workspace": night.workspace, "steps": [asdict(p) for p in plan]})
    else:
        typer.echo(f"{format_plan(plan)}\ndry run: nothing was run; folders are in {night.workspace}")


@app.command(rich_help_panel=NIGHTS)
def steps(as_json: JsonOption = False) -> None:
    """List the steps of a night with their inputs and outputs."""
    from undercurrent.steps import describe_steps, format_steps

    def action() -> None:
        described = describe_steps()
        if as_json:
            _print_json([asdict(step) for step in described])
        else:
            typer.echo(format_steps(described))

    _run("steps", action)


@app.command(rich_help_panel=NIGHTS)
def run(
    step: Annotated[Step, typer.Argument(metavar="STEP", help="See `undercurrent steps`.")],
    night: NightOption,
    params: ParamsOption = PROJECT_ROOT / "params.yaml",
    workspace: WorkspaceOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Run one step of a night, as `python -m tasks.STEP` does."""
    from undercurrent.night import step_options

    def action() -> int:
        chosen = _night(night, workspace, params)
        if dry_run:
            _print_plan(chosen, [step.value])
            return DONE
        module = import_module(f"tasks.{step.value}")
        return step_cli.main(step.value, module.run, module.__doc__, step_options(chosen))

    _run("run", action)


@app.command(rich_help_panel=NIGHTS)
def night(
    date: Annotated[
        str,
        typer.Option(
            "--date", "--night", metavar="YYYY-MM-DD", help="The day whose logs the night takes in."
        ),
    ],
    first: Annotated[
        Step | None, typer.Option("--from", metavar="STEP", help="The first step. Default: ingest.")
    ] = None,
    last: Annotated[
        Step | None, typer.Option("--until", metavar="STEP", help="The last step. Default: report.")
    ] = None,
    params: ParamsOption = PROJECT_ROOT / "params.yaml",
    workspace: WorkspaceOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the steps of a night one after another.

    The night stops at the first step that fails, refuses its input or blocks the night, with the exit code of
    that step. `--from` continues it after a repair. A night whose challenger is refused is complete.
    """
    from undercurrent.night import format_results, run_steps
    from undercurrent.status import format_nights, read_night
    from undercurrent.steps import select_steps

    def action() -> int:
        chosen = _night(date, workspace, params)
        logs.start("night", date)
        names = select_steps(first and first.value, last and last.value)
        if dry_run:
            _print_plan(chosen, names, as_json)
            return DONE
        load_params(params)
        results = []
        for number, result in enumerate(run_steps(chosen, names), 1):
            results.append(result)
            logs.write(f"night {date}: {number} of {len(names)}, {result.step}: {result.outcome}")
        ended = read_night(chosen)
        if as_json:
            _print_json(
                asdict(ended) | {"workspace": chosen.workspace, "steps": [asdict(r) for r in results]}
            )
        else:
            typer.echo(f"{format_results(results)}\n\n{format_nights([ended])}")
        return results[-1].exit_code

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the running step is ended first
    _run("night", action)


@app.command(rich_help_panel=NIGHTS)
def status(
    nights: Annotated[int, typer.Option(min=1, help="How many of the newest nights are listed.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Show how the newest nights ended, the champion, how fresh the data is, and missing days."""
    from undercurrent.status import format_status, read_status

    def action() -> None:
        result = read_status(nights, datetime.now(UTC).date())
        if as_json:
            _print_json(asdict(result))
        else:
            typer.echo(format_status(result))

    _run("status", action)


@app.command(rich_help_panel=NIGHTS)
def doctor(params: ParamsOption = PROJECT_ROOT / "params.yaml", as_json: JsonOption = False) -> None:
    """Check this machine and its settings, and say how to repair what is wrong. Nothing is changed.

    Exit code 1: a check failed, so nights would fail too.
    """
    from undercurrent.doctor import FAILED as CHECK_FAILED
    from undercurrent.doctor import examine, format_checks

    def action() -> int:
        checks = examine(params)
        if as_json:
            _print_json([asdict(check) for check in checks])
        else:
            typer.echo(format_checks(checks))
        return FAILED if any(check.outcome == CHECK_FAILED for check in checks) else DONE

    _run("doctor", action)


@app.command(rich_help_panel=MODELS)
def rollback(
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Default: the version with the alias `previous`.")
    ] = None,
) -> None:
    """Make another registered version the champion.

    The present champion becomes `previous`, so a second rollback undoes the first. It is marked as rolled
    back, so running its night again does not promote it.
    """
    from undercurrent.rollback import roll_back

    def action() -> None:
        previous, current = roll_back(to)
        typer.echo(f"version {current} is the champion now; before it was {previous or 'none'}")

    _run("rollback", action)


@app.command(rich_help_panel=MODELS)
def reproduce(
    night: Annotated[
        str,
        typer.Option(
            metavar="YYYY-MM-DD[.N]", help="A recorded night. .N is a revision; default: the newest."
        ),
    ],
    into: Annotated[
        Path | None, typer.Option(help="Folder of the clone. Default: under UNDERCURRENT_HOME.")
    ] = None,
) -> None:
    """Run a recorded night again from its tag, and compare every digest with the record.

    The snapshot is pulled from the record's store. The model half runs with the recorded code and parameters.
    Exit code 1: an output has another digest.
    """
    from undercurrent.reproduce import recorded_tag
    from undercurrent.reproduce import reproduce as run_again

    def action() -> int:
        tag = recorded_tag(night)
        matches = run_again(tag, into or paths.home() / "reproduce" / tag.removeprefix("night/"))
        for output, equal in matches.items():
            typer.echo(f"{'same     ' if equal else 'DIFFERENT'}  {output}")
        typer.echo(f"{tag}: {sum(matches.values())} of {len(matches)} outputs have the recorded digest")
        return DONE if all(matches.values()) else FAILED

    _run("reproduce", action, (RuntimeError, subprocess.CalledProcessError))


@app.command(rich_help_panel=MODELS)
def distil(
    night: Annotated[
        str, typer.Option(metavar="YYYY-MM-DD", help="The night whose trained model is the teacher.")
    ],
    params: ParamsOption = PROJECT_ROOT / "params.yaml",
    workspace: WorkspaceOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The student's workspace. Default: student/ of the workspace.")
    ] = None,
    width: Annotated[int, typer.Option(help="Width of the student's vectors.")] = 32,
    encoder: Annotated[str, typer.Option(help="The student's sequence encoder, with one layer.")] = "mean",
    teacher_weight: Annotated[
        float, typer.Option(help="Weight of the teacher's order in the loss. 0: no teacher.")
    ] = 1.0,
) -> None:
    """Train a small student on the final order of the night's trained model.

    Writes the student as the output of the step train in a workspace of its own. Evaluate, judge and promote
    it there: `undercurrent run evaluate --night … --workspace …/student`.
    """
    from training.distillation import StudentConfig
    from undercurrent.distil import distil as train_student

    def action() -> None:
        teacher_night = _night(night, workspace, params)
        folder = (out or teacher_night.workspace / "student").resolve()
        student_night = Night(teacher_night.day, folder, teacher_night.params_path)
        config = StudentConfig(width, encoder, teacher_weight)
        facts = train_student(load_params(params).train, teacher_night, student_night, config)
        typer.echo(f"distil: {facts['num_parameters']} parameters; {folder / 'train'}")

    _run("distil", action)


@app.command(rich_help_panel=MODELS)
def export(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the files.")],
    night: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Export the trained model of this night.")
    ] = None,
    champion: Annotated[bool, typer.Option("--champion", help="Export the champion.")] = False,
    params: ParamsOption = PROJECT_ROOT / "params.yaml",
    workspace: WorkspaceOption = None,
) -> None:
    """Export a model to ONNX, for a service without torch.

    Writes user.onnx (sequence and profile in, user vector out), items.npz (the vectors of the videos) and
    manifest.json. The counted sources, the final ranker and the ranking heads are not exported.
    """

    def action() -> None:
        if bool(night) == champion:
            raise InputError("name one model: --night YYYY-MM-DD or --champion")
        from undercurrent.export import export as write_export
        from undercurrent.export import load_champion, load_night

        saved = load_night(_night(night, workspace, params)) if night else load_champion()
        manifest = write_export(saved, out)
        typer.echo(f"export: {manifest['videos']} videos, vectors of {manifest['vector_width']}; {out}")

    _run("export", action)


@app.command("import-dataset", rich_help_panel=DATA)
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

    _run("import-dataset", action)


@app.command(rich_help_panel=DATA)
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

    _run("init", action)


@app.command(rich_help_panel=MODELS)
def ablate(
    night: Annotated[
        str, typer.Option(metavar="YYYY-MM-DD", help="The night whose snapshot is in the workspace.")
    ],
    params: ParamsOption = PROJECT_ROOT / "params.yaml",
    workspace: WorkspaceOption = None,
    seeds: Annotated[int, typer.Option(help="Training runs of each variant.")] = 3,
    variant: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="May be repeated. Default: all variants.")
    ] = None,
) -> None:
    """Measure each part of the model: leave it out, then train and test again.

    Every variant is aligned and trained like a night, with several seeds and without a champion. Writes
    ablations.json, ablations.md, ablations.svg and per_user.parquet to `ablate/` of the workspace. Do not
    choose a model by these results, because they are of the test day.
    """
    from undercurrent.ablate import format_markdown
    from undercurrent.ablate import run as run_ablation

    def action() -> None:
        chosen = _night(night, workspace, params)
        results = run_ablation(load_params(params), chosen, seeds, variant or [])
        typer.echo(format_markdown(results))

    _run("ablate", action)


@app.command(rich_help_panel=MODELS)
def pretrain(
    landing: Annotated[list[Path], typer.Option(metavar="DIR", help="Landing folder; may be repeated.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the weights. Default: models/weights.")] = None,
    params: ParamsOption = PROJECT_ROOT / "params.yaml",
    epochs: Annotated[int, typer.Option(help="Passes over the videos.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Videos in a step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of all draws.")] = 1,
) -> None:
    """Train the embedded default encoders, a tiny CLIP and a tiny CLAP.

    Reads videos and their media from landing folders. `python -m simulator render --seed N --out DIR` writes
    one. Writes the weights of the epoch with the lowest validation loss, and a card with data, parameters and
    digests.
    """
    from models.encoders.default import WEIGHTS_FOLDER
    from models.encoders.pretraining import PretrainingConfig
    from undercurrent.pretrain import pretrain as train_encoders

    folder = out or WEIGHTS_FOLDER

    def action() -> None:
        config = PretrainingConfig(epochs, batch_size, learning_rate, seed)
        card = train_encoders(landing, load_params(params).embed, config, folder)
        best = min(row["valid_loss"] for row in card["curve"])
        typer.echo(f"pretrain: {card['videos']} videos; validation loss {best:.3f}; {folder}")

    _run("pretrain", action)


@app.command(rich_help_panel=DATA)
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
    from undercurrent.maintain import format_table
    from undercurrent.maintain import maintain as maintain_tables

    def action() -> None:
        policy = MaintenancePolicy(target_mib << 20, timedelta(keep_days), timedelta(hours=min_age_hours))
        typer.echo(format_table(maintain_tables(policy, dry_run)))
        if dry_run:
            typer.echo("dry run: nothing was changed")

    _run("maintain", action)


@app.command(rich_help_panel=DATA)
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

    _run("migrate", action)


@app.command(rich_help_panel=DATA)
def forget(
    user_id: Annotated[list[str] | None, typer.Option(metavar="ID", help="May be repeated.")] = None,
    user_ids: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with one id in each line.")
    ] = None,
    params: ParamsOption = PROJECT_ROOT / "params.yaml",
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

    _run("forget", action, (ServiceUnavailableError, RuntimeError))


@app.command(rich_help_panel=DATA)
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

    _run("replay", action)
