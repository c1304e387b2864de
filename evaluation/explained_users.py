"""Explanations of a bounded sample of test users: what each model read, and how their interest shifted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from evaluation.attention import event_attention
from evaluation.item_vectors import ItemVectors, user_vectors
from evaluation.sampled_users import evenly_spaced, restrict_to_users
from models.data.targets import Targets
from models.evaluation.scoring import Scorer
from snapshots.reader import SnapshotReader

MAX_EXPLAINED = 64  # test users with explanations, evenly from the shortest sequence to the longest
MIN_SHIFT_EVENTS = 10  # halves of fewer events say nothing about interest
MAX_CATEGORIES, MAX_NEAREST, MAX_ATTENDED = 3, 3, 3  # shown of each half, and of each user


def explained_users(challenger: Scorer, targets: Targets) -> Tensor:
    """Return the test users with explanations, ordered by the length of their sequences."""
    length_B = challenger.user_data.sequences.lengths[targets.users]
    return evenly_spaced(targets.users[length_B.argsort(stable=True)], MAX_EXPLAINED)


def explained_users_table(snapshot: SnapshotReader, challenger: Scorer, users: Tensor) -> pa.Table:
    """Return the explanations of these users.

    Args:
        snapshot: Of the night.
        challenger: The model with its videos and users.
        users: Of `explained_users`.

    Returns:
        Columns, in addition to `user_id`:
        `attended_rows`, `attended_weights`: The videos that attention reads most. Empty without attention.
        `older_categories`, `older_shares`, `older_nearest`: The most frequent categories among the older
        half of the events, and the videos nearest to the user embedding after these events alone.
        `newer_categories`, `newer_shares`, `newer_nearest`: The same for the newer half. All six are empty
        for a short sequence; the nearest are empty for a model without item embeddings, too.
    """
    scorer = restrict_to_users(challenger, users)
    columns = {"user_id": snapshot.user_ids.take(pa.array(users.numpy())), **_attended_columns(scorer)}
    vectors = ItemVectors.of_model(scorer)
    category_V = snapshot.videos["category"]
    for name, half in (("older", _half(scorer, newer=False)), ("newer", _half(scorer, newer=True))):
        columns |= {f"{name}_{key}": values for key, values in _category_columns(half, category_V).items()}
        columns[f"{name}_nearest"] = _nearest_column(half, vectors)
    return pa.table(columns)


def _half(scorer: Scorer, newer: bool) -> Scorer:
    """Return the scorer with half of each user's events. A sequence that is too short becomes empty."""
    sequences = scorer.user_data.sequences
    length_E = sequences.lengths.repeat_interleave(sequences.lengths)
    position_E = torch.arange(len(length_E)) - sequences.offsets[:-1].repeat_interleave(sequences.lengths)
    is_newer_E = position_E >= length_E // 2
    kept_E = (is_newer_E == newer) & (length_E >= MIN_SHIFT_EVENTS)
    return replace(scorer, user_data=replace(scorer.user_data, sequences=sequences.keep(kept_E)))


def _category_columns(scorer: Scorer, category_V: pa.ChunkedArray) -> dict[str, pa.Array]:
    """Return the most frequent categories of each user's events, and their shares."""
    sequences = scorer.user_data.sequences
    category_E = pc.fill_null(category_V.take(pa.array(sequences.video_E.numpy())), "unknown")
    by_user = np.split(category_E.to_numpy(), sequences.offsets[1:-1].numpy())
    top = [_top_shares(categories) for categories in by_user]
    return {
        "categories": pa.array([[name for name, _ in user] for user in top], pa.list_(pa.string())),
        "shares": pa.array([[share for _, share in user] for user in top], pa.list_(pa.float64())),
    }


def _top_shares(categories: Iterable[str]) -> list[tuple[str, float]]:
    """Return the most frequent categories with their shares. Of equal ones the first name comes first."""
    count = Counter(categories)
    ordered = sorted(count.items(), key=lambda item: (-item[1], item[0]))
    return [(name, n / count.total()) for name, n in ordered[:MAX_CATEGORIES]]


@torch.no_grad()
def _nearest_column(scorer: Scorer, vectors: ItemVectors | None) -> pa.Array:
    """Return the nearest videos of each user that has events."""
    lengths, list_type = scorer.user_data.sequences.lengths, pa.list_(pa.int32())
    if vectors is None or not len(lengths):
        return pa.array([[]] * len(lengths), list_type)
    items: Any = scorer.model.eval().encode_items(scorer.item_table)
    state = scorer.encode_user(torch.arange(len(lengths)), items)
    nearest_BK = vectors.nearest(user_vectors(scorer.model, state), MAX_NEAREST)
    rows = [row if length else [] for row, length in zip(nearest_BK.tolist(), lengths.tolist(), strict=True)]
    return pa.array(rows, list_type)


def _attended_columns(scorer: Scorer) -> dict[str, pa.Array]:
    """Return the events that attention reads most, and their weights."""
    users = torch.arange(len(scorer.user_data.sequences.lengths))
    attention_BT = event_attention(scorer, users)
    rows: list[list[int]] = [[] for _ in users]
    weights: list[list[float]] = [[] for _ in users]
    if attention_BT is not None and attention_BT.shape[1]:
        batch = scorer.batch(users)
        weight_BK, event_BK = attention_BT.topk(min(MAX_ATTENDED, attention_BT.shape[1]))
        video_BK = batch.video_BT.gather(1, event_BK)
        for user, length in enumerate(batch.lengths.tolist()):
            rows[user] = video_BK[user, :length].tolist()
            weights[user] = weight_BK[user, :length].tolist()
    return {
        "attended_rows": pa.array(rows, pa.list_(pa.int32())),
        "attended_weights": pa.array(weights, pa.list_(pa.float64())),
    }
