"""The report's plots as inline SVG. Their colours are the page's variables, so they follow light and dark."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Stand-in colour -> what the page puts in its place.
INK, FAINT, MAIN, OTHER, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505"
PAGE = {
    INK: "var(--soft)",
    FAINT: "var(--line)",
    MAIN: "var(--blue)",
    OTHER: "var(--orange)",
    THIRD: "var(--green)",
}
PAPER = {INK: "#5b6575", FAINT: "#dfe3ea", MAIN: "#2f6bd8", OTHER: "#d9822b", THIRD: "#2f9e6b"}
LOSSES = {"retrieval": MAIN, "ranking": OTHER, "align": THIRD}
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # no metadata: the same night, the same bytes
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def learning_curve(curve: Sequence[Mapping[str, float]]) -> str | None:
    """Losses, and validation NDCG@10 with its best epoch; None without a curve."""
    if not curve:
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "curve"}):
        figure, (left, right) = _figure(2.6, columns=2)
        for name, colour in LOSSES.items():
            _line(left, curve, name, colour)
        left.set(xlabel="epoch", title="training losses")
        left.legend()
        _line(right, curve, "ndcg@10", MAIN)
        scored = [row for row in curve if "ndcg@10" in row]
        if scored:
            best = max(scored, key=lambda row: row["ndcg@10"])
            right.plot(best["epoch"], best["ndcg@10"], "o", color=OTHER)
            right.annotate(f"{best['ndcg@10']:.4f}", (best["epoch"], best["ndcg@10"]), (0, 7),
                           textcoords="offset points", ha="center")  # fmt: skip
        right.set(xlabel="epoch", title="NDCG@10 on the validation day")
        right.margins(y=0.2)
        return _svg(figure)


def slices(found: Mapping[str, Mapping]) -> str | None:
    """Difference to the champion a slice, with its interval; the challenger's NDCG where there is none."""
    paired = {name: one["difference"] for name, one in found.items() if "difference" in one}
    told = paired or {name: {"mean": one["challenger"]} for name, one in found.items()}
    told = {name: one for name, one in told.items() if one["mean"] is not None}
    if not told:
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "slices", "axes.grid.axis": "x"}):
        figure, (axes,) = _figure(0.7 + 0.34 * len(told))
        for place, one in enumerate(told.values()):
            _interval(axes, place, one, MAIN)
        axes.set_yticks(range(len(told)), [f"{n.replace('_', ' ')}  ({found[n]['users']})" for n in told])
        axes.set_ylim(len(told) - 0.5, -0.5)
        if paired:
            axes.axvline(0, color=INK, linewidth=1)
        axes.set_xlabel(
            "NDCG, challenger − champion, intervals that hold together"
            if paired
            else "NDCG of the challenger"
        )
        return _svg(figure)


def retrieval(ways: Sequence[Mapping[str, Any]]) -> str | None:
    """Recall@1 and @10 a direction, with a bar where an order drawn by lot would be; None without a pair."""
    if not ways:
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "retrieval", "axes.grid.axis": "x"}):
        figure, (axes,) = _figure(0.9 + 0.3 * len(ways))
        places = range(len(ways))
        for cut, colour in (("recall@1", OTHER), ("recall@10", MAIN)):
            chance = [way["chance"][cut] for way in ways]
            axes.plot(chance, places, "|", color=colour, markersize=12, label=f"{cut} by chance")
            axes.plot([way[cut] for way in ways], places, "o", color=colour, markersize=6, label=cut)
        axes.set_yticks(places, [f"{way['of']} → {way['to']}" for way in ways])
        axes.set(xlim=(-0.02, 1.02), ylim=(len(ways) - 0.5, -0.5), xlabel="recall on held-out videos")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        return _svg(figure)


def differences(gap: NDArray[np.float64], rival: str) -> str | None:
    """How many people are better or worse off, by how much."""
    if not len(gap):
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "differences", "axes.grid.axis": "y"}):
        figure, (axes,) = _figure(2.4)
        reach = max(float(np.abs(gap).max()), 0.05)
        edges = np.linspace(-reach, reach, 32)  # an odd number of bins: the middle one holds "the same"
        counts, _ = np.histogram(gap, edges)
        middle = len(counts) // 2
        colours = [OTHER] * middle + [FAINT] + [MAIN] * middle
        axes.bar(edges[:-1], counts, np.diff(edges) * 0.92, align="edge", color=colours)
        axes.axvline(float(gap.mean()), color=INK, linewidth=1.2, linestyle="--")
        axes.annotate(
            f"mean {gap.mean():+.4f}", (float(gap.mean()), counts.max()), (5, 2), textcoords="offset points"
        )
        axes.set(xlabel=f"NDCG of a person, challenger − {rival}", ylabel="people")
        return _svg(figure)


def changes(by_day: Mapping[str, int]) -> str | None:
    """How many people's interest changed on each day; None where nobody's did."""
    if not by_day:
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "changes", "axes.grid.axis": "y"}):
        figure, (axes,) = _figure(1.8)
        first, last = (np.datetime64(day) for day in (min(by_day), max(by_day)))
        days = [str(day) for day in np.arange(first, last + 1)]  # also those on which nobody's did
        axes.bar(days, [by_day.get(day, 0) for day in days], width=0.6, color=MAIN)
        axes.set(ylabel="people", xticks=days[:: 1 + len(days) // 10])
        return _svg(figure)


def ablations(found: Mapping[str, Mapping], measure: str) -> str:
    """What each variant gains or loses against the full model; a file of its own, on white."""
    told = {name: one for name, one in found.items() if one["everybody"]["difference"]["low"] is not None}
    with mpl.rc_context(STYLE | {"svg.hashsalt": "ablations", "axes.grid.axis": "x"}):
        figure, (axes,) = _figure(1.0 + 0.4 * len(told))
        for at, colour, part in ((-0.12, MAIN, "everybody"), (0.12, OTHER, "cold_users")):
            for place, one in enumerate(told.values()):
                if one[part]["difference"]["mean"] is not None:
                    _interval(axes, place + at, one[part]["difference"], colour)
            axes.plot([], [], "o", color=colour, label=part.replace("_", " "))
        axes.set_yticks(range(len(told)), list(told))
        axes.set(
            ylim=(len(told) - 0.5, -0.5), xlabel=f"{measure.upper()}, variant − full model, 95 % interval"
        )
        axes.axvline(0, color=INK, linewidth=1)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        return _svg(figure, PAPER)


def _interval(axes: Axes, place: float, one: Mapping[str, Any], colour: str) -> None:
    """A mean as a point, and its interval, where there is one, as a bar."""
    if one.get("low") is not None:
        ends = [one["low"], one["high"]]
        axes.plot(ends, [place, place], color=colour, linewidth=3, alpha=0.4, solid_capstyle="round")
    axes.plot(one["mean"], place, "o", color=colour, markersize=6)


def _line(axes: Axes, curve: Sequence[Mapping[str, float]], name: str, colour: str) -> None:
    rows = [row for row in curve if name in row]
    axes.plot(
        [row["epoch"] for row in rows], [row[name] for row in rows], color=colour, linewidth=1.8, label=name
    )


def _figure(height: float, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(8.4, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _svg(figure: Figure, colours: Mapping[str, str] = PAGE) -> str:
    """The figure as an `<svg>` element without anything of the day in it."""
    page = io.StringIO()
    figure.savefig(page, format="svg", transparent=True, metadata=NOTHING)
    text = page.getvalue()
    text = text[text.index("<svg") :]
    for stand_in, colour in colours.items():
        text = text.replace(stand_in, colour)
    return text
