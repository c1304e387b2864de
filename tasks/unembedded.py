"""Which videos still lack vectors, and of what."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from contracts.lake import Lake, up_to
from contracts.tables import SYNCHRONY, WHOLE_VIDEO

MEDIA = {"visual": "no_picture", "audio": "no_sound"}  # modality -> why a file that plays may lack it
DECODED = {*MEDIA, SYNCHRONY}  # what comes from the media; what a file tells of synchrony may be "unknown"
CURABLE = ("missing_media", "timed_out")  # tried again on later nights: the file may have come since


@dataclass(frozen=True)
class Video:
    """A video, what there is to see, hear and read of it, and the modalities it lacks vectors of."""

    video_id: str
    media_uri: str
    text: str
    received: date
    lacks: frozenset[str]

    @property
    def lacks_media(self) -> bool:
        return not self.lacks.isdisjoint(DECODED)


def known_videos(lake: Lake, until: date) -> dict[str, dict[str, Any]]:
    """video_id -> its newest record received by then, sorted by id."""
    content = ("media_uri", "caption", "hashtags", "music_title")
    key = ("video_id", "day", "source_file", "source_line")
    records = lake.scan("videos", up_to(until), (*key, *content)).sort_by([(k, "ascending") for k in key])
    return {record["video_id"]: record for record in records.to_pylist()}


def unembedded(
    lake: Lake, day: date, known: Mapping[str, dict[str, Any]], fingerprints: Mapping[str, str]
) -> list[Video]:
    """The videos that lack vectors they could have, by the fingerprint of each modality."""
    done = {modality: covered(lake, modality, fingerprint) for modality, fingerprint in fingerprints.items()}
    refused = _refused(lake, day)
    videos = []
    for video_id, record in known.items():
        uri, text = record["media_uri"] or "", _text(record)
        lacks = frozenset(m for m in _possible(uri, text, refused) & done.keys() if video_id not in done[m])
        if lacks:
            videos.append(Video(video_id, uri, text, record["day"], lacks))
    return videos


def covered(lake: Lake, modality: str, fingerprint: str) -> set[str]:
    """The ids of the videos that have a vector of this modality and fingerprint."""
    where = f"fingerprint = '{fingerprint}' and modality = '{modality}' and segment = {WHOLE_VIDEO}"
    return set(lake.scan("features", where, ("video_id",))["video_id"].to_pylist())


def step_of(modality: str) -> str:
    """The `rejects.step` of a file that plays but lacks one modality; the whole file's is `embed`."""
    return f"embed.{modality}"


def _possible(uri: str, text: str, refused: Collection[tuple[str, str]]) -> set[str]:
    playable = uri and ("embed", uri) not in refused
    media = {m for m in DECODED if playable and (step_of(m), uri) not in refused}
    return media | ({"text"} if text else set())


def _refused(lake: Lake, day: date) -> set[tuple[str, str]]:
    """(step, media uri) of everything refused before."""
    steps = ", ".join(f"'{name}'" for name in ("embed", *map(step_of, MEDIA)))
    found = lake.scan("rejects", f"step in ({steps})", ("step", "reason", "source_file", "day")).to_pylist()
    return {(r["step"], r["source_file"]) for r in found if r["reason"] not in CURABLE or r["day"] == day}


def _text(record: Mapping[str, Any]) -> str:
    parts = [record["caption"], *(record["hashtags"] or ()), record["music_title"]]
    return " ".join(part.strip() for part in parts if part and part.strip())
