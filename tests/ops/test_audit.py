"""`make audit`, with the real uv for the list and a false one for the answers of the database."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from core.errors import InputError
from core.paths import PROJECT_ROOT
from undercurrent.recorded_environment import find_uv

EXPORT = """#!/bin/sh
if [ "$1" = audit ]; then echo "audited $*"; exit %d; fi
for last; do :; done
echo '{}' >"$last"
"""


def _audit(folder: Path, *options: str, path: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "audit.py"), "--out", str(folder / "sbom.json")]
    environment = os.environ | {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run([*command, *options], env=environment, capture_output=True, text=True)


def test_the_list_holds_every_locked_package_with_its_digest(tmp_path: Path) -> None:
    try:
        find_uv()
    except InputError as error:
        pytest.skip(str(error))
    done = _audit(tmp_path, "--offline")
    assert done.returncode == 0, done.stderr
    sbom = json.loads((tmp_path / "sbom.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    listed = {(part["name"], part["version"]) for part in sbom["components"]}
    lock = tomllib.loads((PROJECT_ROOT / "uv.lock").read_text())["package"]
    locked = {(package["name"], package["version"]) for package in lock if "registry" in package["source"]}
    assert locked == listed
    assert all(p["externalReferences"][0]["hashes"][0]["alg"] == "SHA-256" for p in sbom["components"])


@pytest.mark.parametrize(("answer", "code"), [(0, 0), (1, 1), (2, 2), (101, 2)])
def test_only_an_answer_of_the_database_counts_as_checked(tmp_path: Path, answer: int, code: int) -> None:
    uv = tmp_path / "uv"
    uv.write_text(EXPORT % answer)
    uv.chmod(0o755)
    done = _audit(tmp_path, path=str(tmp_path))
    assert done.returncode == code
    assert "audited audit --frozen" in done.stdout
    assert ("NOT checked" in done.stderr) == (code == 2)
