"""What explains the challenger: faithfulness of attention, the map of its videos, trends, example users."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.config.model_half import EvaluateConfig
from core.paths import EXPLANATIONS
from evaluation.attention import MAX_USERS, MIN_EVENTS, measure_attention
from evaluation.explained_users import explained_users, explained_users_table
from evaluation.item_vectors import ItemVectors, map_items
from evaluation.sampled_users import evenly_spaced, restrict_to_users
from evaluation.trends import trend_summary, trends_table
from models.data.targets import Targets
from models.evaluation.scoring import Scorer
from snapshots.reader import SnapshotReader


def write_explanations(
    out: Path, snapshot: SnapshotReader, challenger: Scorer, targets: Targets, params: EvaluateConfig
) -> dict:
    """Write users.parquet, item_map.parquet and, for a model with trends, trends.parquet to `explanations/`.

    All of them are of a bounded sample of users and videos.

    Args:
        out: Output folder of `evaluate`.
        snapshot: Of the night.
        challenger: Scorer of the challenger.
        targets: Of the test day.
        params: Section `evaluate` of params.yaml.

    Returns:
        `attention` (see `measure_attention`), `item_map` (`map_items`), and `trends` (`trend_summary`) for a
        model with trends.
    """
    item_map, map_table = map_items(ItemVectors.of_model(challenger), snapshot)
    users = explained_users(challenger, targets)
    tables = {
        "users": explained_users_table(snapshot, challenger, users),
        "item_map": map_table,
        "trends": trends_table(snapshot, challenger, users),
    }
    _write(out / EXPLANATIONS, tables)
    lengths = challenger.user_data.sequences.lengths[targets.users]
    tested = evenly_spaced(targets.users[lengths >= MIN_EVENTS], MAX_USERS)
    return {
        "attention": measure_attention(restrict_to_users(challenger, tested), params),
        "item_map": item_map,
        **({} if tables["trends"] is None else {"trends": trend_summary(tables["trends"])}),
    }


def _write(folder: Path, tables: dict[str, pa.Table | None]) -> None:
    folder.mkdir()
    for name, table in tables.items():
        if table is not None:
            pq.write_table(table, folder / f"{name}.parquet")
