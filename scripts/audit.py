"""List the locked packages, and ask a database for their known vulnerabilities.

python scripts/audit.py [--offline] [--out FILE]

The list is a software bill of materials in CycloneDX form. The database is OSV, which `uv audit` asks.

Exit codes: 0: no known vulnerability. 1: there are some, and the output names them. 2: the database was not
reached, or uv is missing.
"""

import argparse
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from core.errors import DONE, REFUSED_INPUT, InputError  # noqa: E402
from undercurrent.recorded_environment import find_uv  # noqa: E402

VULNERABLE = 1  # exit code of `uv audit`


def main() -> int:
    """Run the audit, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python scripts/audit.py", description=__doc__)
    parser.add_argument("--offline", action="store_true", help="write the list only")
    out = PROJECT / "build" / "sbom.cdx.json"
    parser.add_argument("--out", type=Path, default=out, help="of the list (default: %(default)s)")
    args = parser.parse_args()
    try:
        uv = find_uv()
    except InputError as error:
        print(f"audit: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    write_sbom(uv, args.out)
    if args.offline:
        print("audit: --offline, so no database was asked for vulnerabilities", file=sys.stderr)
        return DONE
    return ask_database(uv)


def write_sbom(uv: str, path: Path) -> None:
    """Write all packages of uv.lock with their digests as CycloneDX 1.5.

    Raises:
        subprocess.CalledProcessError: uv could not write the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = ("--frozen", "--offline", "--all-extras", "--no-emit-project", "--format", "cyclonedx1.5")
    command = [uv, "export", *options, "--quiet", "--output-file", str(path)]
    subprocess.run(command, cwd=PROJECT, check=True)
    print(f"audit: wrote {path}", file=sys.stderr)


def ask_database(uv: str) -> int:
    """Print the known vulnerabilities of the locked packages, and return the exit code."""
    code = subprocess.run([uv, "audit", "--frozen"], cwd=PROJECT).returncode
    if code in (DONE, VULNERABLE):
        return code
    print(
        "audit: the vulnerabilities were NOT checked (see above); allow access to api.osv.dev, update uv with"
        " `pip install -U uv`, or write the list only with --offline",
        file=sys.stderr,
    )
    return REFUSED_INPUT


if __name__ == "__main__":
    sys.exit(main())
