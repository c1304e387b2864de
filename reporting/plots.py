"""The plots of the report as inline SVG, in the colour variables of the page."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Placeholder colour -> colour variable of the page.
TEXT, GRID, FIRST, SECOND, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505"
FOURTH, FIFTH = "#060606", "#070707"
PAGE_COLOURS = {
    TEXT: "var(--soft)",
    GRID: "var(--line)",
    FIRST: "var(--blue)",
    SECOND: "var(--orange)",
    THIRD: "var(--green)",
    FOURTH: "var(--red)",
    FIFTH: "var(--violet)",
}
FILE_COLOURS = {TEXT: "#5b6575", GRID: "#dfe3ea", FIRST: "#2f6bd8", SECOND: "#d9822b", THIRD: "#2f9e6b"}
# Metrics that select the epoch. A curve has one of them.
SELECTION_METRICS = {
    "choice_log_likelihood": "log-likelihood of the choices",
    "ndcg@10": "NDCG@10",
    "auc": "AUC",
}
MODALITY_COLOURS = {"visual": FIRST, "text": SECOND, "audio": THIRD}
MAP_COLOURS = (FIRST, SECOND, THIRD, FOURTH, FIFTH)  # of the most frequent categories; the others are grey
MAX_GROUPS = 20  # groups whose modality weights are shown, the largest ones
MAX_NAME_LENGTH = 32  # characters of a name in a plot; a longer one would leave no room for the plot
LOSS_COLOURS = {"retrieval": FIRST, "ranking": SECOND, "alignment": THIRD}
# Without metadata, the same night gives the same bytes.
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold dollar signs
    "font.size": 9,
    "text.color": TEXT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelcolor": TEXT,
    "axes.edgecolor": GRID,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def learning_curve(curve: Sequence[Mapping[str, float]]) -> str | None:
    """Plot the training losses and the metric on the validation days, with its best epoch.

    Args:
        curve: One row per epoch.

    Returns:
        The SVG, or None without rows.
    """
    if not curve:
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "curve"}):
        figure, (left, right) = _figure(2.6, columns=2)
        for name, colour in LOSS_COLOURS.items():
            _plot_line(left, curve, name, colour)
        left.set(xlabel="epoch", ylabel="loss", title="training losses")
        left.legend(loc="upper center", ncols=len(LOSS_COLOURS), columnspacing=1)
        left.margins(y=0.2)
        metric = next((name for name in SELECTION_METRICS if name in curve[0]), None)
        if metric is not None:
            _plot_line(right, curve, metric, FIRST)
            best = max(curve, key=lambda row: row[metric])
            right.plot(best["epoch"], best[metric], "o", color=SECOND)
            right.annotate(f"{best[metric]:.4f}".replace("-", "−"), (best["epoch"], best[metric]), (0, 7),
                           textcoords="offset points", ha="center")  # fmt: skip
            right.set(ylabel=SELECTION_METRICS[metric])
        right.set(xlabel="epoch", title="validation days")
        right.margins(y=0.2)
        for axes in (left, right):
            axes.locator_params(axis="x", integer=True)
        return _svg(figure)


def slice_differences(slice_metrics: Mapping[str, Mapping]) -> str | None:
    """Plot each slice's difference from the champion with its interval.

    Without any difference, plot the challenger's NDCG.

    Args:
        slice_metrics: The `slices` of details.json.

    Returns:
        The SVG, or None without slices.
    """
    differences = {
        name: slice_row["difference"]
        for name, slice_row in slice_metrics.items()
        if "difference" in slice_row
    }
    shown = differences or {
        name: {"mean": slice_row["challenger"]} for name, slice_row in slice_metrics.items()
    }
    shown = {name: interval for name, interval in shown.items() if interval["mean"] is not None}
    if not shown:
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "slices", "axes.grid.axis": "x"}):
        figure, (axes,) = _figure(0.7 + 0.34 * len(shown))
        for row, interval in enumerate(shown.values()):
            _plot_interval(axes, row, interval, FIRST)
        axes.set_yticks(
            range(len(shown)), [f"{_short_name(n)}  ({slice_metrics[n]['num_users']})" for n in shown]
        )
        axes.set_ylim(len(shown) - 0.5, -0.5)
        if differences:
            axes.axvline(0, color=TEXT, linewidth=1)
        difference_label = "difference of NDCG per user, challenger − champion (joint 95 % intervals)"
        axes.set_xlabel(difference_label if differences else "mean NDCG per user of the challenger")
        return _svg(figure)


def cross_modal_recall(directions: Sequence[Mapping[str, Any]]) -> str | None:
    """Plot recall@1 and recall@10 of each direction. A bar marks the recall of a random order.

    Args:
        directions: One row per direction, from a query modality to a target modality.

    Returns:
        The SVG, or None without rows.
    """
    if not directions:
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "retrieval", "axes.grid.axis": "x"}):
        figure, (axes,) = _figure(0.9 + 0.3 * len(directions))
        rows = range(len(directions))
        for metric, colour in (("recall@1", SECOND), ("recall@10", FIRST)):
            chance = [direction["chance"][metric] for direction in directions]
            axes.plot(chance, rows, "|", color=colour, markersize=12, label=f"{metric}, random order")
            axes.plot(
                [direction[metric] for direction in directions],
                rows,
                "o",
                color=colour,
                markersize=6,
                label=metric,
            )
        axes.set_yticks(rows, [f"{direction['query']} → {direction['target']}" for direction in directions])
        axes.set(xlim=(-0.02, 1.02), ylim=(len(directions) - 0.5, -0.5), xlabel="recall on held-out videos")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        return _svg(figure)


def largest_groups(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the `MAX_GROUPS` groups with the largest `count`, in the given order."""
    largest = sorted(groups, key=lambda name: -groups[name]["count"])[:MAX_GROUPS]
    return {name: group for name, group in groups.items() if name in largest}


def modality_weights(groups: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Plot the mean modality weights of each group, with the 10th to 90th percentile as a bar.

    Args:
        groups: Group -> `count` and the distribution of the weights, as in details.json.

    Returns:
        The SVG, or None without groups.
    """
    if not groups:
        return None
    shown = list(groups.items())
    with mpl.rc_context(STYLE | {"svg.hashsalt": "weights", "axes.grid.axis": "x"}):
        figure, (axes,) = _figure(0.9 + 0.3 * len(shown))
        for offset, modality in enumerate(shown[0][1]["mean"]):
            colour = MODALITY_COLOURS[modality]
            for row, (_, group) in enumerate(shown):
                interval = {"mean": group["mean"][modality], "low": group["p10"][modality]}
                interval["high"] = group["p90"][modality]
                _plot_interval(axes, row + 0.2 * (offset - 1), interval, colour)
            axes.plot([], [], "o", color=colour, label=modality)
        axes.set_yticks(range(len(shown)), [_short_name(name) for name, _ in shown])
        axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel="modality weight: mean, and 10th to 90th percentile")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        return _svg(figure)


def item_map(categories: Sequence[str | None], xy_V2: NDArray[np.float32]) -> str | None:
    """Plot the map of the item embeddings. The most frequent categories have a colour.

    The points of a category are one path of very short lines with round ends. That needs much less text than
    one element for each point.

    Args:
        categories: Category of each video. None is unknown.
        xy_V2: Its two principal components.

    Returns:
        The SVG, or None without videos.
    """
    if not len(xy_V2):
        return None
    category_V = np.array([category or "unknown" for category in categories], dtype=object)
    names, count = np.unique(category_V[category_V != "unknown"], return_counts=True)
    coloured = dict(zip(names[np.argsort(-count, kind="stable")].tolist(), MAP_COLOURS, strict=False))
    is_other_V = ~np.isin(category_V, list(coloured))
    groups = [("other", is_other_V, TEXT, 0.3)] if is_other_V.any() else []
    groups += [(name, category_V == name, colour, 0.8) for name, colour in coloured.items()]
    with mpl.rc_context(STYLE | {"svg.hashsalt": "map", "path.simplify": False}):
        figure, (axes,) = _figure(4.6)
        for _, mask_V, colour, alpha in groups:
            line: dict[str, Any] = {"linewidth": 3.5, "solid_capstyle": "round", "alpha": alpha}
            axes.plot(*_short_lines(xy_V2[mask_V], 2e-3 * float(np.ptp(xy_V2))), color=colour, **line)
        axes.set(xlabel="first principal component", ylabel="second principal component")
        labels = [_short_name(name) for name, *_ in groups]
        place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
        axes.legend(axes.lines, labels, **place, handlelength=0.1, title="category")
        return _svg(figure)


def _short_lines(xy_N2: NDArray[np.float32], length: float) -> NDArray[np.floating]:
    """Return the coordinates [2, 3 N] of one very short line at each point, with NaN between the lines."""
    ends = np.stack([xy_N2, xy_N2 + np.array([length, 0.0]), np.full_like(xy_N2, np.nan)], axis=1)
    return ends.reshape(-1, 2).T


def user_differences(difference: NDArray[np.float64], reference: str) -> str | None:
    """Plot a histogram of the NDCG differences of the users.

    Args:
        difference: [U] the NDCG of the challenger minus that of the reference.
        reference: Name of the reference model.

    Returns:
        The SVG, or None without users.
    """
    if not len(difference):
        return None
    with mpl.rc_context(STYLE | {"svg.hashsalt": "differences", "axes.grid.axis": "y"}):
        figure, (axes,) = _figure(2.4)
        limit = max(float(np.abs(difference).max()), 0.05)
        edges = np.linspace(-limit, limit, 32)  # an odd number of bins, so that 0 is in the middle of one
        counts, _ = np.histogram(difference, edges)
        middle = len(counts) // 2
        colours = [SECOND] * middle + [GRID] + [FIRST] * middle
        axes.bar(edges[:-1], counts, np.diff(edges) * 0.92, align="edge", color=colours)
        axes.axvline(float(difference.mean()), color=TEXT, linewidth=1.2, linestyle="--")
        axes.annotate(
            f"mean {difference.mean():+.4f}",
            (float(difference.mean()), counts.max()),
            (5, 2),
            textcoords="offset points",
        )
        axes.set(xlabel=f"difference of NDCG per user, challenger − {reference}", ylabel="users")
        return _svg(figure)


def segment_curves(curves: Sequence[Mapping[str, Any]]) -> str:
    """Plot the interest in each segment of some videos, and the probability to stay after each.

    Args:
        curves: One row per video, with `rank`, `segment_interest` and `segment_stay`. At most three.

    Returns:
        The SVG.
    """
    with mpl.rc_context(STYLE | {"svg.hashsalt": "segments"}):
        figure, (left, right) = _figure(2.1, columns=2)
        for curve, colour in zip(curves, (FIRST, SECOND, THIRD), strict=False):
            line: dict[str, Any] = {
                "color": colour,
                "linewidth": 1.8,
                "label": f"recommendation {curve['rank']}",
            }
            segments = range(1, len(curve["segment_interest"]) + 1)
            left.plot(segments, curve["segment_interest"], "o-", markersize=4, **line)
            right.plot([0, *segments], [1.0, *curve["segment_stay"]], **line)
        left.set(xlabel="segment", title="interest")
        right.set(xlabel="after segment", ylim=(0, 1.05), title="probability to stay")
        right.legend(loc="best")
        for axes in (left, right):
            axes.locator_params(axis="x", integer=True)
        return _svg(figure)


def ablation_differences(variants: Mapping[str, Mapping], metric: str) -> str:
    """Plot the difference of each ablation variant from the full model, as a file for a white background.

    Args:
        variants: Variant -> its metrics, as in the results of `undercurrent ablate`.
        metric: Name of the metric.
    """
    plotted = {
        name: variant
        for name, variant in variants.items()
        if variant["all_users"]["difference"]["low"] is not None
    }
    with mpl.rc_context(STYLE | {"svg.hashsalt": "ablations", "axes.grid.axis": "x"}):
        figure, (axes,) = _figure(1.0 + 0.4 * len(plotted))
        for offset, colour, group in ((-0.12, FIRST, "all_users"), (0.12, SECOND, "cold_users")):
            for row, variant in enumerate(plotted.values()):
                if variant[group]["difference"]["mean"] is not None:
                    _plot_interval(axes, row + offset, variant[group]["difference"], colour)
            axes.plot([], [], "o", color=colour, label=group.replace("_", " "))
        axes.set_yticks(range(len(plotted)), list(plotted))
        axes.set(
            ylim=(len(plotted) - 0.5, -0.5),
            xlabel=f"difference of {metric.upper()} per user, variant − full model (95 % intervals)",
        )
        axes.axvline(0, color=TEXT, linewidth=1)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        return _svg(figure, FILE_COLOURS)


def _plot_interval(axes: Axes, row: float, interval: Mapping[str, Any], colour: str) -> None:
    """Plot a mean as a point and its interval, if there is one, as a bar."""
    if interval.get("low") is not None:
        ends = [interval["low"], interval["high"]]
        axes.plot(ends, [row, row], color=colour, linewidth=3, alpha=0.4, solid_capstyle="round")
    axes.plot(interval["mean"], row, "o", color=colour, markersize=6)


def _plot_line(axes: Axes, curve: Sequence[Mapping[str, float]], name: str, colour: str) -> None:
    rows = [row for row in curve if name in row]
    axes.plot(
        [row["epoch"] for row in rows], [row[name] for row in rows], color=colour, linewidth=1.8, label=name
    )


def _short_name(name: str) -> str:
    """Return a name as words, cut to `MAX_NAME_LENGTH` characters."""
    words = name.replace("_", " ")
    return words if len(words) <= MAX_NAME_LENGTH else f"{words[: MAX_NAME_LENGTH - 1]}…"


def _figure(height: float, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(8.4, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _svg(figure: Figure, colours: Mapping[str, str] = PAGE_COLOURS) -> str:
    """Return the figure as an `<svg>` element without dates or other metadata."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for placeholder, colour in colours.items():
        text = text.replace(placeholder, colour)
    return text
