"""scripts/setup.sh on a machine without some programs and without the right to install them."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.paths import PROJECT_ROOT

TOOLS = ("bash", "cat", "cut", "dirname", "grep", "head", "id", "sed", "sha256sum")
Setup = Callable[[], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH with only TOOLS, so without apt."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        path = shutil.which(name)
        assert path
        (folder / name).symlink_to(path)
    return folder


@pytest.fixture
def setup(tmp_path: Path, tools: Path) -> Setup:
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    shutil.copy(PROJECT_ROOT / "scripts" / "setup.sh", project / "scripts")
    for name in ("uv.lock", "pyproject.toml"):
        (project / name).write_text(f"{name} of a test\n")
    command = ["bash", str(project / "scripts" / "setup.sh")]
    return lambda: subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True)


def add_tool(tools: Path, name: str, output: str, code: int = 0) -> None:
    (tools / name).write_text(f"#!/bin/bash\necho '{output}' >&2\nexit {code}\n")
    (tools / name).chmod(0o755)


def add_python(tools: Path) -> None:
    (tools / "python3.11").symlink_to(sys.executable)


def refusal(setup: Setup) -> str:
    """Run setup and return its only line of output."""
    completed = setup()
    assert completed.returncode == 2
    assert len(completed.stderr.splitlines()) == 1
    return completed.stderr


def test_a_missing_python_is_reported(setup: Setup) -> None:
    assert "Python 3.11 is needed and was not found; install it" in refusal(setup)


def test_a_missing_java_is_reported(setup: Setup, tools: Path) -> None:
    add_python(tools)
    add_tool(tools, "git", "")
    assert "apt-get install openjdk-17-jre-headless" in refusal(setup)


def test_an_old_java_is_refused(setup: Setup, tools: Path) -> None:
    add_python(tools)
    add_tool(tools, "git", "")
    add_tool(tools, "java", 'openjdk version "11.0.2" 2020-01-14')
    assert "Java 17 is needed" in refusal(setup)


def test_an_environment_of_the_same_lock_is_reused(setup: Setup, tools: Path, tmp_path: Path) -> None:
    add_python(tools)
    add_tool(tools, "git", "")
    add_tool(tools, "java", 'openjdk version "17.0.15" 2025-04-15')
    add_tool(tools, "uv", "uv was called", code=1)
    add_tool(tools, "sleep", "")
    assert "uv was called" in setup().stderr  # nothing is built yet
    environment = tmp_path / "project" / ".venv"
    (environment / "bin").mkdir(parents=True)
    add_tool(environment / "bin", "python", "")
    files = [(tmp_path / "project" / name).read_bytes() for name in ("uv.lock", "pyproject.toml")]
    digest = subprocess.run(["sha256sum"], input=b"".join(files), capture_output=True, check=True).stdout
    stamp = environment / "built-for"
    stamp.write_text(f"{digest.decode().split()[0]} {tmp_path / 'project'}\n")
    completed = setup()
    assert (completed.returncode, completed.stderr) == (0, "")
    (tmp_path / "project" / "uv.lock").write_text("another lock\n")
    assert "uv was called" in setup().stderr
