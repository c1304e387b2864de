"""params.yaml as frozen dataclasses: one a section, one section a step, units in the names.

A missing or unknown key, or a value of the wrong type or out of bounds, is an error that names file, section
and key.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from contracts.errors import InputError
from contracts.model_params import Align, Evaluate, Gate, Snapshot, Train
from contracts.strict import Count, NotNegative, Positive, Share, Whole, build
from contracts.world_params import World


@dataclass(frozen=True)
class Ingest:
    """What is held of landing files, and how much one may hold.

    batch_rows: how many records are held in memory at a time.
    max_record_kib: a longer line is refused.
    max_file_mib: a file that holds more, without compression, stops the step.
    """

    batch_rows: Count
    max_record_kib: Count
    max_file_mib: Count


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

    late_days: Whole
    clock_skew_minutes: Whole
    max_loops: Positive
    max_watch_minutes: Positive
    bot_events_per_hour: Count
    viewing_gap_minutes: Whole


@dataclass(frozen=True)
class Sequences:
    """max_length: how many of a person's newest viewings are kept."""

    max_length: Count


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
    batch_size: a video's frames or sound clips in one encoder call, on each device; a GPU that lacks memory
        for so many is given half, and half again. Videos never share a call: it would change their last bits.
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
    segment_seconds: Positive
    max_segments: Count
    frames_per_segment: Count
    frames_per_video: Count
    batch_size: Count
    videos_per_commit: Count
    decode_workers: Count
    decode_seconds: Positive
    decode_memory_mib: Count
    max_mib: Positive
    max_minutes: Positive
    max_megapixels: Positive
    synchrony: bool
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Checks:
    """Bounds of the data checks; shares are of the events received for the night.

    min_rows: fewer events than this block the night.
    min_of_usual: fewer events than this share of the median of the days before are worth a warning.
    max_unreadable: more than this share of lines that ingest could not read block the night.
    max_unreadable_file: a night with more than this share of its users, videos or features refused is
        blocked; a single file of any kind with more is worth a warning.
    max_missing_user, max_missing_video: shares of received events without these.
    max_rejected: more than this share of events refused by clean blocks the night.
    max_one_reason: more than this share refused for any one reason is worth a warning.
    max_watch_ratio: no viewing may last more than this many times its video; at least `clean.max_loops`.
    min_embedded: at least this share of videos with media (captions) must have their vectors.
    """

    min_rows: Whole
    min_of_usual: NotNegative
    max_unreadable: Share
    max_unreadable_file: Share
    max_missing_user: Share
    max_missing_video: Share
    max_rejected: Share
    max_one_reason: Share
    max_watch_ratio: Positive
    min_embedded: Share


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

    example_users: Whole


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
