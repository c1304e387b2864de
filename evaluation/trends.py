"""The trends of users: their names, and what each recommends. Only ComiRec has them."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from evaluation.item_vectors import ItemVectors
from models.baselines.comirec import ComiRec
from models.evaluation.scoring import Scorer
from snapshots.reader import SnapshotReader

NUM_NAMING = 20  # nearest videos that name a trend
MAX_SHOWN = 3  # nearest videos of a trend that are kept


def trends_table(snapshot: SnapshotReader, challenger: Scorer, users: Tensor) -> pa.Table | None:
    """Return one row for each of these users and each trend. None if the model has no trends.

    Args:
        snapshot: Of the night.
        challenger: The model with its videos and users.
        users: Of `evaluation.explained_users.explained_users`.

    Returns:
        Columns, in addition to `user_id` and `trend`:
        `name`: The most frequent category among the `NUM_NAMING` nearest videos. The creator, if no category
        is known. Null if neither is.
        `name_share`: The share of this name among them.
        `nearest`: The nearest videos.
        `recommended_share`: The share of the `NUM_NAMING` best unseen videos that this trend scores highest.
    """
    vectors = ItemVectors.of_model(challenger)
    if not isinstance(challenger.model, ComiRec) or vectors is None:
        return None
    trend_BXD, share_BX = _trends_and_shares(challenger, users)
    B, X = share_BX.shape
    nearest_NK = vectors.nearest(trend_BXD.flatten(0, 1)[:, None], NUM_NAMING)
    names, name_shares = _names(snapshot, nearest_NK)
    return pa.table(
        {
            "user_id": snapshot.user_ids.take(pa.array(users.repeat_interleave(X).numpy())),
            "trend": torch.arange(1, X + 1).repeat(B).int().numpy(),
            "name": names,
            "name_share": name_shares,
            "nearest": pa.array(nearest_NK[:, :MAX_SHOWN].tolist(), pa.list_(pa.int32())),
            "recommended_share": share_BX.flatten().numpy(),
        }
    )


@torch.no_grad()
def _trends_and_shares(scorer: Scorer, users: Tensor) -> tuple[Tensor, Tensor]:
    """Return the trends [B, X, D], and the share of the best videos that each scores highest, [B, X]."""
    model: Any = scorer.model.eval()
    items = model.encode_items(scorer.item_table)
    state = scorer.encode_user(users, items)
    trend_BXD = model.trends(state)
    score_BV = scorer.masked(users, model.score_items(state, items)[0])
    score_BK, best_BK = score_BV.topk(min(NUM_NAMING, score_BV.shape[1]), dim=1)
    known_BK = (items.id_row_V[best_BK] >= 0) & score_BK.isfinite()
    item_BKD = model.item_embedding(items.id_row_V[best_BK].clamp(min=0))
    best_trend_BK = (item_BKD @ trend_BXD.transpose(1, 2)).argmax(2)
    count_BX = torch.nn.functional.one_hot(best_trend_BK, model.config.trends)[known_BK]
    user_N = known_BK.nonzero()[:, 0]
    total_BX = torch.zeros(len(users), model.config.trends, dtype=torch.long).index_add(0, user_N, count_BX)
    return trend_BXD, total_BX / total_BX.sum(1, keepdim=True).clamp(min=1)


def _names(snapshot: SnapshotReader, nearest_NK: Tensor) -> tuple[list[str | None], list[float]]:
    """Return the most frequent name among the videos of each row, and its share."""
    column = "category" if snapshot.videos["category"].null_count < snapshot.videos.num_rows else "author_id"
    value_X = snapshot.videos[column].take(pa.array(nearest_NK.flatten().numpy())).to_numpy()
    names, shares = [], []
    for value_K in value_X.reshape(nearest_NK.shape):
        known = [value for value in value_K if value is not None]
        values, counts = np.unique(known, return_counts=True) if known else (np.array([None]), np.zeros(1))
        names.append(values[counts.argmax()])
        shares.append(float(counts.max() / len(value_K)))
    return names, shares


def trend_summary(table: pa.Table) -> dict[str, float]:
    """Return how different the trends of a user are.

    Args:
        table: Of `trends_table`.

    Returns:
        `num_trends`. `mean_names`: Different names of a user's trends, on average. `largest_share`: The mean
        share of the best videos that the user's largest trend scores highest.
    """
    users = table.group_by("user_id").aggregate(
        [("name", "count_distinct"), ("recommended_share", "max"), ("trend", "max")]
    )
    return {
        "num_trends": int(users["trend_max"].to_numpy().max()),
        "mean_names": float(users["name_count_distinct"].to_numpy().mean()),
        "largest_share": float(users["recommended_share_max"].to_numpy().mean()),
    }
