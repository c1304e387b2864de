"""params.yaml as frozen dataclasses: one a section, one section a step, units in the names.

A missing or unknown key, or a value of the wrong type, is an error that names file, section and key.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from contracts.errors import InputError
from contracts.strict import build
from contracts.world_params import World


@dataclass(frozen=True)
class Ingest:
    """batch_rows: how many records are held in memory at a time."""

    batch_rows: int


@dataclass(frozen=True)
class Clean:
    """What counts as a sane event.

    late_days: an event may arrive so many days after it happened.
    clock_skew_minutes: how far a device's clock may run ahead of the end of the day received.
    max_loops: a view may last at most so many times the video's duration.
    max_watch_minutes: the same bound where the duration is unknown.
    bot_events_per_hour: a user with more events in any clock hour of a day is a bot for that day.
    viewing_gap_minutes: silence after which the same person and video start a new viewing.
    """

    late_days: int
    clock_skew_minutes: int
    max_loops: float
    max_watch_minutes: float
    bot_events_per_hour: int
    viewing_gap_minutes: int


@dataclass(frozen=True)
class Sequences:
    """max_length: how many of a person's newest viewings are kept."""

    max_length: int


@dataclass(frozen=True)
class Embed:
    """Which encoders, and how media is sampled.

    visual, text: `default` (the embedded one), `open_clip:<model>:<pretrained tag or checkpoint file>`,
        `landed` (ready-made vectors from landing/features), or `none`; text also
        `sentence:<hub name or folder>` (sentence-transformers).
    audio: `default`, `clap:<hub name or folder>`, `landed`, or `none`.
    segment_seconds, max_segments: videos are cut into segments; what lies beyond is left out.
    frames_per_segment: frames sampled evenly from each segment.
    frames_per_video: of a video with more frames sampled than this, so many are kept, evenly spaced.
    batch_size: frames, captions or sound clips in one encoder call, on each device.
    videos_per_commit: finished videos per commit, so that a killed run keeps what it had.
    decode_workers: processes that decode.
    decode_seconds, decode_memory_mib: what one file may cost; a file that needs more is refused.
    max_mib, max_minutes, max_megapixels: the size, playing time (by its header) and pictures a file may have;
        one beyond is refused before anything of it is decoded.
    synchrony: whether each video's sound is compared with its motion while it is decoded, which needs every
        frame; `train.video_numbers` then has something to read under that name.
    device: `cpu`, `cuda`: every GPU that is visible, or `auto`: those, or the CPU.
    precision: of the weights: `fp32`, `bf16`, or `auto`: bf16 where the device computes with it, but fp32 for
        the embedded default. Vectors of another precision are other vectors.
    """

    visual: str
    text: str
    audio: str
    segment_seconds: float
    max_segments: int
    frames_per_segment: int
    frames_per_video: int
    batch_size: int
    videos_per_commit: int
    decode_workers: int
    decode_seconds: float
    decode_memory_mib: int
    max_mib: float
    max_minutes: float
    max_megapixels: float
    synchrony: bool
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Checks:
    """Bounds of the data checks; shares are of the events received for the night.

    min_rows: fewer events than this block the night. min_of_usual: fewer than this share of the median of the
        days before are worth a warning.
    max_unreadable: more than this share of lines that ingest could not read block the night.
    max_missing_user, max_missing_video, max_rejected: shares of events without these, and refused by clean.
    max_one_reason: more than this share refused for any one reason is worth a warning.
    max_watch_ratio: no viewing may last more than this many times its video; at least `clean.max_loops`.
    min_embedded: at least this share of videos with media (captions) must have their vectors.
    """

    min_rows: int
    min_of_usual: float
    max_unreadable: float
    max_missing_user: float
    max_missing_video: float
    max_rejected: float
    max_one_reason: float
    max_watch_ratio: float
    min_embedded: float


@dataclass(frozen=True)
class Snapshot:
    """What the model sees.

    positive_watch_ratio: a viewing counts as liked-by-watching from this share of the video on.
    profile_categories, profile_numbers: which profile columns are used, and as what.
    """

    positive_watch_ratio: float
    profile_categories: tuple[str, ...]
    profile_numbers: tuple[str, ...]


@dataclass(frozen=True)
class Align:
    """Contrastive alignment of the modalities (InfoNCE) in a space of `width` D.

    temperature: where the learned one starts, unless the champion has one.
    twin_cosine: videos as alike as this in one modality are no negatives of each other; above 1: all are.
    anchor_weight: weight of the distance to the champion's projections beside InfoNCE's 1.
    max_drift: 95 % of the probe videos move at most this far (1 − cosine) from where the champion has them.
    """

    width: int
    epochs: int
    batch_size: int
    learning_rate: float
    temperature: float
    twin_cosine: float
    anchor_weight: float
    max_drift: float
    seed: int


@dataclass(frozen=True)
class Train:
    """The model and how it is trained.

    model: ours, or a baseline in its place: it is trained, saved and measured the same way, from IDs alone.
    fusion: how a video's modalities meet (models/interest.py): `attention`, `late` and `hybrid` weigh them by
        person and video, `uniform` evenly, `early` before anything else.
    encoder: what reads the history. layers, heads, dropout: of the encoder.
    positions, profile: whether order and time gaps are told to the encoder, and the static profile is used.
    video_numbers: what the ranking heads read of a video beside its content, columns of the snapshot's
        catalogue: comment_sentiment, comments, synchrony, best_synchrony, sync_delay_ms, duration_ms.
    max_length: viewings of history the model reads. skip_below: a smaller watched share than this is a skip.
    ranking_weight, align_weight, anchor_weight: of these losses beside retrieval's 1; the anchor is align's.
    negatives: videos drawn a step for retrieval's softmax (logQ-corrected); 0: all of them, exactly.
    horizon: a state's target is drawn from so many coming positive videos.
    id_dropout: share of the videos that a step treats as new, so that content learns to stand alone.
    warmup_epochs: the learning rate rises over these, then falls as a cosine until `epochs`.
    patience: epochs without a better validation NDCG@10 before stopping. clip_norm: gradient norm bound.
    device: `cpu`, `cuda` (one GPU a process), or `auto`: a GPU if there is one. A GPU computes in bf16.
    """

    model: Literal["interest", "popularity", "itemcf", "mf_bpr", "lightgcn", "sasrec", "bert4rec", "din"]
    fusion: Literal["attention", "late", "hybrid", "uniform", "early"]
    encoder: Literal["transformer", "lstm", "hstu", "mean"]
    layers: int
    heads: int
    dropout: float
    positions: bool
    profile: bool
    video_numbers: tuple[str, ...]
    max_length: int
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip_norm: float
    ranking_weight: float
    align_weight: float
    anchor_weight: float
    negatives: int
    skip_below: float
    id_dropout: float
    horizon: int
    warmup_epochs: int
    device: Literal["auto", "cpu", "cuda"]
    seed: int


@dataclass(frozen=True)
class Evaluate:
    """How good tonight's model is found to be.

    cutoffs: where NDCG, Recall, MRR, coverage, Gini and the share of the long tail are told.
    k: the one of them that the gate decides by, and that slices and differences are told at.
    cold_events: a person with fewer viewings is cold.
    """

    k: int
    cutoffs: tuple[int, ...]
    cold_events: int
    bootstrap_samples: int
    seed: int


@dataclass(frozen=True)
class Gate:
    """Bounds a challenger must meet.

    min_gain: the lower end of the paired bootstrap interval of NDCG@k against the champion must exceed this.
    max_slice_loss: no slice may lose more NDCG@k than this, unless its interval says that it may be chance.
    min_users: an evaluation on fewer users decides nothing.
    max_calibration_error: of the ranking head for complete views.
    min_modality_entropy_gap, max_modality_share: α counts as collapsed when its mean entropy is nearer than
        min_modality_entropy_gap to ln M, or when one modality's mean share is more than max_modality_share.
    max_drift: 95 % of the probe videos may be at most this far (1 − cosine) from where the champion has them.
    """

    min_gain: float
    max_slice_loss: float
    min_users: int
    max_calibration_error: float
    min_modality_entropy_gap: float
    max_modality_share: float
    max_drift: float


@dataclass(frozen=True)
class Promote:
    """freeze: register the challenger, but leave the champion where it is."""

    freeze: bool


@dataclass(frozen=True)
class Record:
    """author_name, author_email: who signs the record's commits."""

    author_name: str
    author_email: str


@dataclass(frozen=True)
class Report:
    """example_users: how many people's nights are shown in detail."""

    example_users: int


@dataclass(frozen=True)
class Params:
    """The whole of params.yaml."""

    night: str
    world: World
    ingest: Ingest
    clean: Clean
    sequences: Sequences
    embed: Embed
    check: Checks
    snapshot: Snapshot
    align: Align
    train: Train
    evaluate: Evaluate
    gate: Gate
    promote: Promote
    record: Record
    report: Report

    def section(self, step: str) -> Any:
        """The section of one step."""
        return getattr(self, step)


def load(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        InputError: the file is missing or not YAML, a key is missing or unknown, a value has the wrong type.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; pass --params or run from the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return build(Params, raw, str(path))
