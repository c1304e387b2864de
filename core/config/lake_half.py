"""The sections of params.yaml for the lake half: ingest, clean, sequences, embed and check."""

from dataclasses import dataclass
from typing import Literal

from core.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval


@dataclass(frozen=True)
class IngestConfig:
    """Limits for reading landing files.

    Attributes:
        batch_rows: records in memory at a time, for each file that is read.
        max_record_kib: a longer line is refused.
        max_file_mib: a file with more data, without compression, stops the step.
    """

    batch_rows: PositiveInt
    max_record_kib: PositiveInt
    max_file_mib: PositiveInt


@dataclass(frozen=True)
class CleanConfig:
    """Bounds of a plausible event, and the end of a viewing session.

    Attributes:
        late_days: days by which an event may arrive late.
        clock_skew_minutes: how far an event may lie after the end of the day on which it was received.
        max_replays: the longest watch time, in durations of the video.
        max_watch_minutes: the longest watch time if the duration is unknown.
        bot_events_per_hour: a user with more events in any clock hour of a day is a bot for that day.
        session_gap_minutes: a longer pause between events of a user and a video ends the viewing session.
    """

    late_days: NonNegativeInt
    clock_skew_minutes: NonNegativeInt
    max_replays: PositiveFloat
    max_watch_minutes: PositiveFloat
    bot_events_per_hour: PositiveInt
    session_gap_minutes: NonNegativeInt


@dataclass(frozen=True)
class SequencesConfig:
    """Length of the sequences, and the days on which the model is validated.

    Attributes:
        max_length: how many of a user's newest interactions a sequence keeps.
        validation_days: the newest days before the night that select the epoch and the weights of the final
            ranker. Training ends before them. A short history has fewer.
    """

    max_length: PositiveInt
    validation_days: PositiveInt


@dataclass(frozen=True)
class EmbedConfig:
    """The encoders, and how media is sampled and decoded.

    Attributes:
        visual, text: the encoder of the modality: `default` (the embedded one),
            `open_clip:<model>:<pretrained tag or checkpoint file>`, `landed` (ready-made vectors from
            landing/features) or `none`. Also `siglip:<folder>`, and for text `sentence:<hub name or folder>`
            (sentence-transformers).
        audio: `default`, `clap:<hub name or folder>`, `landed` or `none`.
        transcript: what is said joins the text: `whisper:<folder>` or `none`.
        screen_text: what is written on stills joins the text: `rapidocr`, `<module>:<function>` or `none`.
        description: a description of stills joins the text: `blip:<folder>` or `none`.
        stills_per_video: most stills of a video, evenly spaced, for `screen_text` and `description`.
        segment_seconds: length of a video segment.
        max_segments: segments of a video; the rest of the video is left out.
        frames_per_segment: frames sampled evenly from each segment.
        frames_per_video: most frames of a video. If more were sampled, evenly spaced ones are kept.
        batch_size: frames or audio clips of a video in one encoder call, on each device. If a GPU runs out of
            memory, the batch is halved, repeatedly. Videos never share a call, because that would change the
            last bits of their vectors.
        commit_mib: size of the vectors in one commit to the lake. A killed run keeps what it committed.
        decode_workers: decoding processes.
        decode_seconds, decode_memory_mib: time and memory limits for one file. A file that needs more is
            refused.
        max_mib, max_minutes, max_megapixels: limits for file size, duration by the header, and frame size. A
            file beyond them is refused before it is decoded.
        device: `cpu`, `cuda` (all visible GPUs) or `auto` (all visible GPUs, or else the CPU).
        precision: precision of the weights: `fp32`, `bf16` or `auto`. `auto` is bf16 if the device supports
            it, but fp32 for the embedded default. Another precision gives another encoder fingerprint.
    """

    visual: str
    text: str
    audio: str
    transcript: str
    screen_text: str
    description: str
    stills_per_video: PositiveInt
    segment_seconds: PositiveFloat
    max_segments: PositiveInt
    frames_per_segment: PositiveInt
    frames_per_video: PositiveInt
    batch_size: PositiveInt
    commit_mib: PositiveFloat
    decode_workers: PositiveInt
    decode_seconds: PositiveFloat
    decode_memory_mib: PositiveInt
    max_mib: PositiveFloat
    max_minutes: PositiveFloat
    max_megapixels: PositiveFloat
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class CheckConfig:
    """Bounds of the data checks. A night beyond a bound is blocked, or warned where that is said.

    Attributes:
        min_rows: fewest events received.
        min_volume_ratio: fewest events, as a share of the median of the nights before (warning).
        max_unreadable_rate: largest share of event lines that ingest refused.
        max_unreadable_rate_per_file: largest share of the records of one landing type that ingest refused. A
            single file beyond it is a warning.
        max_missing_user_rate, max_missing_video_rate: largest share of events without a user or video.
        max_reject_rate: largest share of events that clean refused.
        max_reject_rate_per_reason: largest share of events that clean refused for one reason (warning).
        max_watch_ratio: largest watch ratio of an interaction. Set it to at least `clean.max_replays`.
        max_psi: largest population stability index of a column against the nights before (warning).
        min_embedded_rate: smallest share of the videos with media, and of the captions, that have vectors.
    """

    min_rows: NonNegativeInt
    min_volume_ratio: NonNegativeFloat
    max_unreadable_rate: UnitInterval
    max_unreadable_rate_per_file: UnitInterval
    max_missing_user_rate: UnitInterval
    max_missing_video_rate: UnitInterval
    max_reject_rate: UnitInterval
    max_reject_rate_per_reason: UnitInterval
    max_watch_ratio: PositiveFloat
    max_psi: PositiveFloat
    min_embedded_rate: UnitInterval
