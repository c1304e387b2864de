"""The initial interest model: everything that is counted from the training days before the first step."""

import torch
from torch import Tensor

from models.baselines import trending
from models.data.items import ItemTable
from models.data.sequences import Sequences
from models.data.targets import behaviour_labels
from models.interest_model import InterestModel


def init_from_training_data(
    model: InterestModel,
    item_table: ItemTable,
    sequences: Sequences,
    num_interactions_V: Tensor,
    half_life_days: float,
    is_recent_V: Tensor | None = None,
) -> None:
    """Compute the statistics of all layers, in place. The projections are not changed.

    Args:
        model: An untrained model, with projections that are ready to use.
        item_table: The catalogue.
        sequences: Sequences of the training days.
        num_interactions_V: Number of training interactions with each video.
        half_life_days: A positive so many days before the end of training counts half in the initial bias.
        is_recent_V: Bool, the newest videos of training. Their mean bias is the bias of a new video.
    """
    is_known_V = item_table.id_row_V >= 0
    positives_V = trending(sequences, len(is_known_V), half_life_days)
    model.item_fusion.init_from_statistics(
        num_interactions_V[is_known_V],
        positives_V[is_known_V],
        None if is_recent_V is None else is_recent_V[is_known_V],
    )
    if model.truncation is not None:
        model.truncation.init_from_statistics(sequences, model.config.max_length, model.config.token_budget)
    labels = behaviour_labels(
        sequences.watch_ratio_E,
        ~sequences.watch_ratio_E.isnan(),
        sequences.behaviour_EA,
        model.config.behaviours,
        model.config.skip_watch_ratio,
    )
    with torch.no_grad():
        model.ranking_heads.init_from_statistics(item_table.id_row_V[sequences.video_E], *labels)
