"""Pictures and sound of a media file, sampled in one pass: no seeking, nothing full-size is kept."""

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from media.clip import Clip, Limits, Sampling, Synchrony, Unreadable
from media.fetch import S3Object
from media.pictures import Pictures, video_decoder
from media.sound import Sound
from media.synchrony import SOUND_RATE, Motion, measure

# Containers that hold one whole file. Playlists (hls, dash, concat) would read other files and addresses.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,mp3,wav,flac,aac,h264,hevc,m4v,ivf"
)

# How libav says no to a packet or frame; ValueError also for sound whose format changes midway.
REFUSALS = (av.FFmpegError, ValueError)
ENCRYPTED = "the packets are encrypted"
NO_LIMITS = Limits(inf, sys.maxsize)
MIB = 1 << 20

Sink = Pictures | Sound | Motion


@dataclass
class Sinks:
    """Who takes the frames of the streams; None: there is no such stream, or nobody wants it.

    beat: the sound again, at the rate at which it is compared with the motion.
    """

    pictures: Pictures | None = None
    sound: Sound | None = None
    motion: Motion | None = None
    beat: Sound | None = None

    def __iter__(self) -> Iterator[Sink]:
        each = (self.pictures, self.sound, self.motion, self.beat)
        return (sink for sink in each if sink is not None)

    @property
    def streams(self) -> dict[int, list[Sink]]:
        """Index of each stream that is wanted -> its takers."""
        found: dict[int, list[Sink]] = {}
        for sink in self:
            found.setdefault(sink.stream.index, []).append(sink)
        return found


def decode(source: Path | S3Object, sampling: Sampling, limits: Limits = NO_LIMITS) -> Clip:
    """Decode what `sampling` wants of one file.

    A stream that breaks ends there, and what was decoded before counts.

    Raises:
        Unreadable: the file is missing, empty, encrypted, no media, beyond `limits`, or gives neither picture
            nor sound.
        StoreUnavailable: S3 does not answer.
    """
    _check_size(source.size if isinstance(source, S3Object) else _file_size(source), limits)
    with _open(source) as container:
        _check_duration(container, limits)
        sinks = _sinks(container, sampling, limits)
        broken = _read(container, sinks) + _flush(sinks)
    frames = sinks.pictures.segments() if sinks.pictures else {}
    sound = sinks.sound.segments() if sinks.sound else {}
    compared = (sinks.motion, sinks.beat)
    if sinks.streams and not frames and not sound and not any(sink and sink.started for sink in compared):
        reason = "encrypted_media" if any(ENCRYPTED in problem for problem in broken) else "no_frames"
        raise Unreadable(reason, "; ".join(broken) or "the streams are empty")
    return Clip(frames, sound, _synchrony(sinks), tuple(broken))


def _synchrony(sinks: Sinks) -> Synchrony | None:
    if sinks.motion is None or sinks.beat is None:
        return None
    sound = [np.zeros(0, np.float32), *sinks.beat.segments().values()]
    return measure(*sinks.motion.strengths(), np.concatenate(sound))


def _file_size(path: Path) -> int:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unreadable("missing_media", getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.R_OK):
        raise Unreadable("missing_media", "not a file that may be read")
    return found.st_size


def _check_size(size: int, limits: Limits) -> None:
    if not size:
        raise Unreadable("empty_media", "0 bytes")
    if size > limits.file_bytes:
        raise Unreadable("too_large", f"{size / MIB:.1f} MiB; embed.max_mib is {limits.file_bytes / MIB:g}")


def _open(source: Path | S3Object) -> InputContainer:
    file = source if isinstance(source, S3Object) else f"file:{source}"
    try:
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        return av.open(file, "r", options=options, metadata_errors="replace")
    except REFUSALS as error:
        raise Unreadable("unreadable_media", explain(error)) from None


def _check_duration(container: InputContainer, limits: Limits) -> None:
    """A file that does not tell its duration passes: nothing is decoded behind the last segment."""
    seconds = (container.duration or 0) / av.time_base
    if seconds > limits.playing_seconds:
        bound = f"embed.max_minutes is {limits.playing_seconds / 60:g}"
        raise Unreadable("too_long", f"{seconds / 60:.1f} minutes by its header; {bound}")


def _streams(container: InputContainer) -> list[VideoStream | AudioStream]:
    """The streams that a player would take; a cover (attached picture) is no video."""
    best = (container.streams.best("video"), container.streams.best("audio"))
    found = [stream for stream in best if isinstance(stream, VideoStream | AudioStream)]
    plain = [stream for stream in found if not stream.disposition & Disposition.attached_pic]
    return [stream for stream in plain if stream.codec_context is not None]  # None: a codec nobody knows


def _sinks(container: InputContainer, sampling: Sampling, limits: Limits) -> Sinks:
    """Who takes the frames of each stream that is there and wanted."""
    streams = _streams(container)
    if not streams:
        raise Unreadable("no_streams", "the file holds neither video nor sound")
    origin = (container.start_time or 0) / av.time_base
    sinks, seconds = Sinks(), sampling.segment_seconds * sampling.max_segments
    for stream in streams:
        if isinstance(stream, VideoStream) and (sampling.image_size is not None or sampling.synchrony):
            decoder = video_decoder(stream, limits.pixels)
            if sampling.image_size is not None:
                sinks.pictures = Pictures(stream, decoder, sampling, sampling.image_size, origin)
            if sampling.synchrony:
                sinks.motion = Motion(stream, decoder, seconds, origin)
        if isinstance(stream, AudioStream):
            if sampling.sample_rate is not None:
                sinks.sound = Sound(stream, sampling, sampling.sample_rate, origin)
            if sampling.synchrony:
                sinks.beat = Sound(stream, sampling, SOUND_RATE, origin)
    return sinks


def _read(container: InputContainer, sinks: Sinks) -> list[str]:
    """Feed the sinks until they are full, broken, or the file ends; returns what went wrong."""
    active = sinks.streams
    broken: list[str] = []
    packets = container.demux([takers[0].stream for takers in active.values()]) if active else iter(())
    try:
        for packet in packets:
            takers = active.get(packet.stream.index)
            if takers is None:
                continue
            problem, started = _feed(takers, packet), takers[0].started
            if problem and (started or not broken):
                broken.append(f"{packet.stream.type}: {problem}")
            # Before the first frame a bad packet is passed over: the stream may have been joined midway.
            if all(sink.full for sink in takers) or (problem and (started or problem == ENCRYPTED)):
                del active[packet.stream.index]
            if not active:
                break
    except av.FFmpegError as error:
        broken.append(explain(error))
        for takers in active.values():
            _feed(takers, _end(takers[0].stream))
    return broken


def _end(stream: VideoStream | AudioStream) -> av.Packet:
    """The packet by which a demuxer tells that the stream is over; one that broke does not send it."""
    packet = av.Packet()
    if stream.time_base is not None:
        packet.time_base = stream.time_base
    return packet


def _feed(takers: list[Sink], packet: av.Packet) -> str | None:
    """Decode one packet for those who take its stream; what went wrong, if something did."""
    if packet.has_sidedata("encryption_info"):
        return ENCRYPTED  # decoded, it would now and then give noise that passes for pictures
    try:
        for needed in _needed(takers, packet):
            for frame in takers[0].decoder.decode(needed):
                for sink in takers:
                    sink.feed(frame)  # type: ignore[arg-type]  # a stream gives frames of its own kind
    except MemoryError:  # libav's is also an FFmpegError
        raise
    except REFUSALS as error:
        return explain(error)
    return None


def _needed(takers: list[Sink], packet: av.Packet) -> list[av.Packet]:
    """The packets to decode now: where only pictures are taken, those that a wanted one depends on."""
    first = takers[0]
    if len(takers) == 1 and isinstance(first, Pictures):
        return first.skipping.admit(packet, first.wanted)
    return [packet]


def _flush(sinks: Sinks) -> list[str]:
    """Let the sinks take what they still hold back; returns what went wrong."""
    broken = []
    for sink in sinks:
        try:
            sink.flush()
        except MemoryError:  # libav's is also an FFmpegError
            raise
        except REFUSALS as error:
            broken.append(f"{sink.stream.type}: {explain(error)}")
    return broken


def explain(error: Exception) -> str:
    """libav's words without the path, so that the same file gives the same text everywhere."""
    if not isinstance(error, av.FFmpegError):
        return str(error)
    log = ": ".join(str(part).strip() for part in (error.log or ())[1:])  # (level, component, message)
    return f"{error.strerror} ({log})" if log else str(error.strerror)
