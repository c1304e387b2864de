"""Loads the compared models of a night, and ranks the whole catalogue with each for the test users."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from core.config.model_half import EvaluateConfig
from core.errors import InputError
from models.baselines import ItemCF, popularity, trending
from models.data.positives import positives_by_user
from models.data.sequences import SeenItems
from models.data.targets import Targets
from models.data.users import UserData
from models.evaluation.scoring import (
    ModalityWeights,
    RankingResult,
    Scorer,
    rank_catalogue,
    rank_with_modality_weights,
    score_in_chunks,
)
from models.retrieval.full_ranking import users_per_chunk
from snapshots.reader import SnapshotReader, unseen_positives
from snapshots.saved_models import read_model


def load_scorer(folder: Path, snapshot: SnapshotReader, seen: SeenItems) -> Scorer:
    """Load a saved model with the videos and users of the snapshot, as of the test day.

    Videos and profile values that the model was not trained on are unknown to it.

    Args:
        folder: Of the bundle.
        snapshot: Of the night.
        seen: Videos that each user watched before the test day.

    Raises:
        InputError: Files are damaged, or the model was trained with other encoders.
    """
    model = read_model(folder)
    for name, fingerprint in model.config.encoder_fingerprints.items():
        current = snapshot.fingerprints.get(name, fingerprint)
        if current != fingerprint:
            raise InputError(
                f"{folder / 'model.json'}: {name} was trained on features of encoder {fingerprint}, but the"
                f" snapshot has {current}; train again, or restore section embed of params.yaml"
            )
    config = model.config
    users = UserData(
        snapshot.sequences("before_test", config.contexts),
        snapshot.user_profiles(config, "before_test"),
        seen,
    )
    item_table = snapshot.item_table(config.modalities, config.video_ids, config.item_features)
    return Scorer(model, item_table, users)


def read_test_targets(snapshot: SnapshotReader, seen: SeenItems) -> Targets:
    """Return the targets of the test day: positives that are new to the user.

    Args:
        snapshot: Of the night.
        seen: Videos that each user watched before the test day.

    Raises:
        InputError: There is none.
    """
    targets = unseen_positives(snapshot.interactions("test"), seen, snapshot.videos.num_rows)
    if not len(targets.user_P):
        path = snapshot.night.require_output("snapshot", "test_interactions.parquet")
        raise InputError(
            f"{path}: on {snapshot.night.day} no user has a positive interaction with a new video;"
            " choose another night or lower snapshot.positive_watch_ratio"
        )
    return targets


def rank_model(name: str, scorer: Scorer, targets: Targets, k: int) -> tuple[RankingResult, ModalityWeights]:
    """Rank the catalogue for all users with a target. Shows a progress bar.

    Args:
        name: Of the model, for the progress bar.
        scorer: The model with its videos and users.
        targets: Of the test day.
        k: Number of best videos to keep for each user.

    Returns:
        The ranks of the targets with the best videos, and the modality weights.
    """
    with tqdm(total=len(targets.users), desc=f"evaluate {name}", unit="user") as progress:

        def with_progress() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for chunk in score_in_chunks(scorer, targets.users):
                yield chunk
                progress.update(len(chunk[0]))

        return rank_with_modality_weights(with_progress(), targets, k, scorer.item_table.has_VM.all(1))


def rank_baselines(
    snapshot: SnapshotReader, seen: SeenItems, targets: Targets, params: EvaluateConfig
) -> dict[str, RankingResult]:
    """Rank the catalogue by popularity, trending and ItemCF, counted on the training days.

    They read the same sequences as the models, the newest `sequences.max_length` interactions of a user.
    ItemCF also reads the positives between training and the test day.

    Args:
        snapshot: Of the night.
        seen: Videos that each user watched before the test day. They are masked.
        targets: Of the test day.
        params: Section `evaluate` of params.yaml.

    Returns:
        Name of the baseline -> its ranking.
    """
    V, k, train_sequences = snapshot.videos.num_rows, max(params.cutoffs), snapshot.sequences("train")
    train_positives = positives_by_user(train_sequences)
    known_positives = positives_by_user(snapshot.sequences("before_test"))
    item_scores = {
        "popularity": popularity(train_positives, V),
        "trending": trending(train_sequences, V, params.recency_half_life_days),
    }
    itemcf, user_chunks = ItemCF(train_positives, V), targets.users.split(users_per_chunk(V))

    def mask_seen(score_BV: Tensor, users_B: Tensor) -> Tensor:
        return score_BV.masked_fill(seen.mask(users_B, V), -torch.inf)

    ranked = {
        name: rank_catalogue(
            ((users_B, mask_seen(score_V.expand(len(users_B), -1), users_B)) for users_B in user_chunks),
            targets,
            k,
        )
        for name, score_V in item_scores.items()
    }
    itemcf_scores = (
        (users_B, mask_seen(itemcf.score_items(known_positives, users_B), users_B)) for users_B in user_chunks
    )
    return {**ranked, "itemcf": rank_catalogue(itemcf_scores, targets, k)}
