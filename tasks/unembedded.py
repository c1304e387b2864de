"""Which videos still lack vectors, and of what."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from contracts import digests
from contracts.lake import Lake, up_to
from contracts.records import LANDED, text_or_none
from contracts.tables import SYNCHRONY, WHOLE_VIDEO
from tasks import vectors
from tasks.captions import clean, wording

MEDIA = {"visual": "no_picture", "audio": "no_sound"}  # modality -> why a file that plays may lack it
DECODED = {*MEDIA, SYNCHRONY}  # what comes from the media; what a file tells of synchrony may be "unknown"
Covered = dict[str, str | None]  # video_id -> digest of what its vector was made of

WHOLE_FILE = "embed"  # the `rejects.step` of a file that gives nothing
CURABLE = ("missing_media", "timed_out")  # tried again by every run: the file may have come since


@dataclass(frozen=True)
class Video:
    """A video, what there is to see, hear and read of it, and the modalities it lacks vectors of.

    stale: those of them whose vectors were made of another file or text, and are to be replaced.
    sources: modality -> digest of what its vectors are made of.
    """

    video_id: str
    media_uri: str
    text: str
    received: date
    lacks: frozenset[str]
    stale: frozenset[str]
    sources: Mapping[str, str]

    @property
    def lacks_media(self) -> bool:
        return not self.lacks.isdisjoint(DECODED)


def known_videos(lake: Lake, until: date) -> dict[str, dict[str, Any]]:
    """video_id -> its newest record received by then, sorted by id; a blank `media_uri` is none."""
    content = ("media_uri", "caption", "hashtags")
    key = ("video_id", "day", "source_file", "source_line")
    records = lake.scan("videos", up_to(until), (*key, *content)).sort_by([(k, "ascending") for k in key])
    newest = {record["video_id"]: record for record in records.to_pylist()}
    return {
        video: record | {"media_uri": text_or_none(record["media_uri"])} for video, record in newest.items()
    }


def unembedded(lake: Lake, known: Mapping[str, dict[str, Any]], done: Mapping[str, Covered]) -> list[Video]:
    """The videos that lack vectors they could have of the modalities of `done`, and of what there is now."""
    refused = _refused(lake)
    videos = []
    for video_id, record in known.items():
        uri, said = record["media_uri"] or "", wording(record)
        sources = {m: digests.of_lines([said if m == "text" else uri])[:16] for m in done}
        wanted = _possible(uri, said, refused) & done.keys()
        lacks = frozenset(m for m in wanted if done[m].get(video_id) != sources[m])
        text = clean(said) if "text" in lacks else ""
        if not text:  # an address alone leaves nothing to read
            lacks -= {"text"}
        if lacks:
            stale = frozenset(m for m in lacks if video_id in done[m])
            videos.append(Video(video_id, uri, text, record["day"], lacks, stale, sources))
    return videos


def covered(lake: Lake, until: date, fingerprints: Mapping[str, str]) -> dict[str, Covered]:
    """By modality: the videos that have a vector of its fingerprint; landed ones, received up to a day."""
    videos: dict[str, Covered] = {modality: {} for modality in fingerprints}
    ours = sorted(set(fingerprints.values()) - {LANDED})
    found = vectors.landed(lake, until).to_pylist() if LANDED in fingerprints.values() else []
    found = [row | {"fingerprint": LANDED} for row in found]
    if ours:  # one scan, for each opens every file
        where = f"{vectors.made_by(ours)} and segment = {WHOLE_VIDEO}"
        columns = ("modality", "fingerprint", "video_id", "source")
        found += lake.scan("features", where, columns).to_pylist()
    for row in found:
        if fingerprints.get(row["modality"]) == row["fingerprint"]:
            videos[row["modality"]][row["video_id"]] = row["source"]
    return videos


def step_of(modality: str) -> str:
    """The `rejects.step` of a file that plays but lacks one modality."""
    return f"embed.{modality}"


def _possible(uri: str, text: str, refused: Collection[tuple[str, str]]) -> set[str]:
    playable = uri and (WHOLE_FILE, uri) not in refused
    media = {m for m in DECODED if playable and (step_of(m), uri) not in refused}
    return media | ({"text"} if text else set())


def _refused(lake: Lake) -> set[tuple[str, str]]:
    """(step, media uri) of everything that was refused for good."""
    steps = ", ".join(f"'{name}'" for name in (WHOLE_FILE, *map(step_of, MEDIA)))
    found = lake.scan("rejects", f"step in ({steps})", ("step", "reason", "source_file")).to_pylist()
    return {(row["step"], row["source_file"]) for row in found if row["reason"] not in CURABLE}
