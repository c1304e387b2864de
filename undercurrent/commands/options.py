"""Options that commands of several sections have."""

from pathlib import Path
from typing import Annotated

import typer

from core import paths
from core.paths import PROJECT_ROOT, Night, parse_day

DEFAULT_PARAMS = PROJECT_ROOT / "params.yaml"

ParamsOption = Annotated[Path, typer.Option(help="Parameter file.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the night's files. Default: nights/YYYY-MM-DD of UNDERCURRENT_HOME."),
]


def chosen_night(date: str, workspace: Path | None, params: Path) -> Night:
    """Return the night that these options name.

    Raises:
        InputError: The date is none.
    """
    day = parse_day(date)
    return Night(day, workspace.resolve() if workspace else paths.default_workspace(day), params.resolve())
