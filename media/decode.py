"""Decode frames and audio of a media file in one pass, without seeking.

Frames are kept at reduced size only.
"""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from media.audio import AudioSampler
from media.clip import DecodedVideo, DecodeLimits, SamplingConfig, UnreadableMedia
from media.fetch import S3Object
from media.frames import FrameSampler, open_video_decoder

# Formats that consist of one file. Playlists (hls, dash, concat) would read other files and addresses.
CONTAINER_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,mp3,wav,flac,aac,h264,hevc,m4v,ivf"
)

# The errors of libav for a packet or frame. ValueError also means that the audio format changes midway.
AV_ERRORS = (av.FFmpegError, ValueError)
ENCRYPTED_MESSAGE = "the packets are encrypted"
NO_LIMITS = DecodeLimits(inf, sys.maxsize)
MIB = 1 << 20

Sink = FrameSampler | AudioSampler


@dataclass
class Sinks:
    """The samplers that receive the decoded frames. None: the stream is missing or not requested.

    Attributes:
        frames: samples images.
        audio: samples audio.
    """

    frames: FrameSampler | None = None
    audio: AudioSampler | None = None

    def __iter__(self) -> Iterator[Sink]:
        return (sink for sink in (self.frames, self.audio) if sink is not None)

    @property
    def sink_by_stream(self) -> dict[int, Sink]:
        """Index of each requested stream -> its sink."""
        return {sink.stream.index: sink for sink in self}


def decode_video(
    source: Path | S3Object, sampling: SamplingConfig, limits: DecodeLimits = NO_LIMITS
) -> DecodedVideo:
    """Decode the requested content of one media file.

    A broken stream ends at its error, and the content before it is kept.

    Args:
        source: a local file or an object of S3.
        sampling: the content to decode.
        limits: limits of file size, duration and frame size.

    Raises:
        UnreadableMedia: the file is missing, empty, encrypted, not media, beyond `limits`, or without any
            content.
        MediaStoreUnavailable: S3 does not answer.
    """
    with open_media(source, limits) as container:
        sinks = _build_sinks(container, sampling, limits)
        errors = _feed_sinks(container, sinks) + _flush_sinks(sinks)
    frames = sinks.frames.images_by_segment() if sinks.frames else {}
    audio = sinks.audio.samples_by_segment() if sinks.audio else {}
    stills = sinks.frames.stills() if sinks.frames else ()
    if sinks.sink_by_stream and not (frames or audio or stills):
        encrypted = any(ENCRYPTED_MESSAGE in message for message in errors)
        reason = "encrypted_media" if encrypted else "no_media_content"
        raise UnreadableMedia(reason, "; ".join(errors) or "the streams are empty")
    return DecodedVideo(frames, audio, tuple(errors), stills)


@contextmanager
def open_media(source: Path | S3Object, limits: DecodeLimits = NO_LIMITS) -> Iterator[InputContainer]:
    """Open one media file for the `with` block.

    Args:
        source: a local file or an object of S3.
        limits: limits of file size and duration.

    Raises:
        UnreadableMedia: the file is missing, empty, not media, or beyond `limits`.
        MediaStoreUnavailable: S3 does not answer.
    """
    _check_size(source.size if isinstance(source, S3Object) else _file_size(source), limits)
    with _open_container(source) as container:
        _check_duration(container, limits)
        yield container


def _file_size(path: Path) -> int:
    try:
        file_stat = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UnreadableMedia("missing_media", getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(file_stat.st_mode) or not os.access(path, os.R_OK):
        raise UnreadableMedia("missing_media", "not a readable regular file")
    return file_stat.st_size


def _check_size(size: int, limits: DecodeLimits) -> None:
    if not size:
        raise UnreadableMedia("empty_media", "0 bytes")
    if size > limits.max_file_bytes:
        raise UnreadableMedia(
            "too_large", f"{size / MIB:.1f} MiB; embed.max_mib is {limits.max_file_bytes / MIB:g}"
        )


def _open_container(source: Path | S3Object) -> InputContainer:
    file = source if isinstance(source, S3Object) else f"file:{source}"
    try:
        options = {"protocol_whitelist": "file", "format_whitelist": CONTAINER_FORMATS}
        return av.open(file, "r", options=options, metadata_errors="replace")
    except AV_ERRORS as error:
        raise UnreadableMedia("unreadable_media", describe_error(error)) from None


def _check_duration(container: InputContainer, limits: DecodeLimits) -> None:
    """Check the duration in the header. Without one the file passes, as `max_segments` bounds decoding."""
    seconds = (container.duration or 0) / av.time_base
    if seconds > limits.max_duration_seconds:
        bound = f"embed.max_minutes is {limits.max_duration_seconds / 60:g}"
        raise UnreadableMedia("too_long", f"{seconds / 60:.1f} minutes by the header; {bound}")


def select_streams(container: InputContainer) -> list[VideoStream | AudioStream]:
    """Return the streams that a player would play. A cover (attached picture) is not a video."""
    best = (container.streams.best("video"), container.streams.best("audio"))
    media_streams = [stream for stream in best if isinstance(stream, VideoStream | AudioStream)]
    without_covers = [stream for stream in media_streams if not stream.disposition & Disposition.attached_pic]
    # Without a codec context, libav does not know the codec.
    return [stream for stream in without_covers if stream.codec_context is not None]


def _build_sinks(container: InputContainer, sampling: SamplingConfig, limits: DecodeLimits) -> Sinks:
    """Return the sinks of all streams that exist and are requested."""
    streams = select_streams(container)
    if not streams:
        raise UnreadableMedia("no_streams", "the file holds neither video nor audio")
    origin = (container.start_time or 0) / av.time_base
    sinks = Sinks()
    for stream in streams:
        if isinstance(stream, VideoStream) and (sampling.image_size or sampling.still_size):
            decoder = open_video_decoder(stream, limits.max_pixels)
            sinks.frames = FrameSampler(stream, decoder, sampling, origin)
        if isinstance(stream, AudioStream) and sampling.sample_rate is not None:
            sinks.audio = AudioSampler(stream, sampling, sampling.sample_rate, origin)
    return sinks


def _feed_sinks(container: InputContainer, sinks: Sinks) -> list[str]:
    """Feed the sinks until all are full or broken, or the file ends. Return the errors."""
    active_sinks = sinks.sink_by_stream
    errors: list[str] = []
    packets = container.demux([sink.stream for sink in sinks]) if active_sinks else iter(())
    try:
        for packet in packets:
            sink = active_sinks.get(packet.stream.index)
            if sink is None:
                continue
            error_message, started = _decode_packet(sink, packet), sink.started
            if error_message and (started or not errors):
                errors.append(f"{packet.stream.type}: {error_message}")
            # Bad packets before the first frame are skipped, because a recording may start mid-stream.
            if sink.is_complete or (error_message and (started or error_message == ENCRYPTED_MESSAGE)):
                del active_sinks[packet.stream.index]
            if not active_sinks:
                break
    except av.FFmpegError as error:
        errors.append(describe_error(error))
        for sink in active_sinks.values():
            _decode_packet(sink, _end_of_stream(sink.stream))
    return errors


def _end_of_stream(stream: VideoStream | AudioStream) -> av.Packet:
    """Return the packet that ends a stream. A demuxer that fails does not send it."""
    packet = av.Packet()
    if stream.time_base is not None:
        packet.time_base = stream.time_base
    return packet


def _decode_packet(sink: Sink, packet: av.Packet) -> str | None:
    """Decode one packet and feed the sink of its stream. Return the error message, if any."""
    if packet.has_sidedata("encryption_info"):
        return ENCRYPTED_MESSAGE  # decoding it can give noise that looks like valid frames
    try:
        for decodable in _packets_to_decode(sink, packet):
            for frame in sink.decoder.decode(decodable):
                sink.feed(frame)  # type: ignore[arg-type]  # the frame type follows from the stream
    except MemoryError:  # libav's is also an FFmpegError
        raise
    except AV_ERRORS as error:
        return describe_error(error)
    return None


def _packets_to_decode(sink: Sink, packet: av.Packet) -> list[av.Packet]:
    """Return the packets to decode now. Packets that no image needs are left out."""
    return sink.packet_skipper.push(packet, sink.next_time) if isinstance(sink, FrameSampler) else [packet]


def _flush_sinks(sinks: Sinks) -> list[str]:
    """End all sinks, so that they add what they still buffer. Return the errors."""
    errors = []
    for sink in sinks:
        try:
            sink.flush()
        except MemoryError:  # libav's is also an FFmpegError
            raise
        except AV_ERRORS as error:
            errors.append(f"{sink.stream.type}: {describe_error(error)}")
    return errors


def describe_error(error: Exception) -> str:
    """Return libav's message without the path, so that equal files give equal texts everywhere."""
    if not isinstance(error, av.FFmpegError):
        return str(error)
    log = ": ".join(str(part).strip() for part in (error.log or ())[1:])  # (level, component, message)
    return f"{error.strerror} ({log})" if log else str(error.strerror)
