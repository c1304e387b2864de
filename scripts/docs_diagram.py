"""Draw the diagram of a night and the badges of the README as SVG files in docs/images.

python scripts/docs_diagram.py

The steps and their edges come from the step graph. The script fails when a step has no place in the
diagram. It needs the standard library only.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
sys.path.insert(0, str(PROJECT))

from core.step_graph import STEPS  # noqa: E402

WIDTH, HEIGHT = 1200, 486
BOX_WIDTH, BOX_HEIGHT = 124, 62
LAKE_TOP, MODEL_TOP = 16, 296
GUTTER = 276  # the line between the halves, along which the snapshot gets its inputs

STYLE = """
.page { fill: #ffffff; stroke: #d0d7de; } .lake { fill: #eaf3fe; } .model { fill: #eefaf1; }
.box { fill: #ffffff; stroke: #57606a; stroke-width: 1.5; }
.store { fill: #f6f8fa; stroke: #8c959f; stroke-dasharray: 5 4; }
.edge { fill: none; stroke: #57606a; stroke-width: 2; } .head { fill: #57606a; }
text { font-family: system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #1f2328; }
.name { font-size: 19px; font-weight: 600; } .note { font-size: 14px; fill: #57606a; }
.title { font-size: 17px; font-weight: 600; } .about { font-size: 15px; font-weight: 400; fill: #57606a; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; stroke: #30363d; } .lake { fill: #12233a; } .model { fill: #11281b; }
  .box { fill: #161b22; stroke: #9198a1; } .store { fill: #0d1117; stroke: #656c76; }
  .edge { stroke: #9198a1; } .head { fill: #9198a1; } text { fill: #f0f6fc; } .note, .about { fill: #b1bac4; }
}
""".strip()


@dataclass(frozen=True)
class Box:
    """A step or a store: its left upper corner and the note below its name."""

    x: int
    y: int
    note: str

    @property
    def middle(self) -> tuple[int, int]:
        return self.x + BOX_WIDTH // 2, self.y + BOX_HEIGHT // 2


def _column(number: float) -> int:
    return 40 + round(number * 142)


STEP_BOXES: Mapping[str, Box] = {
    "ingest": Box(_column(1.6), LAKE_TOP + 116, "lines to rows"),
    "clean": Box(_column(3.2), LAKE_TOP + 64, "Spark"),
    "embed": Box(_column(3.2), LAKE_TOP + 168, "CLIP, CLAP, text"),
    "check": Box(_column(4.8), LAKE_TOP + 116, "data checks"),
    "sequences": Box(_column(6.4), LAKE_TOP + 116, "Spark"),
    "snapshot": Box(_column(0), MODEL_TOP + 80, "pinned inputs"),
    "align": Box(_column(1), MODEL_TOP + 80, "InfoNCE"),
    "train": Box(_column(2), MODEL_TOP + 80, "challenger"),
    "evaluate": Box(_column(3), MODEL_TOP + 80, "full ranking"),
    "gate": Box(_column(4), MODEL_TOP + 80, "decides"),
    "promote": Box(_column(5), MODEL_TOP + 80, "MLflow alias"),
    "record": Box(_column(6), MODEL_TOP + 80, "git + DVC tag"),
    "report": Box(_column(7), MODEL_TOP + 80, "HTML page"),
}
LANDING = Box(_column(0), LAKE_TOP + 116, "events, videos")


def night() -> str:
    """The diagram as SVG.

    Raises:
        SystemExit: the diagram and the step graph differ.
    """
    if set(STEP_BOXES) != set(STEPS):
        sys.exit(f"docs_diagram: draw these steps, or remove them: {sorted(set(STEP_BOXES) ^ set(STEPS))}")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            "<title>A night: the lake half ingests, cleans, embeds and checks; "
            "the model half trains, evaluates, decides, promotes, records and reports</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
            ' orient="auto"><path class="head" d="M0 0 L10 5 L0 10 z"/></marker></defs>',
            f'<rect class="page" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="12"/>',
            *_lane("lake", LAKE_TOP, 250, "Lake half", "Iceberg tables, one partition a day, checked"),
            *_lane("model", MODEL_TOP, 174, "Model half", "one pinned snapshot, plain files, DVC"),
            *_edges(),
            _box("landing", LANDING, "store"),
            *(_box(name, box, "box") for name, box in STEP_BOXES.items()),
            "</svg>\n",
        ]
    )


def _lane(kind: str, top: int, height: int, title: str, about: str) -> Iterator[str]:
    yield f'<rect class="{kind}" x="16" y="{top}" width="{WIDTH - 32}" height="{height}" rx="10"/>'
    x = 40 if kind == "lake" else 130  # right of the arrow into the snapshot
    yield (
        f'<text class="title" x="{x}" y="{top + 34}">{title}'
        f'<tspan class="about" dx="14" font-weight="400">{about}</tspan></text>'
    )


def _edges() -> Iterator[str]:
    yield _path(LANDING, STEP_BOXES["ingest"])
    for step, before in STEPS.items():
        for name in before:
            yield _path(STEP_BOXES[name], STEP_BOXES[step])


def _path(start: Box, end: Box) -> str:
    """An arrow: to the right within a half, or along the gutter from the lake half to the model half."""
    if start.y < GUTTER < end.y:
        x, target = start.middle[0], end.middle[0]
        line = f"M{x} {start.y + BOX_HEIGHT} V{GUTTER} H{target} V{end.y}"
    else:
        x, y = start.x + BOX_WIDTH, start.middle[1]
        turn = (x + end.x) // 2
        line = f"M{x} {y} H{turn} V{end.middle[1]} H{end.x}"
    return f'<path class="edge" marker-end="url(#arrow)" d="{line}"/>'


def _box(name: str, box: Box, kind: str) -> str:
    x, y = box.middle
    return (
        f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>'
        f'<text class="name" x="{x}" y="{y - 3}" text-anchor="middle">{escape(name)}</text>'
        f'<text class="note" x="{x}" y="{y + 19}" text-anchor="middle">{escape(box.note)}</text>'
    )


BADGES = {
    "ci": ("CI", "GitHub Actions", "#0969da"),
    "python": ("Python", "3.11", "#3572a5"),
    "licence": ("licence", "Apache-2.0", "#1a7f37"),
}


def badge(label: str, value: str, colour: str) -> str:
    """A badge: a grey label and a coloured value."""
    left, right = (round(7.2 * len(text)) + 14 for text in (label, value))
    text = (
        f'<text x="{left / 2}" y="14" text-anchor="middle">{escape(label)}</text>'
        f'<text x="{left + right / 2}" y="14" text-anchor="middle">{escape(value)}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img">'
        f"<title>{escape(label)}: {escape(value)}</title>"
        f'<clipPath id="round"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#round)"><rect width="{left}" height="20" fill="#484f58"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{text}</g></svg>\n'
    )


def main() -> None:
    """Write every picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / "night.svg").write_text(night(), encoding="utf-8")
    for name, parts in BADGES.items():
        (IMAGES / f"badge-{name}.svg").write_text(badge(*parts), encoding="utf-8")
    print(f"docs_diagram: wrote night.svg and {len(BADGES)} badges to docs/images", file=sys.stderr)


if __name__ == "__main__":
    main()
