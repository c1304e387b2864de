"""The command line that every step shares: `python -m tasks.<step> --night YYYY-MM-DD`.

Exit codes: 0 done, 1 failed (our bug or the machine's, or a server that is away), 2 refused input (the user's
mistake, one sentence), 3 checks blocked (the data is not fit; the champion stays).
"""

import argparse
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from contracts import params as parameters
from contracts import place
from contracts.errors import CHECKS_BLOCKED, DONE, FAILED, REFUSED_INPUT, AwayError, ChecksBlocked, InputError
from contracts.place import PROJECT, Night, parse_day, without_credentials
from contracts.receipts import Receipt, write_receipt

Run = Callable[[Any, Night], Receipt]
EPILOG = "exit codes: 0 done, 1 failed, 2 refused input, 3 checks blocked"


def main(step: str, run: Run, doc: str | None, argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run the step with its own section of params.yaml, write its receipt.

    Addresses of databases and stores may hold passwords: none is told, not in a traceback either.
    """
    sys.excepthook = tell_without_credentials
    args = _parser(step, doc).parse_args(argv)
    try:
        night = Night(parse_day(args.night), (args.workspace or Path("night")).resolve(), args.params)
        section = parameters.load(args.params).section(step)
        execute(step, run, section, night)
    except InputError as error:
        print(f"{step}: refused: {without_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except ChecksBlocked as blocked:
        print(f"{step}: blocked: {without_credentials(str(blocked))}", file=sys.stderr)
        return CHECKS_BLOCKED
    except AwayError as away:
        print(f"{step}: failed: {without_credentials(str(away))}", file=sys.stderr)
        return FAILED
    return DONE


def tell_without_credentials(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """A traceback as Python prints it (`sys.excepthook`), with the credentials in it hidden."""
    told = "".join(traceback.format_exception(kind, error, trace))
    print(without_credentials(told), end="", file=sys.stderr)


def execute(step: str, run: Run, section: Any, night: Night) -> Path:
    """Run a step and write its receipt; what the shell around `run` and the tests share.

    Of several processes that torchrun started the first tells and writes.
    """
    path = night.receipts / f"{step}.json"
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0":
        run(section, night)
        return path
    for old in (path, *night.receipts.glob(f".{step}.json.*")):  # the latter are a killed run's
        old.unlink(missing_ok=True)
    place.mark_home()
    started, clock = time.time(), time.perf_counter()
    print(f"{step}: night {night.day}", file=sys.stderr)
    receipt = run(section, night)
    seconds = time.perf_counter() - clock
    stamp = {
        "night": str(night.day),
        "params": asdict(section),
        "commit": code_commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(seconds, 2),
        "peak_memory_mib": peak_memory_mib(),
    }
    write_receipt(night.receipts, step, receipt, stamp)
    print(f"{step}: done in {seconds:.1f} s{_count(receipt)}; receipt {path}", file=sys.stderr)
    return path


def code_commit() -> str:
    """The project's git commit, with `+` when the working tree differs from it; `unknown` outside git.

    Files of results are no code: a benchmark that has just written one is followed by another.
    """
    git = ["git", "-C", str(PROJECT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    status = [*git, "status", "--porcelain", "-uno", "--", ":/", ":(exclude,top)benchmarks/results"]
    dirty = subprocess.run(status, capture_output=True, text=True).stdout
    return head.stdout.strip() + ("+" if dirty else "")


def peak_memory_mib() -> int:
    """Peak resident memory of this process and its children together, at most, in MiB.

    Children that run on (Spark's JVM) tell their own peak; of those that ended, the largest counts.
    """
    own = [line for pid in (os.getpid(), *_children(os.getpid())) for line in _status(pid, "VmHWM")]
    running = sum(int(line.split()[0]) for line in own)
    return (running + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) // 1024


def _children(parent: int) -> list[int]:
    """The processes that descend from this one and still run."""
    parents = {int(p.name): _status(int(p.name), "PPid") for p in Path("/proc").iterdir() if p.name.isdigit()}
    mine = [pid for pid, found in parents.items() if found and int(found[0]) == parent]
    return mine + [deeper for pid in mine for deeper in _children(pid)]


def _status(pid: int, field: str) -> list[str]:
    """The value of a field of /proc/<pid>/status; none when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{field}:")]


def _count(receipt: Receipt) -> str:
    if receipt.rows is None:
        return ""
    rejected = sum(receipt.rows.rejected.values())
    return f": {receipt.rows.rows_in} rows in = {receipt.rows.kept} kept + {rejected} rejected"


def _parser(step: str, doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m tasks.{step}",
        description=doc,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--night", required=True, metavar="YYYY-MM-DD", help="the day whose logs come in")
    parser.add_argument("--params", type=Path, default=PROJECT / "params.yaml", help="default: %(default)s")
    parser.add_argument("--workspace", type=Path, help="folder of this night's files (default: ./night)")
    return parser
