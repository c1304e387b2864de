"""Segment interest of the example users: its curves for their best recommendations."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.paths import Night
from reporting.plots import segment_curves

CURVES = ("segment_interest", "segment_stay")
MAX_CURVES = 3  # best recommendations of a user that are plotted


def segment_plots(night: Night, user_ids: Sequence[str]) -> dict[str, str]:
    """Plot the curves of these users.

    Args:
        night: The night, after `evaluate`.
        user_ids: The users.

    Returns:
        User -> SVG. Empty for a night without segment interest.

    Raises:
        InputError: The recommendations are missing.
    """
    path = night.require_output("evaluate", "recommendations.parquet")
    if not set(CURVES) <= set(pq.read_schema(path).names):
        return {}
    is_shown = pc.is_in(pc.field("user_id"), pa.array(user_ids, pa.string())) & (
        pc.field("rank") <= MAX_CURVES
    )
    rows = (
        pq.read_table(path, columns=["user_id", "rank", *CURVES], filters=is_shown)
        .sort_by("rank")
        .to_pylist()
    )
    by_user = {user_id: [row for row in rows if row["user_id"] == user_id] for user_id in user_ids}
    return {user_id: segment_curves(curves) for user_id, curves in by_user.items() if curves}
