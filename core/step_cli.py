"""The step CLI, the common command line of all steps: `python -m tasks.<step> --night YYYY-MM-DD`.

Exit codes:
    0: done.
    1: failed. A server does not answer, the disk is full, the system refuses access to a file, or a training
       has numbers that are not finite. An exception such as a bug ends Python with its own exit code 1.
    2: refused input, a mistake of the user. One sentence explains it.
    3: the data checks blocked the night.
"""

import argparse
import atexit
import gc
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from core import logs, paths
from core.config import load_params
from core.errors import (
    CHECKS_BLOCKED,
    DONE,
    FAILED,
    REFUSED_INPUT,
    ChecksBlocked,
    InputError,
    ServiceUnavailableError,
    explain_system_error,
)
from core.failures import Failure, remove_failure, write_failure
from core.locks import file_lock
from core.paths import PROJECT_ROOT, Night, parse_day, redact_credentials
from core.run_manifests import RunManifest, write_manifest

StepFunction = Callable[[Any, Night], RunManifest]
RESULT_FOLDERS = ("benchmarks/results", "research/results")
EPILOG = "exit codes: 0 done, 1 failed, 2 refused input, 3 checks blocked"


def main(step: str, run: StepFunction, doc: str | None, argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run the step and write its run manifest.

    Error messages and tracebacks hide the passwords in addresses of databases and stores.

    Args:
        step: the step's name, which is also its section of params.yaml.
        run: the step function; it gets the section and the night.
        doc: the text of `--help`.
        argv: the arguments; default `sys.argv[1:]`.

    Returns:
        The exit code. Other exceptions, such as bugs, are raised. Python then exits with 1.
    """
    sys.excepthook = print_redacted_traceback
    _resume_garbage_collection()
    atexit.register(_skip_last_collection)
    args = _build_parser(step, doc).parse_args(argv)
    try:
        logs.start(step, args.night)
        day = parse_day(args.night)
        workspace = args.workspace.resolve() if args.workspace else paths.default_workspace(day)
        night = Night(day, workspace, args.params)
        section = load_params(args.params).section(step)
    except InputError as error:  # nothing has started, so an earlier run of the night still stands
        return _report(step, Failure(REFUSED_INPUT, str(error)))
    try:
        run_step(step, run, section, night)
    except InputError as error:
        return _end_early(step, night, Failure(REFUSED_INPUT, str(error)))
    except ChecksBlocked as blocked:
        return _end_early(step, night, Failure(CHECKS_BLOCKED, str(blocked)))
    except (ServiceUnavailableError, FloatingPointError) as error:  # training raises the second
        return _end_early(step, night, Failure(FAILED, str(error)))
    except Exception as error:
        if reason := explain_system_error(error):
            return _end_early(step, night, Failure(FAILED, reason))
        # A bug: Python prints its traceback.
        _write_failure(step, night, Failure(FAILED, f"{type(error).__name__}: {error}"))
        raise
    return DONE


def _resume_garbage_collection() -> None:
    """Turn garbage collection on again if `tasks/__init__.py` turned it off. It leaves the packages out."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _skip_last_collection() -> None:
    """Keep Python from a search of all imported packages for cycles as it ends. It takes up to a second.

    Triton needs this search. Otherwise it prints 30 lines about leaks after the reason of a failure.
    """
    if "triton" in sys.modules:
        gc.unfreeze()
    else:
        gc.freeze()


def print_redacted_traceback(
    error_type: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print a traceback without credentials, for `sys.excepthook`."""
    logs.write("".join(traceback.format_exception(error_type, error, trace)), "ERROR")


def _report(step: str, failure: Failure) -> int:
    """Print why the step ended early, and return its exit code."""
    logs.write(f"{step}: {failure.outcome}: {failure.reason}", "ERROR")
    return failure.exit_code


def _end_early(step: str, night: Night, failure: Failure) -> int:
    """Store why the step ended early, print it as the last line, and return its exit code."""
    _write_failure(step, night, failure)
    return _report(step, failure)


def _write_failure(step: str, night: Night, failure: Failure) -> None:
    if not _is_first_process():
        return
    try:
        write_failure(night.workspace, step, replace(failure, reason=redact_credentials(failure.reason)))
    except OSError as error:  # such as a full disk; it must not hide why the step failed
        logs.write(f"{step}: the failure cannot be stored in {night.workspace}: {error}", "WARNING")


def _is_first_process() -> bool:
    """Return whether this is the only process, or distributed rank 0 of those that torchrun started."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"


def run_step(step: str, run: StepFunction, section: Any, night: Night) -> Path:
    """Run a step, write its run manifest and return its path.

    A step that is started twice in a workspace runs twice in a row, because each run empties its folder. Of
    several processes that torchrun started, only distributed rank 0 prints and writes. The others return the
    path that rank 0 writes to.
    """
    path = night.run_manifests / f"{step}.json"
    if not _is_first_process():
        run(section, night)
        return path
    with file_lock(night.workspace / f".{step}.lock", f"{step} of {night.day}"):
        _run_first_process(step, run, section, night, path)
    return path


def _run_first_process(step: str, run: StepFunction, section: Any, night: Night, path: Path) -> None:
    for stale in (path, *night.run_manifests.glob(f".{step}.json.*")):  # temporary files of a killed run
        stale.unlink(missing_ok=True)
    remove_failure(night.workspace, step)
    paths.write_home_marker()
    started_at, start_counter = time.time(), time.perf_counter()
    logs.write(f"{step}: night {night.day}")
    manifest = run(section, night)
    seconds = time.perf_counter() - start_counter
    run_info = {
        "night": str(night.day),
        "params": asdict(section),
        "commit": code_commit(),
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_at)),
        "seconds": round(seconds, 2),
        "peak_memory_mib": peak_memory_mib(),
    }
    write_manifest(night.run_manifests, step, manifest, run_info)
    counts = _format_row_counts(manifest)
    logs.write(f"{step}: done in {seconds:.1f} s{counts}; run manifest {path}")


def code_commit() -> str:
    """Return the project's git commit, with `+` if the working tree differs. Outside git: `unknown`.

    Changed result files do not count, because one benchmark or study writes them before the next runs.
    """
    git = ["git", "-C", str(PROJECT_ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    status = [
        *git,
        "status",
        "--porcelain",
        "-uno",
        "--",
        ":/",
        *(f":(exclude,top){folder}" for folder in RESULT_FOLDERS),
    ]
    dirty = subprocess.run(status, capture_output=True, text=True).stdout
    return head.stdout.strip() + ("+" if dirty else "")


def peak_memory_mib() -> int:
    """Return an upper bound of the peak resident memory of this process and its children, in MiB.

    Running children, such as Spark's JVM, count with their own peak. Of the children that
    ended, only the largest peak is added.
    """
    peak_lines = [
        line for pid in (os.getpid(), *_descendants(os.getpid())) for line in _proc_status(pid, "VmHWM")
    ]
    running_kib = sum(int(line.split()[0]) for line in peak_lines)
    return (running_kib + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) // 1024


def _descendants(parent: int) -> list[int]:
    """Return the running processes that descend from a process."""
    parent_fields = {
        int(p.name): _proc_status(int(p.name), "PPid") for p in Path("/proc").iterdir() if p.name.isdigit()
    }
    children = [pid for pid, values in parent_fields.items() if values and int(values[0]) == parent]
    return children + [descendant for pid in children for descendant in _descendants(pid)]


def _proc_status(pid: int, field: str) -> list[str]:
    """Return the value of a field of /proc/<pid>/status in a list, which is empty if the process ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{field}:")]


def _format_row_counts(manifest: RunManifest) -> str:
    if manifest.row_counts is None:
        return ""
    rejected = sum(manifest.row_counts.rejected.values())
    return f": {manifest.row_counts.rows_in} rows in = {manifest.row_counts.kept} kept + {rejected} rejected"


def _build_parser(step: str, doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m tasks.{step}",
        description=doc,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--night", required=True, metavar="YYYY-MM-DD", help="the day whose logs the night takes in"
    )
    parser.add_argument(
        "--params",
        type=Path,
        default=PROJECT_ROOT / "params.yaml",
        help="parameter file (default: %(default)s)",
    )
    parser.add_argument(
        "--workspace",
        type=Path,
        help="folder of the night's files (default: nights/<night> of UNDERCURRENT_HOME; in a stage of DVC:"
        " night/ of the project)",
    )
    return parser
