"""Two processes that share the work of a test module's `main`."""

import subprocess
import sys
from pathlib import Path

from core.paths import PROJECT_ROOT


def torchrun(module: str, out: Path) -> None:
    """Run `python -m module out` in two processes at once; they must succeed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    completed = subprocess.run(
        [*command, "-m", module, str(out)], cwd=PROJECT_ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr[-3000:]
