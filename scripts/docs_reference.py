"""Write the reference pages of the documentation site from the code.

python scripts/docs_reference.py DIR writes them into a folder, for a look. `make docs` makes them while it
builds the site (scripts/docs_site.py). They are not committed, so they cannot be out of date.

- configuration: the dataclasses of the configuration, with the values of params.yaml
- command line: the `--help` of every command
- lake tables: the declared tables
- API: one page for each package, rendered by mkdocstrings from the source text
"""

import ast
import importlib
import json
import re
import subprocess
import sys
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

NOT_API = ("benchmarks", "research", "tests")  # commands, studies and tests, not a library
LINE = 80  # characters of a line of help


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown text of every generated page."""
    return {
        "reference/configuration.md": configuration(),
        "reference/command-line.md": command_line(),
        "reference/lake-tables.md": lake_tables(),
        **api(),
    }


def configuration() -> str:
    """Every key of params.yaml: type, bounds, value, meaning."""
    module = importlib.import_module("core.config")
    values = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    lines = [
        "# Configuration",
        "",
        "`params.yaml` holds every parameter. This page lists them by section.",
        "A missing or unknown key is an error. So is a value outside its bounds.",
        "The error names the file, the key and the remedy.",
        "Addresses and secrets come from the environment: see [Operations](../operations.md).",
        "",
    ]
    return "\n".join([*lines, *_section(module.Params, values, "")])


def _section(kind: type, values: Any, path: str) -> Iterator[str]:
    """Heading, description and table of a dataclass, then its own sections."""
    hints = typing.get_type_hints(kind, include_extras=True)
    about, meanings = _described(kind)
    if path:
        names = get_args(hints["name"]) if get_origin(hints.get("name")) is Literal else ()
        chosen = f" with name {' or '.join(f'`{name}`' for name in names)}" if names else ""
        yield from (f"{'#' * (2 + path.count('.'))} `{path}`{chosen}", "", *about, "")
        if isinstance(values, Mapping) and names and values.get("name") not in names:
            values = None  # they belong to another model
    plain = [f.name for f in fields(kind) if not _sections(hints[f.name])]
    if plain:
        yield from ("| key | type | bounds | value | meaning |", "|---|---|---|---|---|")
        for name in plain:
            type_name, bounds = _type(hints[name])
            value = values.get(name) if isinstance(values, Mapping) else None
            shown = "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"
            cells = (f"`{name}`", type_name, bounds, shown, meanings.get(name, ""))
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""
    for field in fields(kind):
        for section in _sections(hints[field.name]):
            inner = values.get(field.name) if isinstance(values, Mapping) else None
            yield from _section(section, inner, f"{path}.{field.name}" if path else field.name)


def _sections(hint: Any) -> list[type]:
    """The dataclasses that a key may hold."""
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    if get_origin(hint) in (typing.Union, types.UnionType, Annotated):
        return [section for part in get_args(hint) for section in _sections(part)]
    return []


def _type(hint: Any) -> tuple[str, str]:
    """A type in words, and its bounds."""
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}
    if get_origin(hint) is Annotated:
        plain, *notes = get_args(hint)
        return _type(plain)[0], "; ".join(note.description for note in notes)
    if get_origin(hint) is Literal:
        return "one of", ", ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is tuple:
        item, bounds = _type(get_args(hint)[0])
        return f"list of {'values' if item == 'one of' else item}", bounds
    if get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_type(part) for part in get_args(hint) if part is not type(None)]
        return f"{' or '.join(name for name, _ in parts)}, or none", "; ".join(b for _, b in parts if b)
    return names.get(hint, getattr(hint, "__name__", str(hint))), ""


def _described(kind: type) -> tuple[list[str], dict[str, str]]:
    """The description of a dataclass, and the meaning of each key, from its docstring.

    A key's line is `name: meaning` or `name, name: meaning`.
    """
    names = {field.name for field in fields(kind)}
    text = " ".join((_own_doc(kind) or "").split())
    listed = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    key = re.compile(rf"(?:(?<=^)|(?<=[.;:)`] ))((?:(?:{listed}), )*(?:{listed})): ")
    about, *parts = key.split(text) if names else [text]
    meanings: dict[str, str] = {}
    for keys, meaning in zip(parts[::2], parts[1::2], strict=True):
        meanings |= dict.fromkeys(keys.split(", "), meaning.strip())
    about = re.sub(r"\s*(Attributes|Parameters|Args):$", "", about.strip())
    return [about] if about else [], meanings


def _own_doc(kind: type) -> str | None:
    """The docstring that a class was written with; a dataclass without one has a made one."""
    made = f"{kind.__name__}("
    return None if (kind.__doc__ or "").startswith(made) else kind.__doc__


def lake_tables() -> str:
    """Every table of the lake: what a row is, partition, columns."""
    tables = importlib.import_module("core.tables").TABLES
    lines = [
        "# Lake tables",
        "",
        "The lake holds these Apache Iceberg tables. All columns are optional for Iceberg.",
        "`clean` and the data checks enforce the columns that must have a value.",
        "",
    ]
    for name, spec in tables.items():
        partition = ", ".join(f"`{column}`" for column in spec.partition) or "none"
        lines += [
            f"## `{name}`",
            "",
            f"A row is {spec.description.rstrip('.')}.",
            "",
            f"Partition: {partition}.",
            "",
        ]
        lines += ["| column | type |", "|---|---|"]
        lines += [f"| `{field.name}` | `{field.type}` |" for field in spec.schema]
        lines.append("")
    return "\n".join(lines)


def command_line() -> str:
    """The make targets, and the help of every step and command."""
    texts = _help()
    steps = [command for command in texts if command.startswith("python -m tasks.")]
    lines = [
        "# Command line",
        "",
        "## Make targets",
        "",
        "| command | what it does |",
        "|---|---|",
        *(f"| `make {name}` | {about} |" for name, about in _make_targets()),
        "",
        "## Commands",
        "",
        *_help_blocks({command: text for command, text in texts.items() if command not in steps}),
        "## Steps",
        "",
        "Every step has the same options. The sections follow the order of a night.",
        "",
        *_help_blocks({command: texts[command] for command in steps}),
    ]
    return "\n".join(lines)


def _make_targets() -> list[tuple[str, str]]:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    return re.findall(r"^([a-z]+):.*?## (.+)$", makefile, flags=re.M)


def _help_blocks(texts: Mapping[str, str]) -> Iterator[str]:
    for command, text in texts.items():
        yield from (f"### `{command}`", "", "```text", text, "```", "")


def _help() -> dict[str, str]:
    """Command -> its help, without paths of this machine.

    Raises:
        SystemExit: a command could not be asked.
    """
    command = [sys.executable, str(PROJECT / "scripts" / "docs_help.py")]
    asked = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    if asked.returncode:
        sys.exit(f"docs_reference: a command has no help; run `make setup` first\n{asked.stderr}")
    texts = json.loads(asked.stdout)
    if silent := [command for command, text in texts.items() if not text.strip()]:
        sys.exit(f"docs_reference: no help from {', '.join(silent)}")
    return {command: _wrapped(text.replace(f"{PROJECT}/", "")) for command, text in texts.items()}


def _wrapped(text: str) -> str:
    """The text in lines of bounded length. Paragraphs are joined first; options keep their columns."""
    joined = re.sub(r"(?<=[^\n:])\n(?=[^\s-])", " ", text.strip())
    lines = []
    for line in joined.splitlines():
        column = re.match(r"\s+\S.*? {2,}(?=\S)|usage: |\s*", line, flags=re.IGNORECASE)
        indent = " " * min(len(column[0]) if column else 0, 34)
        lines += textwrap.wrap(line, LINE, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(lines)


def api() -> dict[str, str]:
    """One page for each package, with every public module."""
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    listed = tomllib.loads(text)["tool"]["setuptools"]["packages"]
    packages = [name for name in sorted({n.split(".")[0] for n in listed}) if name not in NOT_API]
    return {f"reference/api/{package}.md": _api_page(package) for package in packages}


def _api_page(package: str) -> str:
    """Every module of a package. The search ranks these pages below the others."""
    lines = ["---", f"title: {package}", "search:", "  boost: 0.5", "---", ""]
    for path in sorted((PROJECT / package).rglob("*.py")):
        module = path.relative_to(PROJECT).with_suffix("").parts
        if module[-1] == "__main__" or not ast.parse(path.read_text(encoding="utf-8")).body:
            continue
        name = ".".join(module).removesuffix(".__init__")
        lines += [f"::: {name}", *(["    options: {heading_level: 1}"] if name == package else []), ""]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Write the pages into a folder."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python scripts/docs_reference.py DIR", file=sys.stderr)
        return 2
    for name, text in pages().items():
        path = Path(arguments[0]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
