"""Pictures and sound of a media file, sampled in one pass: no seeking, nothing full-size is kept."""

import os
import stat
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from media.clip import Clip, Sampling, Unreadable
from media.pictures import Pictures
from media.sound import Sound

# Containers that hold one whole file. Playlists (hls, dash, concat) would read other files and addresses.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,mp3,wav,flac,aac,h264,hevc,m4v,ivf"
)

# How libav says no to a packet or frame; ValueError also for sound whose format changes midway.
REFUSALS = (av.FFmpegError, ValueError)
ENCRYPTED = "the packets are encrypted"


def decode(path: Path, sampling: Sampling) -> Clip:
    """Decode what `sampling` wants of one file.

    A stream that breaks ends there, and what was decoded before counts.

    Raises:
        Unreadable: the file is missing, empty, encrypted, no media, or gives neither picture nor sound.
    """
    _check_file(path)
    with _open(path) as container:
        sinks = _sinks(container, sampling)
        broken = _read(container, sinks) + _flush(sinks)
    frames = {n: part for sink in sinks if isinstance(sink, Pictures) for n, part in sink.segments().items()}
    sound = {n: part for sink in sinks if isinstance(sink, Sound) for n, part in sink.segments().items()}
    if sinks and not frames and not sound:
        reason = "encrypted_media" if any(ENCRYPTED in problem for problem in broken) else "no_frames"
        raise Unreadable(reason, "; ".join(broken) or "the streams are empty")
    return Clip(frames, sound, tuple(broken))


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unreadable("missing_media", getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.R_OK):
        raise Unreadable("missing_media", "not a file that may be read")
    if not found.st_size:
        raise Unreadable("empty_media", "0 bytes")


def _open(path: Path) -> InputContainer:
    try:
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except REFUSALS as error:
        raise Unreadable("unreadable_media", explain(error)) from None


def _streams(container: InputContainer) -> list[VideoStream | AudioStream]:
    """The streams that a player would take; a cover (attached picture) is no video."""
    best = (container.streams.best("video"), container.streams.best("audio"))
    found = [stream for stream in best if isinstance(stream, VideoStream | AudioStream)]
    plain = [stream for stream in found if not stream.disposition & Disposition.attached_pic]
    return [stream for stream in plain if stream.codec_context is not None]  # None: a codec nobody knows


def _sinks(container: InputContainer, sampling: Sampling) -> list[Pictures | Sound]:
    """Who takes the frames of each stream that is there and wanted."""
    streams = _streams(container)
    if not streams:
        raise Unreadable("no_streams", "the file holds neither video nor sound")
    origin = (container.start_time or 0) / 1_000_000
    sinks: list[Pictures | Sound] = []
    for stream in streams:
        if isinstance(stream, VideoStream) and sampling.image_size is not None:
            sinks.append(Pictures(stream, sampling, sampling.image_size, origin))
        if isinstance(stream, AudioStream) and sampling.sample_rate is not None:
            sinks.append(Sound(stream, sampling, sampling.sample_rate, origin))
    return sinks


def _read(container: InputContainer, sinks: list[Pictures | Sound]) -> list[str]:
    """Feed the sinks until they are full, broken, or the file ends; returns what went wrong."""
    active = {sink.stream.index: sink for sink in sinks}
    broken: list[str] = []
    packets = container.demux([sink.stream for sink in sinks]) if sinks else iter(())
    try:
        for packet in packets:
            sink = active.get(packet.stream.index)
            if sink is None:
                continue
            problem = _feed(sink, packet)
            if problem and (sink.started or not broken):
                broken.append(f"{sink.stream.type}: {problem}")
            # Before the first frame a bad packet is passed over: the stream may have been joined midway.
            if sink.full or (problem and (sink.started or problem == ENCRYPTED)):
                del active[packet.stream.index]
            if not active:
                break
    except av.FFmpegError as error:
        broken.append(explain(error))
    return broken


def _feed(sink: Pictures | Sound, packet: av.Packet) -> str | None:
    """Decode one packet into the sink; what went wrong, if something did."""
    if packet.has_sidedata("encryption_info"):
        return ENCRYPTED  # decoded, it would now and then give noise that passes for pictures
    try:
        for frame in packet.decode():
            sink.feed(frame)  # type: ignore[arg-type]  # a stream gives frames of its own kind
    except MemoryError:  # libav's is also an FFmpegError
        raise
    except REFUSALS as error:
        return explain(error)
    return None


def _flush(sinks: list[Pictures | Sound]) -> list[str]:
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
