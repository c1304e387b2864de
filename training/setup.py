"""What training starts from: the initial model, its inputs, the validation targets and the objective."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from core.config.models import ObjectiveConfig
from models.config import ModelConfig
from models.data.items import ItemTable
from models.data.targets import behaviour_labels
from models.evaluation.scoring import Scorer, behaviour_logits
from models.interest_model import InterestModel
from models.training.initialisation import init_from_training_data
from models.training.objective import Objective
from snapshots.champion_space import ChampionSpace, read_champion_space
from snapshots.reader import Interactions, SnapshotReader
from snapshots.saved_models import read_tensors

DAYS_OF_NEW_VIDEOS = 2  # their mean initial bias is the bias of videos that the model was not trained on


def projections_path(snapshot: SnapshotReader) -> Path:
    """Return the file of projections that the step align wrote.

    Raises:
        InputError: The file is missing.
    """
    return snapshot.night.require_output("align", "projections.safetensors")


def read_align_metadata(snapshot: SnapshotReader) -> dict[str, Any]:
    """Return `width` and `near_duplicate_cosine` of the projections that the step align saved.

    Raises:
        InputError: The file is missing or damaged.
    """
    path = projections_path(snapshot)
    read_tensors(path)  # raises InputError if the file is damaged
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["align"])


@dataclass(frozen=True)
class TrainingSetup:
    """The initial model with its inputs.

    Attributes:
        model: The model that `scorer` holds.
        scorer: Model, catalogue and users, as the fold knows them.
        objective: Weights and settings of the losses.
    """

    model: InterestModel
    scorer: Scorer
    objective: Objective


def build_training_setup(
    settings: ObjectiveConfig, snapshot: SnapshotReader, config: ModelConfig, fold: str
) -> TrainingSetup:
    """Return the initial model with its inputs.

    The projections are those of the step align. Everything else that is counted before training is of what
    the fold knows.

    Args:
        settings: Section `train.model.objective` of params.yaml.
        snapshot: Of the night.
        config: Of the model, for this fold.
        fold: Name of the fold.

    Raises:
        InputError: A file of the night is missing or damaged, or this version cannot read the champion.
    """
    model = InterestModel(config)
    _load_projections(model, read_tensors(projections_path(snapshot)))
    inputs, champion = snapshot.fold(fold, config), read_champion_space(snapshot, config.width)
    last_day = inputs.users.sequences.last_day
    init_from_training_data(
        model,
        inputs.item_table,
        inputs.users.sequences,
        snapshot.num_interactions(fold),
        settings.recency_half_life_days,
        recently_uploaded(inputs.item_table, last_day, DAYS_OF_NEW_VIDEOS),
    )
    scorer = Scorer(model, inputs.item_table, inputs.users, inputs.day)
    objective = Objective(
        settings,
        last_day=last_day,
        alignment_rows=snapshot.alignment_rows,
        near_duplicate_cosine=read_align_metadata(snapshot)["near_duplicate_cosine"],
        reference_VMD=_champion_embeddings(scorer, champion),
    )
    return TrainingSetup(model, scorer, objective)


def _load_projections(model: InterestModel, saved: Mapping[str, Tensor]) -> None:
    """Load the projections. A student of another width takes the statistics of the features only."""
    projections = model.item_fusion.projections
    own = projections.state_dict()
    fitting = {name: x for name, x in saved.items() if x.shape == own[name].shape}
    projections.load_state_dict(own | fitting)


def recently_uploaded(item_table: ItemTable, last_day: int, days: int) -> Tensor:
    """Return bool [V], the videos uploaded in the last `days` days that the model is trained on.

    Args:
        item_table: The catalogue.
        last_day: The last day that the model is trained on, counted from 1970.
        days: Number of days.
    """
    if item_table.upload_day_V is None:
        return torch.zeros_like(item_table.id_row_V, dtype=torch.bool)
    return item_table.upload_day_V > last_day - days


@torch.no_grad()
def _champion_embeddings(scorer: Scorer, champion: ChampionSpace) -> Tensor | None:
    """Return the champion's modality embeddings of all videos. None if its space cannot be compared."""
    return champion.projections(scorer.item_table) if champion.projections else None


def calibrate_ranking_heads(scorer: Scorer, interactions: Interactions, request_NJ: Tensor) -> None:
    """Calibrate the ranking heads on interactions that they were not trained on.

    Args:
        scorer: Holds an `InterestModel`, which is changed in place.
        interactions: Of the validation day.
        request_NJ: Code of each context of their requests.
    """
    config = scorer.model.config
    assert isinstance(scorer.model, InterestModel)
    logit_NH = behaviour_logits(scorer, interactions.user_N, interactions.video_N, request_NJ)
    known_N = ~interactions.watch_ratio_N.isnan()
    labels = behaviour_labels(
        interactions.watch_ratio_N,
        known_N,
        interactions.behaviour_NA,
        config.behaviours,
        config.skip_watch_ratio,
    )
    scorer.model.ranking_heads.calibrate(logit_NH, *labels)
