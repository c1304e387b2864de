"""Train the embedded default encoders on the videos of landing folders.

Section `embed` of params.yaml sets how media are decoded and sampled. Training is contrastive: frames, text
and audio of one video belong together. Videos that share a caption, a hashtag or a music title are never
negatives. The weights of the epoch with the lowest loss on held-out videos are written. A card lists data,
parameters and digests. The same data, parameters and seed give the same bytes.
"""

import platform
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from tqdm import tqdm

from core import hashing
from core.config import EmbedConfig
from core.errors import InputError
from core.records import LANDING_TYPES
from core.run_manifests import write_json
from features.text_normalisation import normalise_text
from lake import landing
from media.clip import DecodedVideo, SamplingConfig, UnreadableMedia
from media.decoders import DecodeLimits, DecoderPool
from models.encoders import AudioEncoder, ImageEncoder
from models.encoders.default import CLAP_FILE, CLIP_FILE, floating_point_state
from models.encoders.pretraining import (
    MultimodalEncoders,
    PretrainingConfig,
    PretrainingExample,
    init_encoders,
    train,
)
from models.seeding import seed_everything

HELD_OUT_SHARE = 0.1  # share of the videos that select the epoch
MIN_VIDEOS = 20
CARD = "card.json"
SAMPLING = ("segment_seconds", "max_segments", "frames_per_segment")
LIBRARIES = ("torch", "open-clip-torch", "transformers", "numpy", "av")


def pretrain(
    landings: Sequence[Path], embed_params: EmbedConfig, config: PretrainingConfig, out: Path
) -> dict[str, Any]:
    """Train the encoders, and write their weights and a card.

    Args:
        landings: Landing folders with videos and media.
        embed_params: Section `embed` of params.yaml.
        config: Settings of the training.
        out: Folder of the weights.

    Returns:
        The card.

    Raises:
        InputError: A setting is out of range, or there are too few videos with media.
        FloatingPointError: A loss or gradient is not finite.
    """
    _check_config(config)
    seed_everything(config.seed)
    encoders = init_encoders()
    examples, skipped = read_examples(landings, embed_params, encoders)
    if len(examples) < MIN_VIDEOS:
        raise InputError(
            f"{', '.join(map(str, landings))}: {len(examples)} videos have readable media, but training "
            f"needs {MIN_VIDEOS} or more; add landing folders or simulate more videos"
        )
    order = np.random.default_rng(config.seed).permutation(len(examples))
    valid_rows, train_rows = np.split(order, [max(2, round(HELD_OUT_SHARE * len(order)))])
    curve = train(encoders, [examples[i] for i in train_rows], [examples[i] for i in valid_rows], config)
    out.mkdir(parents=True, exist_ok=True)
    for file, model in zip((CLIP_FILE, CLAP_FILE), encoders.models, strict=True):
        save_file(floating_point_state(model), out / file)
    card = {
        "note": "the embedded default encoders, made by `undercurrent pretrain`",
        "landing": [str(folder) for folder in landings],
        "data": hashing.hash_lines(line for folder in landings for line in _file_digests(folder)),
        "videos": len(examples),
        "held_out": len(valid_rows),
        "skipped_by_reason": dict(sorted(skipped.items())),
        "training": vars(config),
        "sampling": {name: getattr(embed_params, name) for name in SAMPLING},
        "curve": [{name: round(value, 4) for name, value in epoch.items()} for epoch in curve],
        "digests": {file: hashing.hash_file(out / file) for file in (CLIP_FILE, CLAP_FILE)},
        "software": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }
    write_json(out / CARD, card)
    return card


def read_examples(
    landings: Sequence[Path], params: EmbedConfig, encoders: MultimodalEncoders
) -> tuple[list[PretrainingExample], Counter[str]]:
    """Read and decode the videos of all folders.

    Returns:
        The videos with readable media, and the number of other videos by reason.

    Raises:
        InputError: See `read_videos`.
    """
    examples: list[PretrainingExample] = []
    skipped: Counter[str] = Counter()
    for folder in landings:
        records = read_videos(folder)
        decoded = decode_clips(folder, records, params, encoders.image, encoders.audio)
        for record, clip in zip(records, decoded, strict=True):
            if isinstance(clip, DecodedVideo):
                examples.append(make_example(record, clip, encoders.audio))
            else:
                skipped[clip.reason] += 1
    return examples, skipped


def read_videos(folder: Path) -> list[dict[str, Any]]:
    """Return the video records of a landing folder that name media. A later record replaces an earlier one.

    Records that cannot be read are left out.

    Raises:
        InputError: No video has media.
    """
    landing_type = LANDING_TYPES["videos"]
    files = [
        path
        for day in landing.list_days(folder, "videos")
        for path in landing.list_files(folder, "videos", day)
    ]
    records = (record for path in files for _, _, record in landing.read_records(path, landing_type))
    latest = {record["video_id"]: record for record in records if isinstance(record, dict)}
    with_media = [record for _, record in sorted(latest.items()) if record["media_uri"]]
    if not with_media:
        raise InputError(
            f"{folder}: no videos with media in videos/dt=…; `python -m simulator render` writes some"
        )
    return with_media


def decode_clips(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    params: EmbedConfig,
    image: ImageEncoder,
    audio: AudioEncoder,
) -> Iterator[DecodedVideo | UnreadableMedia]:
    """Yield the media of each video, decoded and sampled for two encoders.

    Args:
        folder: Landing folder.
        records: Its videos.
        params: Section `embed` of params.yaml.
        image: Encoder that sets the image size.
        audio: Encoder that sets the sample rate.
    """
    sampling = SamplingConfig(
        params.segment_seconds,
        params.max_segments,
        params.frames_per_segment,
        image.image_size,
        image.resize_mode,
        audio.sample_rate,
    )
    limits = DecodeLimits(params.decode_seconds, params.decode_memory_mib << 20)
    uris = [record["media_uri"] for record in records]
    with DecoderPool(folder.resolve(), sampling, limits, params.decode_workers) as decoders:
        yield from tqdm(decoders.decode(uris), f"decode {folder}", total=len(uris), unit="video")


def subject_tags(record: Mapping[str, Any]) -> frozenset[str]:
    """Return the hashtags of a video in lower case, including those in the caption."""
    caption, hashtags = record["caption"] or "", record["hashtags"] or []
    return frozenset(tag.lstrip("#").casefold() for tag in (*hashtags, *re.findall(r"#\w+", caption)))


def make_example(record: Mapping[str, Any], clip: DecodedVideo, audio: AudioEncoder) -> PretrainingExample:
    """Return a video as training reads it. The whole caption and the whole music title are tags too."""
    caption, music = record["caption"] or "", record["music_title"] or ""
    fields = (caption, " ".join(f"#{tag}" for tag in record["hashtags"] or ()), music)
    texts = tuple(text for text in map(normalise_text, fields) if text)
    tags = subject_tags(record) | {text.casefold() for text in (caption, music) if text}
    spectrograms = {
        segment: audio.spectrograms([samples])[0].half() for segment, samples in clip.audio.items()
    }
    return PretrainingExample(texts, tags, clip.frames, spectrograms)


def _file_digests(folder: Path) -> Iterator[str]:
    """Yield a line for each file that was read: its path in the landing folder, and its digest."""
    records = read_videos(folder)
    files = sorted(path for path in (folder / "videos").rglob("*") if path.is_file())
    media = [folder / record["media_uri"] for record in records]
    for path in (*files, *(path for path in media if path.is_file())):
        yield f"{path.relative_to(folder).as_posix()} {hashing.hash_file(path)}"


def _check_config(config: PretrainingConfig) -> None:
    for name, bound in (("epochs", 0), ("batch_size", 1), ("learning_rate", 0)):
        value = getattr(config, name)
        if value <= bound:
            raise InputError(f"--{name.replace('_', '-')} is {value}; it must be above {bound}")
