"""Loads the compared models of a night, and ranks the whole catalogue with each for the test users."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from core.errors import InputError
from core.time_split import TEST_FOLD
from evaluation.sampled_users import sample_test_users
from evaluation.slices import VideoSliceRanks
from models.data.targets import Targets
from models.evaluation.scoring import (
    ModalityWeights,
    RankingResult,
    Scorer,
    rank_with_modality_weights,
    score_in_chunks,
)
from snapshots.reader import SnapshotReader, unseen_positives
from snapshots.saved_models import read_model


def load_scorer(folder: Path, snapshot: SnapshotReader) -> Scorer:
    """Load a saved model with the videos and users of the snapshot, as of the test day.

    Videos and profile values that the model was not trained on are unknown to it. A compared model reads the
    vectors of the encoders that it was trained on.

    Args:
        folder: Of the bundle.
        snapshot: Of the night.

    Raises:
        InputError: Files are damaged, or the night's own model was trained with other encoders.
    """
    model = read_model(folder)
    if folder == snapshot.night.workspace / "train":
        _require_current_encoders(folder, model.config.encoder_fingerprints, snapshot)
    fold = snapshot.fold(TEST_FOLD, model.config)
    return Scorer(model, fold.item_table, fold.users, fold.day)


def _require_current_encoders(
    folder: Path, encoder_fingerprints: Mapping[str, str], snapshot: SnapshotReader
) -> None:
    for name, fingerprint in encoder_fingerprints.items():
        current = snapshot.encoder_fingerprints.get(name, fingerprint)
        if current != fingerprint:
            raise InputError(
                f"{folder / 'model.json'}: {name} was trained on features of encoder {fingerprint}, but the"
                f" snapshot has {current}; train again, or restore section embed of params.yaml"
            )


def read_test_targets(scorer: Scorer, snapshot: SnapshotReader) -> Targets:
    """Return the targets of the test day: positives that are new to the user and available.

    They are those of `sample_test_users`.

    Args:
        scorer: Any model, with what is known before the test day.
        snapshot: Of the night.

    Raises:
        InputError: There is none.
    """
    targets = unseen_positives(snapshot.interactions(TEST_FOLD), scorer.user_data.seen, scorer.available)
    if not len(targets.user_P):
        path = snapshot.night.require_output("snapshot", "interactions_test.parquet")
        raise InputError(
            f"{path}: on {snapshot.night.day} no user has a positive interaction with a new video;"
            " choose another night or lower snapshot.positive_watch_ratio"
        )
    return targets.of_users(sample_test_users(targets.users))


def rank_model(
    name: str,
    scorer: Scorer,
    targets: Targets,
    k: int,
    video_slice_ranks: VideoSliceRanks | None = None,
) -> tuple[RankingResult, ModalityWeights]:
    """Rank the catalogue for all users with a target. Shows a progress bar.

    Args:
        name: Of the model, for the progress bar.
        scorer: The model with its videos and users.
        targets: Of the test day.
        k: Number of best videos to keep for each user.
        video_slice_ranks: Gets the scores of each chunk. None: no slice of videos is ranked.

    Returns:
        The ranks of the targets with the best videos, and the modality weights.
    """
    with tqdm(total=len(targets.users), desc=f"evaluate {name}", unit="user") as progress:

        def with_progress() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for chunk in score_in_chunks(scorer, targets.users):
                if video_slice_ranks is not None:
                    video_slice_ranks.add(*chunk[:2])
                yield chunk
                progress.update(len(chunk[0]))

        return rank_with_modality_weights(with_progress(), targets, k, scorer.item_table.has_VM.all(1))
