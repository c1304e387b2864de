"""Which videos still lack vectors, and of what."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from contracts import digests
from contracts.lake import Lake, up_to
from contracts.tables import SYNCHRONY, WHOLE_VIDEO
from tasks.captions import clean, wording

MEDIA = {"visual": "no_picture", "audio": "no_sound"}  # modality -> why a file that plays may lack it
DECODED = {*MEDIA, SYNCHRONY}  # what comes from the media; what a file tells of synchrony may be "unknown"
Covered = dict[str, str | None]  # video_id -> digest of what its vector was made of

CURABLE = ("missing_media", "timed_out")  # tried again on later nights: the file may have come since


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
    """video_id -> its newest record received by then, sorted by id."""
    content = ("media_uri", "caption", "hashtags")
    key = ("video_id", "day", "source_file", "source_line")
    records = lake.scan("videos", up_to(until), (*key, *content)).sort_by([(k, "ascending") for k in key])
    return {record["video_id"]: record for record in records.to_pylist()}


def unembedded(
    lake: Lake, day: date, known: Mapping[str, dict[str, Any]], done: Mapping[str, Covered]
) -> list[Video]:
    """The videos that lack vectors they could have of the modalities of `done`, and of what there is now."""
    refused = _refused(lake, day)
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


def covered(lake: Lake, fingerprints: Mapping[str, str]) -> dict[str, Covered]:
    """By modality: the videos that have a vector of its fingerprint; one scan, for each opens every file."""
    videos: dict[str, Covered] = {modality: {} for modality in fingerprints}
    if fingerprints:
        names = ", ".join(f"'{fingerprint}'" for fingerprint in sorted(set(fingerprints.values())))
        where = f"fingerprint in ({names}) and segment = {WHOLE_VIDEO}"
        found = lake.scan("features", where, ("modality", "fingerprint", "video_id", "source"))
        for row in found.to_pylist():
            if fingerprints.get(row["modality"]) == row["fingerprint"]:
                videos[row["modality"]][row["video_id"]] = row["source"]
    return videos


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
