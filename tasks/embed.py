"""Turn the pictures, sound and text of new videos into vectors; videos that have theirs are left alone.

A video whose newest record names another file, or says something else, is embedded again: its old vectors go.
The same `media_uri` is taken for the same file.

A video whose media cannot be read is a reject with its reason and keeps its text. Media that were missing, or
took too long, are tried again by every run, also of the same night. A killed run keeps every commit it made.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from contracts import digests, place, step
from contracts.audits import lake_of
from contracts.errors import InputError
from contracts.lake import Lake
from contracts.params import Embed
from contracts.place import Night
from contracts.receipts import Receipt, Rows
from contracts.records import LANDED
from contracts.tables import SYNCHRONY, WHOLE_VIDEO
from media.clip import SYNCHRONY_METHOD, Clip, Limits, Sampling, StoreUnavailable, Unreadable
from media.decoders import Decoders
from models import encoders
from models.encoders import Encoder, ImageEncoder, Replicas, SoundEncoder
from tasks.captions import TEXT
from tasks.embedding import Batches, Vectors, rows
from tasks.refusals import Refusals, Reject, reject
from tasks.unembedded import MEDIA, WHOLE_FILE, Video, covered, known_videos, step_of, unembedded

NONE = "none"
MODALITIES = ("visual", "text", "audio")


@dataclass
class Tally:
    """What became of the videos so far."""

    rejected: Counter[str] = field(default_factory=Counter)  # reason -> videos whose media gave nothing
    lacking: Counter[str] = field(default_factory=Counter)  # modality -> videos whose media plays without it
    embedded: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # by modality
    broken_midway: int = 0


def run(params: Embed, night: Night) -> Receipt:
    """Embed what the videos known by the night still lack, `videos_per_commit` at a time.

    Raises:
        InputError: an encoder that cannot be, or a media store that is away.
    """
    lake = lake_of(night.day)
    made = _encoders(params)
    ours = _fingerprints(params, made)
    landed = {modality: LANDED for modality in MODALITIES if getattr(params, modality) == LANDED}
    fingerprints = ours | landed
    with lake.alone("embed"):
        reads = {"videos": lake.version("videos")}
        known = known_videos(lake, night.day)
        done = covered(lake, night.day, fingerprints)
        todo = unembedded(lake, known, {modality: done[modality] for modality in ours})
        tally = _embed(lake, params, night.day, todo, made, ours) if todo else Tally()
    have = {m: sorted((done[m].keys() | tally.embedded[m]) & known.keys()) for m in fingerprints}
    return Receipt(
        reads=reads,
        writes={name: lake.version(name) for name in ("features", "rejects")},
        rows=Rows(len(todo), len(todo) - tally.rejected.total(), dict(sorted(tally.rejected.items()))),
        digests={m: digests.of_lines([fingerprints[m], *videos]) for m, videos in have.items()},
        facts={
            "fingerprints": {m: fingerprints[m] for m in MODALITIES if m in fingerprints},
            "synchrony": fingerprints.get(SYNCHRONY),
            "videos": len(known),
            "covered": {m: len(videos) for m, videos in have.items()},
            "embedded": {m: len(tally.embedded[m]) for m in made},
            "lacking": {m: tally.lacking[m] for m in made if m in MEDIA},
            "broken_midway": tally.broken_midway,
        },
    )


def _encoders(params: Embed) -> dict[str, Encoder]:
    """The encoder of each modality that is on and is not delivered ready-made."""
    makers = {
        "visual": encoders.image_encoder,
        "text": encoders.text_encoder,
        "audio": encoders.sound_encoder,
    }
    specs = {name: getattr(params, name) for name in MODALITIES}
    key = "device"
    try:
        device = encoders.pick_devices(params.device)[0]
        made: dict[str, Encoder] = {}
        for key, spec in specs.items():
            if spec not in (LANDED, NONE):
                made[key] = makers[key](spec, device, params.precision)
    except ValueError as error:
        raise InputError(f"params.yaml: embed.{key}: {error}") from None
    return made


def _fingerprints(params: Embed, made: Mapping[str, Encoder]) -> dict[str, str]:
    """Modality -> fingerprint, of the modalities embedded here; and of synchrony."""
    grid = {"segment_seconds": params.segment_seconds, "max_segments": params.max_segments}
    frames = {
        "frames_per_segment": params.frames_per_segment,
        "frames_per_video": params.frames_per_video,
    }
    sampling: dict[str, dict[str, Any]] = {
        "visual": grid | frames,
        "text": TEXT,
        "audio": grid,
    }
    found = {modality: encoder.fingerprint(sampling[modality]) for modality, encoder in made.items()}
    seconds = params.segment_seconds * params.max_segments
    return found | ({SYNCHRONY: f"{SYNCHRONY_METHOD}-{seconds:g}s"} if params.synchrony else {})


def _embed(
    lake: Lake,
    params: Embed,
    day: date,
    todo: Sequence[Video],
    made: Mapping[str, Encoder],
    fingerprints: Mapping[str, str],
) -> Tally:
    """Decode ahead in processes, encode, and commit part by part."""
    tally = Tally()
    devices = encoders.pick_devices(params.device)
    size = params.batch_size * len(devices)
    batches = {m: Batches(m, Replicas(encoder, devices).encode, size) for m, encoder in made.items()}
    uris = [video.media_uri for video in todo if video.lacks_media]
    sampling, refusals = _sampling(params, todo, made), Refusals(lake, day)
    videos = iter(tqdm(todo, "embed", unit="video"))
    with Decoders(place.landing(), sampling, _limits(params), params.decode_workers) as decoders:
        clips = decoders.decode(uris)
        for _ in range(0, len(todo), params.videos_per_commit):
            part = list(islice(videos, params.videos_per_commit))
            beats: Vectors = {}
            rejects = [reject for video in part for reject in _add(video, clips, batches, beats, day, tally)]
            vectors = {modality: batch.finish() for modality, batch in batches.items()} | {SYNCHRONY: beats}
            for modality, found in vectors.items():
                tally.embedded[modality].update(found)
            refusals.commit(part, rejects)
            if any(vectors.values()):
                _write(lake, part, vectors, fingerprints, params.segment_seconds, day)
    return tally


def _write(
    lake: Lake,
    part: Sequence[Video],
    vectors: Mapping[str, Vectors],
    fingerprints: Mapping[str, str],
    segment_seconds: float,
    day: date,
) -> None:
    """Commit vectors; those that a video had of another file or text go away in the same transaction."""
    sources = {(m, video.video_id): video.sources[m] for video in part for m in video.lacks}
    old = [
        {"fingerprint": fingerprints[m], "modality": m, "video_id": video.video_id}
        for video in part
        for m in sorted(video.stale)
        if video.video_id in vectors[m]
    ]
    lake.write("features", rows(vectors, fingerprints, sources, segment_seconds, day), old)


def _sampling(params: Embed, todo: Sequence[Video], made: Mapping[str, Encoder]) -> Sampling:
    """What to take from the media: nothing of a modality that no video lacks."""
    lacked = {modality for video in todo for modality in video.lacks}
    visual, audio = (made.get(m) if m in lacked else None for m in ("visual", "audio"))
    return Sampling(
        params.segment_seconds,
        params.max_segments,
        params.frames_per_segment,
        visual.image_size if isinstance(visual, ImageEncoder) else None,
        visual.image_fit if isinstance(visual, ImageEncoder) else "shortest",
        audio.sample_rate if isinstance(audio, SoundEncoder) else None,
        SYNCHRONY in lacked,
        params.frames_per_video,
    )


def _limits(params: Embed) -> Limits:
    return Limits(
        params.decode_seconds,
        params.decode_memory_mib << 20,
        params.max_mib * (1 << 20),
        params.max_minutes * 60,
        int(params.max_megapixels * 1_000_000),
    )


def _add(
    video: Video,
    clips: Iterator[Clip | Unreadable],
    batches: Mapping[str, Batches],
    beats: Vectors,
    day: date,
    tally: Tally,
) -> Iterator[Reject]:
    """Give one video to the encoders and `beats`; its media is the next of `clips`. Yields its rejects."""
    if "text" in video.lacks:
        batches["text"].add(video.video_id, WHOLE_VIDEO, [video.text])
    if not video.lacks_media:
        return
    clip = _next(clips)
    if isinstance(clip, Unreadable):
        tally.rejected[clip.reason] += 1
        yield reject(video, day, WHOLE_FILE, clip.reason, clip.detail)
        return
    tally.broken_midway += bool(clip.broken)
    if SYNCHRONY in video.lacks:
        beats[video.video_id] = {
            WHOLE_VIDEO: np.array(astuple(clip.synchrony) if clip.synchrony else [np.nan] * 3)
        }
    for modality, segments in (("visual", clip.frames), ("audio", clip.sound)):
        if modality not in video.lacks:
            continue
        for segment, things in sorted(segments.items()):
            batches[modality].add(video.video_id, segment, list(things) if modality == "visual" else [things])
        if not segments:
            tally.lacking[modality] += 1
            stream = "video" if modality == "visual" else "audio"
            why = "; ".join(text for text in clip.broken if text.startswith(stream)) or "the file has none"
            yield reject(video, day, step_of(modality), MEDIA[modality], why)


def _next(clips: Iterator[Clip | Unreadable]) -> Clip | Unreadable:
    try:
        return next(clips)
    except StoreUnavailable as error:
        raise InputError(
            f"{error}; give the address and credentials of the media store as AWS_… variables, and run again"
        ) from None


if __name__ == "__main__":
    sys.exit(step.main("embed", run, __doc__))
