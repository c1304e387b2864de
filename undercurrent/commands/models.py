"""Commands about models: the champion, recorded nights, small and exported models, ablation, pretraining."""

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from core import paths
from core.config import load_params
from core.errors import DONE, FAILED, InputError
from core.paths import Night
from undercurrent.commands.console import run_command
from undercurrent.commands.options import DEFAULT_PARAMS, ParamsOption, WorkspaceOption, chosen_night

SECTION = "Models"

app = typer.Typer()


@app.command(rich_help_panel=SECTION)
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

    run_command("rollback", action)


@app.command(rich_help_panel=SECTION)
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

    run_command("reproduce", action, (RuntimeError, subprocess.CalledProcessError))


@app.command(rich_help_panel=SECTION)
def distil(
    night: Annotated[
        str, typer.Option(metavar="YYYY-MM-DD", help="The night whose trained model is the teacher.")
    ],
    params: ParamsOption = DEFAULT_PARAMS,
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
        teacher_night = chosen_night(night, workspace, params)
        folder = (out or teacher_night.workspace / "student").resolve()
        student_night = Night(teacher_night.day, folder, teacher_night.params_path)
        config = StudentConfig(width, encoder, teacher_weight)
        facts = train_student(load_params(params).train, teacher_night, student_night, config)
        typer.echo(f"distil: {facts['num_parameters']} parameters; {folder / 'train'}")

    run_command("distil", action)


@app.command(rich_help_panel=SECTION)
def export(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the files.")],
    night: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Export the trained model of this night.")
    ] = None,
    champion: Annotated[bool, typer.Option("--champion", help="Export the champion.")] = False,
    params: ParamsOption = DEFAULT_PARAMS,
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

        saved = load_night(chosen_night(night, workspace, params)) if night else load_champion()
        manifest = write_export(saved, out)
        typer.echo(f"export: {manifest['videos']} videos, vectors of {manifest['vector_width']}; {out}")

    run_command("export", action)


@app.command(rich_help_panel=SECTION)
def ablate(
    night: Annotated[
        str, typer.Option(metavar="YYYY-MM-DD", help="The night whose snapshot is in the workspace.")
    ],
    params: ParamsOption = DEFAULT_PARAMS,
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
        chosen = chosen_night(night, workspace, params)
        results = run_ablation(load_params(params), chosen, seeds, variant or [])
        typer.echo(format_markdown(results))

    run_command("ablate", action)


@app.command(rich_help_panel=SECTION)
def pretrain(
    landing: Annotated[list[Path], typer.Option(metavar="DIR", help="Landing folder; may be repeated.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the weights. Default: models/weights.")] = None,
    params: ParamsOption = DEFAULT_PARAMS,
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

    run_command("pretrain", action)
