"""The last line of every benchmark, and the file it is kept in."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.step import code_commit

RESULTS = Path(__file__).resolve().parent / "results"


def publish(name: str, figures: Mapping[str, Any], ratios: Mapping[str, float], keep: bool) -> None:
    """Print the result as one line of JSON; with `keep`, write it to `benchmarks/results/<name>.json` too."""
    result = {
        "name": name,
        "commit": code_commit(),
        "machine": machine(),
        "figures": dict(figures),
        "ratios": dict(ratios),
    }
    if keep:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.json"
        path.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(result, sort_keys=True))


def machine() -> str:
    """Processor and cores, as the system names them."""
    listed = subprocess.run(["lscpu"], capture_output=True, text=True).stdout.splitlines()
    model = next((line.split(":", 1)[1].strip() for line in listed if line.startswith("Model name")), None)
    return f"{model or platform.machine()}, {os.cpu_count()} cores"


def peak_mib() -> int:
    """The most memory this process has held. getrusage would give its parent's peak where that is higher."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
