"""A copy of the project in a folder of its own, in which a test types commands as a user does."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml

from core.paths import PROJECT_ROOT
from core.step_graph import STEPS
from registry.model_registry import ModelRegistry
from tasks.record import project_files


@dataclass(frozen=True)
class Checkout:
    """A copy of the project with small parameters, in which commands run as a user types them."""

    folder: Path

    def __call__(
        self, *command: str, succeed: bool = True, promote: bool = False
    ) -> subprocess.CompletedProcess[str]:
        settings = ("UNDERCURRENT_", "MLFLOW_", "DVC_", "PYTHONDONTWRITEBYTECODE")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        clean |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        if promote:
            clean["UNDERCURRENT_PROMOTE"] = "yes"
        done = subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True)
        assert not succeed or done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done

    def set(self, changes: Mapping[str, object]) -> None:
        """Change parameters, by dotted path. The format of params.yaml stays."""
        with modify_yaml(str(self.folder / "params.yaml")) as raw:
            for dotted, value in changes.items():
                *sections, key = dotted.split(".")
                section = raw
                for name in sections:
                    section = section[name]
                assert key in section, dotted
                section[key] = value

    def run_manifest(self, step: str) -> dict:
        return json.loads((self.folder / "night" / "run_manifests" / f"{step}.json").read_text())

    def production(self) -> str:
        """What production reads: the registered versions with their tags and aliases, and the record."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("UNDERCURRENT_HOME", str(self.folder / "var"))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            models = ModelRegistry()
            versions = [(v.number, sorted(v.tags.items())) for v in models.versions()]
            named = {alias: models.get_by_alias(alias) for alias in ("champion", "challenger", "previous")}
        aliases = [(alias, version and version.number) for alias, version in named.items()]
        text = f"{versions}\n{aliases}\n"
        if (self.folder / "var" / "record").exists():
            text += self("git", "-C", "var/record", "show-ref").stdout
        return text

    def started_at(self) -> dict[str, str]:
        return {name: self.run_manifest(name)["started_at"] for name in STEPS}


def check_out_project(folder: Path) -> Checkout:
    """Copy the project's files into an empty folder, and commit them."""
    for name in [*project_files(), ".dvc/config"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT_ROOT / name, folder / name)
    checkout = Checkout(folder)
    checkout("git", "init", "--quiet")
    checkout("git", "add", "--all")
    checkout("git", "commit", "--quiet", "--message", "checkout")
    return checkout
