"""Two processes that share the work of a test module's `main`."""

import subprocess
import sys
from pathlib import Path

from contracts.place import PROJECT


def torchrun(module: str, out: Path) -> None:
    """Run `python -m module out` in two processes at once; they must succeed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*command, "-m", module, str(out)], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
