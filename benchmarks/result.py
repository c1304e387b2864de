"""Print and store the result of a benchmark."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.step_cli import code_commit

RESULTS = Path(__file__).resolve().parent / "results"


def publish_result(
    name: str,
    figures: Mapping[str, Any],
    ratios: Mapping[str, float],
    write_file: bool,
    folder: Path = RESULTS,
) -> None:
    """Print a result as one line of JSON.

    Args:
        name: name of the result.
        figures: what was measured.
        ratios: comparisons with peers or limits.
        write_file: whether to write the result to `<name>.json` too.
        folder: folder of that file.
    """
    result = {
        "name": name,
        "commit": code_commit(),
        "machine": describe_machine(),
        "figures": dict(figures),
        "ratios": dict(ratios),
    }
    if write_file:
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(result, sort_keys=True))


def round_interval(interval: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return a result of `paired_bootstrap` for a result file, rounded to four digits."""
    return {name: value and round(value, 4) for name, value in interval.items()}


def describe_machine() -> str:
    """Return the processor's name and the number of cores."""
    lines = subprocess.run(["lscpu"], capture_output=True, text=True).stdout.splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Model name")), None)
    return f"{model or platform.machine()}, {os.cpu_count()} cores"


def peak_mib() -> int:
    """Return the peak memory of this process in MiB.

    `getrusage` is not used, because it reports the peak of the parent process if that is higher.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
