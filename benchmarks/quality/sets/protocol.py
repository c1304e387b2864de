"""The protocol of all data sets: models are trained on one fold and evaluated on a later one.

Full ranking: the whole catalogue is ranked, seen videos are masked and ties are broken by row. Models are
selected on the validation targets, which follow training in time. The test targets are ranked once.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.result import round_interval
from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig, RerankConfig
from core.tables import BEHAVIOURS
from datasets.landing_form import Record
from datasets.split import Fold, SplitDataset
from features.text_normalisation import normalise_text, raw_text
from models.baselines import BASELINES, Baseline, trending
from models.config import ModelConfig
from models.data.folds import Fold as FoldInputs
from models.data.targets import Targets
from models.data.users import UserData
from models.encoders import TextEncoder
from models.evaluation.metrics import Floats, ndcg, paired_bootstrap, recall
from models.evaluation.scoring import (
    Scorer,
    average_users,
    mean_ndcg,
    rank_catalogue,
    score_in_chunks,
)
from models.interest_model import InterestModel
from models.layers.projections import ModalityProjection
from models.retrieval.full_ranking import users_per_chunk
from models.seeding import seed_everything
from models.sources import count_sources, source_scores
from models.training.baselines import BaselineTrainingConfig, fit_baseline
from models.training.choices import collect_choices
from models.training.initialisation import init_from_training_data
from models.training.objective import Objective
from training.interest import fit_interest_model
from training.model_config import stored_settings
from training.validation import NdcgValidation

CUTOFFS = (5, 10, 20)
BOOTSTRAP_SAMPLES = 2000
SEQUENTIAL_MODELS = ("sasrec", "esasrec", "bert4rec", "din")  # baselines that read the order of a sequence
NO_RERANK = RerankConfig(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
Curve = list[dict[str, float]]


@dataclass(frozen=True)
class TrainedModel:
    """A model at its best epoch, with the validation metrics of each epoch."""

    model: InterestModel | Baseline
    curve: Curve


@dataclass(frozen=True)
class ModelResult:
    """The test result of a model.

    Attributes:
        per_user: metric, such as `ndcg@10` -> value of each user with a target.
        curve: validation metrics of each epoch.
    """

    per_user: Mapping[str, Floats]
    curve: Curve

    def mean_metrics(self, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
        """Return the means over the users."""
        return {
            f"{m}@{k}": round(float(self.per_user[f"{m}@{k}"].mean()), 4)
            for m in ("recall", "ndcg")
            for k in cutoffs
        }

    def training_summary(self) -> dict:
        """Return the number of epochs, the best one, and the validation NDCG@10 of every fifth epoch."""
        values = [round(row["ndcg@10"], 4) for row in self.curve]
        return {
            "epochs": len(values),
            "best": max(values),
            "best_epoch": 1 + int(np.argmax(values)),
            "curve": values[::5],
        }


def train_baseline(
    name: str, dataset: SplitDataset, base_config: ModelConfig, hyperparameters: BaselineTrainingConfig
) -> TrainedModel:
    """Train a baseline on the training fold.

    Args:
        name: key of BASELINES.
        base_config: sizes that all models share.
    """
    seed_everything(hyperparameters.seed)
    no_content: dict = {
        "modalities": {},
        "encoder_fingerprints": {},
        "user_categorical_features": {},
        "user_numerical_features": {},
    }
    # Baselines that ignore the order read the whole sequence.
    length = base_config.max_length if name in SEQUENTIAL_MODELS else 1 << 20
    model = BASELINES[name](replace(base_config, model=name, max_length=length, **no_content))
    scorer = _make_scorer(model, dataset, dataset.train)
    valid = lambda: {"ndcg@10": mean_ndcg(scorer, dataset.train.targets, 10)}  # noqa: E731
    return TrainedModel(
        model,
        fit_baseline(model, dataset.train.sequences, dataset.item_table, hyperparameters, valid, "ndcg@10"),
    )


def train_interest_model(
    dataset: SplitDataset, base_config: ModelConfig, config: TrainConfig
) -> TrainedModel:
    """Train the interest model by the training loop of a night, but without aligning the modalities first.

    NDCG@10 of retrieval selects the epoch. The sources of the final ranker are counted on the training fold
    only.

    Args:
        base_config: sizes that all models share. The keys of `config.model` take precedence.
        config: parameters of the model and its training.
    """
    assert isinstance(config.model, InterestModelConfig)
    seed_everything(config.seed)
    model = InterestModel(replace(base_config, **stored_settings(config.model), **dataset.config_fields))
    trained_V = dataset.item_table.id_row_V >= 0
    for i, (m, head) in enumerate(model.item_fusion.projections.heads.items()):
        assert isinstance(head, ModalityProjection)
        head.init_from_statistics(
            dataset.item_table.modality_features[m][trained_V & dataset.item_table.has_VM[:, i]]
        )
    scorer = _make_scorer(model, dataset, dataset.train)
    view_counts_V = torch.bincount(dataset.train.sequences.video_E, minlength=len(trained_V))
    init_from_training_data(
        model,
        dataset.item_table,
        dataset.train.sequences,
        view_counts_V,
        config.model.objective.recency_half_life_days,
    )
    objective = Objective(
        config.model.objective,
        last_day=dataset.train.sequences.last_day,
        alignment_rows=trained_V.nonzero().squeeze(1),
        near_duplicate_cosine=0.99,
    )
    validation = FoldInputs(None, scorer.item_table, scorer.user_data, dataset.train.targets)
    curve = fit_interest_model(scorer, NdcgValidation([validation]), config, objective, config.epochs)
    _fit_final_ranker(model, scorer, validation, config.seed)
    return TrainedModel(model, curve)


def _fit_final_ranker(model: InterestModel, scorer: Scorer, validation: FoldInputs, seed: int) -> None:
    """Fit the final ranker on the validation targets. Its sources are counted on the training fold."""
    if not model.sources:
        return
    items = model.eval().encode_items(scorer.item_table)
    model.set_average_users(average_users(scorer))
    count_sources(model.sources, scorer.user_data.sequences, scorer.item_table)

    def score(users_B: Tensor) -> Tensor:
        score_BV, _ = model.score_items(scorer.encode_user(users_B, items), items)
        batch = scorer.batch(users_B)
        personal_BV = model.personal_scores(score_BV, batch.lengths, items, model.average_users)
        return source_scores(personal_BV, model.sources, batch, scorer.item_table)

    model.final_ranker.fit([collect_choices(score, validation, seed, model.config.max_length)])


def evaluate_model(trained: TrainedModel, dataset: SplitDataset) -> ModelResult:
    """Evaluate a model on the test targets."""
    scorer, targets = _make_scorer(trained.model, dataset, dataset.test), dataset.test.targets
    scored = ((users_B, score_BV) for users_B, score_BV, _ in score_in_chunks(scorer, targets.users))
    return compute_result(rank_catalogue(scored, targets, 1).rank_P, targets, trained.curve)


def evaluate_trending(dataset: SplitDataset, half_life_days: float) -> ModelResult:
    """Evaluate trending, a ranking by recent positives that is the same for all users.

    Args:
        half_life_days: after so many days a positive counts half.
    """
    fold, videos = dataset.test, len(dataset.item_table.id_row_V)
    score_V = trending(dataset.train.sequences, videos, half_life_days)
    scored = (
        (
            users_B,
            score_V.expand(len(users_B), -1).masked_fill(fold.seen_items.mask(users_B, videos), -torch.inf),
        )
        for users_B in fold.targets.users.split(users_per_chunk(videos))
    )
    return compute_result(rank_catalogue(scored, fold.targets, 1).rank_P, fold.targets, [])


def compute_result(rank_P: Tensor, targets: Targets, curve: Curve) -> ModelResult:
    """Compute the metrics of each user from the ranks of the targets."""
    users = targets.users
    user_row_P = torch.searchsorted(users, targets.user_P).numpy()
    metrics = {"recall": recall, "ndcg": ndcg}
    per_user = {
        f"{name}@{k}": metric(rank_P.numpy(), user_row_P, len(users), k)
        for name, metric in metrics.items()
        for k in CUTOFFS
    }
    return ModelResult(per_user, curve)


def mean_over_seeds(results: Sequence[ModelResult], cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Return the means over the seeds of one model."""
    means = [result.mean_metrics(cutoffs) for result in results]
    return {name: round(float(np.mean([metrics[name] for metrics in means])), 4) for name in means[0]}


def paired_difference(
    results: Sequence[ModelResult],
    other_results: Sequence[ModelResult],
    name: str,
    mask_B: Floats | None = None,
) -> dict:
    """Compare two models by user and seed.

    Args:
        name: metric, such as `ndcg@10`.
        mask_B: the users to compare, None for all.

    Returns:
        mean of results minus other results, with its 95 % bootstrap interval.
    """
    users = slice(None) if mask_B is None else mask_B
    differences = [
        a.per_user[name][users] - b.per_user[name][users] for a, b in zip(results, other_results, strict=True)
    ]
    interval = paired_bootstrap(
        np.stack(differences) if len(differences) > 1 else differences[0], BOOTSTRAP_SAMPLES, 1
    )
    return round_interval(interval)


def encode_film_texts(films: Sequence[Record], encoder: TextEncoder) -> tuple[Tensor, Tensor]:
    """Embed title, year and genres of every film.

    Args:
        films: the films with `caption` and `hashtags`.

    Returns:
        text_VF: embeddings of the texts.
        has_V: whether the film has a text.
    """
    texts_clean = [normalise_text(raw_text(film)) for film in films]
    vectors = encoder.encode([text or "-" for text in texts_clean])
    return torch.from_numpy(vectors).float(), torch.tensor([*map(bool, texts_clean)])


def log_progress(*values: object) -> None:
    """Print progress to stderr."""
    print(*values, file=sys.stderr, flush=True)


def _make_scorer(model: InterestModel | Baseline, dataset: SplitDataset, fold: Fold) -> Scorer:
    return Scorer(model, dataset.item_table, UserData(fold.sequences, dataset.user_profiles, fold.seen_items))


def make_model_config(
    num_items: int, width: int, layers: int, heads: int, dropout: float, max_length: int
) -> ModelConfig:
    """Make a ModelConfig with the sizes that the model and the baselines share."""
    return ModelConfig(
        model="interest", fusion="attention", encoder="transformer", layers=layers, heads=heads,
        dropout=dropout, positions=True, profile=False, max_length=max_length, skip_watch_ratio=0.2,
        positive_watch_ratio=0.5, width=width, modalities={}, encoder_fingerprints={},
        behaviours=list(BEHAVIOURS), user_categorical_features={}, user_numerical_features={},
        item_features={}, video_ids=[str(i) for i in range(num_items)],
    )  # fmt: skip
