"""The sections of params.yaml that the model half reads: snapshot, align, train, evaluate, gate."""

from dataclasses import dataclass
from typing import Literal

from contracts.strict import Count, Finite, NotNegative, Positive, Seed, Share, Whole


@dataclass(frozen=True)
class Snapshot:
    """What the model sees.

    positive_watch_ratio: a viewing counts as liked-by-watching from this share of the video on.
    profile_categories, profile_numbers: which profile columns are used, and as what.
    """

    positive_watch_ratio: NotNegative
    profile_categories: tuple[str, ...]
    profile_numbers: tuple[str, ...]


@dataclass(frozen=True)
class Align:
    """Contrastive alignment of the modalities (InfoNCE) in a space of `width` D.

    epochs, batch_size, learning_rate: of its training; a step has batch_size videos.
    temperature: where the learned one starts, unless the champion has one.
    twin_cosine: videos as alike as this in one modality are no negatives of each other; above 1: all are.
    anchor_weight: weight of the distance to the champion's projections beside InfoNCE's 1.
    max_drift: 95 % of the probe videos move at most this far (1 − cosine) from where the champion has them.
    """

    width: Count
    epochs: Whole
    batch_size: Count
    learning_rate: Positive
    temperature: Positive
    twin_cosine: Finite
    anchor_weight: NotNegative
    max_drift: NotNegative
    seed: Seed


@dataclass(frozen=True)
class Rerank:
    """The second stage: what is added to the retrieval scores of a person's best videos.

    candidates: so many of the best by retrieval are looked at again; 0: there is no second stage.
    complete, like, comment, share, follow, skip: weight of the calibrated probability of each.
    negative_comments: weight of how negative a video's comments are, 0 to 1; below 0 weighs such videos down.
    """

    candidates: Whole
    complete: Finite
    like: Finite
    comment: Finite
    share: Finite
    follow: Finite
    skip: Finite
    negative_comments: Finite


@dataclass(frozen=True)
class Train:
    """The model and how it is trained.

    model: ours, or a baseline in its place: it is trained, saved and measured the same way, from IDs alone.
    fusion: how a video's modalities meet (models/interest.py): `attention`, `late` and `hybrid` weigh them by
        person and video, `user` by person alone, `uniform` evenly, `early` before anything else.
    encoder: what reads the history.
    layers, heads, dropout: of the encoder.
    positions: whether order and time gaps are told to the encoder.
    profile: whether the static profile is used.
    contexts: what the encoder is told of the moment of a viewing beside the hour: device, network.
    video_numbers: what the ranking heads read of a video beside its content, columns of the snapshot's
        catalogue: comment_sentiment, comments, synchrony, best_synchrony, sync_delay_ms, duration_ms.
    max_length: viewings of history the model reads.
    ranking_weight, align_weight, anchor_weight: of these losses beside retrieval's 1; the anchor is align's.
    walk: weight of where a random walk from a person's likes over who liked what ends (models/walk.py), in
        retrieval's scores; worth most where histories are short and content tells little; 0: none is walked.
    rerank: the second stage.
    negatives: videos drawn a step for retrieval's softmax (logQ-corrected); 0: all of them, exactly.
    skip_below: a viewing with a smaller watched share than this is a skip.
    horizon: a state's target is drawn from so many coming positive videos.
    half_life_days: what was liked so many days before the last of training counts half, in retrieval's loss
        and in the popularity that it starts from; 0: all counts the same.
    id_dropout: share of the videos that a step treats as new, so that content learns to stand alone.
    epochs: at most so many. batch_size: people in a step.
    batch_of: what all steps have as many of: `people`, so that each counts the same whatever they did, or
        `events` (those of batch_size people on average), so that each event does.
    learning_rate: at its highest; weight_decay: of AdamW.
    warmup_epochs: the learning rate rises over these, then falls as a cosine until `epochs`.
    patience: epochs without a better validation NDCG@10 before stopping.
    clip_norm: gradient norm bound.
    device: `cpu`, `cuda` (one GPU a process), or `auto`: a GPU if there is one.
    precision: of matrix products while training: `fp32`, `bf16`, or `auto`: bf16 on a GPU that has it.
    seed: of the model's start and of all that training draws.
    """

    model: Literal["interest", "popularity", "itemcf", "mf_bpr", "lightgcn", "sasrec", "bert4rec", "din"]
    fusion: Literal["attention", "user", "late", "hybrid", "uniform", "early"]
    encoder: Literal["transformer", "lstm", "hstu", "mean"]
    layers: Count
    heads: Count
    dropout: Share
    positions: bool
    profile: bool
    contexts: tuple[Literal["device", "network"], ...]
    video_numbers: tuple[str, ...]
    max_length: Count
    epochs: Count
    patience: Count
    batch_size: Count
    batch_of: Literal["people", "events"]
    learning_rate: Positive
    weight_decay: NotNegative
    clip_norm: Positive
    ranking_weight: NotNegative
    align_weight: NotNegative
    anchor_weight: NotNegative
    walk: NotNegative
    rerank: Rerank
    negatives: Whole
    skip_below: NotNegative
    id_dropout: Share
    horizon: Count
    half_life_days: NotNegative
    warmup_epochs: Whole
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    seed: Seed


@dataclass(frozen=True)
class Evaluate:
    """How good tonight's model is found to be.

    cutoffs: where NDCG, Recall, MRR, coverage, Gini and the share of the long tail are told.
    k: the one of them that the gate decides by, and that slices and differences are told at.
    cold_events: a person with fewer viewings is cold.
    half_life_days: of the baseline `trending`, popularity where each like counts half after so long.
    bootstrap_samples, seed: of the intervals.
    """

    k: Count
    cutoffs: tuple[Count, ...]
    cold_events: Whole
    half_life_days: NotNegative
    bootstrap_samples: Count
    seed: Seed


@dataclass(frozen=True)
class Gate:
    """Bounds a challenger must meet.

    min_gain: the lower end of the paired bootstrap interval of NDCG@k against the champion must exceed this;
        while there is none, against popularity, what is trending, and ItemCF.
    max_slice_loss: no slice may lose more NDCG@k than this, unless its interval says that it may be chance.
    min_users: an evaluation on fewer users decides nothing.
    max_calibration_error: of the ranking head for complete views or, where data does not tell these, likes.
    min_modality_entropy_gap, max_modality_share: α counts as collapsed when its mean entropy is nearer than
        min_modality_entropy_gap to ln M, or when one modality's mean share is more than max_modality_share.
    max_drift: 95 % of the probe videos may be at most this far (1 − cosine) from where the champion has them.
    """

    min_gain: Finite
    max_slice_loss: Finite
    min_users: Whole
    max_calibration_error: NotNegative
    min_modality_entropy_gap: NotNegative
    max_modality_share: NotNegative
    max_drift: NotNegative
