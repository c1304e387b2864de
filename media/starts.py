"""From which packets of a video decoding can start without having seen what came before.

A file's mark "key frame" does not tell: containers and libav also set it where a decoder may join and be
right only some pictures later (H.264 recovery points of intra refresh or open groups), or where a muxer was
mistaken. So the packet itself is asked. Of a codec that is not known here everything is decoded, unless its
pictures never depend on each other.

A clean start promises this much: pictures shown at its time or later depend on nothing before it. HEVC's CRA
and the I pictures of MPEG-1, 2 and 4 have that. Pictures that follow them in the file and are shown before
them may not be decodable; those are not wanted.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

START = b"\0\0\1"  # before each unit of a byte stream
AHEAD = 64  # units, of which one is the picture's: before it come headers and messages

TRUSTED = {"vp8", "vp9", "av1"}  # whose key frames reset everything, and whose marks come from the stream


class Starts:
    """Tells the clean starts of one stream."""

    def __init__(self, decoder: VideoCodecContext) -> None:
        codec = decoder.codec
        name, header = codec.canonical_name, decoder.extradata or b""
        self._marked = codec.intra_only or name in TRUSTED
        self._starts = ASKED.get(name)
        self._length_bytes = _length_bytes(name, header)

    def clean(self, packet: Packet) -> bool:
        """Whether what is shown from this packet on depends on nothing before it."""
        if not packet.is_keyframe or self._starts is None:
            return packet.is_keyframe and self._marked
        first = (self._starts(unit) for unit in islice(self._units(bytes(packet)), AHEAD))
        return next((clean for clean in first if clean is not None), False)

    def _units(self, data: bytes) -> Iterator[bytes]:
        return _by_length(data, self._length_bytes) if self._length_bytes else _by_start(data)


def _h264(unit: bytes) -> bool | None:
    """An IDR slice; None: the unit is no slice."""
    kind = unit[0] & 31
    return kind == 5 if 1 <= kind <= 5 else None


def _hevc(unit: bytes) -> bool | None:
    """A slice of an IDR, BLA or CRA picture."""
    kind = unit[0] >> 1 & 63
    return 16 <= kind <= 21 if kind < 32 else None


def _mpeg12(unit: bytes) -> bool | None:
    """The header of an I picture."""
    return unit[2] >> 3 & 7 == 1 if unit[0] == 0 and len(unit) > 2 else None


def _mpeg4(unit: bytes) -> bool | None:
    """An I-VOP."""
    return unit[1] >> 6 == 0 if unit[0] == 0xB6 and len(unit) > 1 else None


ASKED: dict[str, Callable[[bytes], bool | None]] = {
    "h264": _h264,
    "hevc": _hevc,
    "mpeg1video": _mpeg12,
    "mpeg2video": _mpeg12,
    "mpeg4": _mpeg4,
}


def _length_bytes(codec: str, header: bytes) -> int:
    """How many bytes tell a unit's length, by the `avcC` or `hvcC` header; 0: start codes part the units."""
    at = {"h264": 4, "hevc": 21}.get(codec)
    if at is None or len(header) <= at or header.startswith((START, b"\0" + START)):
        return 0
    return (header[at] & 3) + 1


def _by_start(data: bytes) -> Iterator[bytes]:
    """The first bytes of each unit."""
    at = data.find(START)
    while 0 <= at < len(data) - len(START):
        yield data[at + 3 : at + 8]
        at = data.find(START, at + 3)


def _by_length(data: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes < len(data):
        length = int.from_bytes(data[at : at + length_bytes])
        at += length_bytes
        if length:
            yield data[at : at + min(length, 5)]
        at += length
