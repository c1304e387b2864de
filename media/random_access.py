"""Find random access points: the packets of a video at which decoding can start.

Frames shown at the time of a random access point or later depend on no earlier packet. This holds for IDR
frames, HEVC's CRA frames and the I frames of MPEG-1, 2 and 4. Some frames follow such a packet in the file
but are shown before it. They may not be decodable, and they are not needed.

The key frame flag of a file is not enough. Containers and libav also set it at H.264 recovery points (intra
refresh, open groups), where frames are correct only some time later. Muxers also set it by mistake. So this
module reads the packet itself. Streams of other codecs are decoded completely, unless their frames never
depend on each other.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

START_CODE = b"\0\0\1"  # before each unit of a byte stream
MAX_UNITS = 64  # units of a packet that are read; headers and messages come before the frame's own unit

# Their key frames reset the decoder, and their key frame flags come from the stream itself.
TRUSTED_CODECS = {"vp8", "vp9", "av1"}


class RandomAccessDetector:
    """Finds the random access points of one stream.

    Args:
        decoder: the decoder of the stream; its codec and header are read.
    """

    def __init__(self, decoder: VideoCodecContext) -> None:
        codec = decoder.codec
        name, header = codec.canonical_name, decoder.extradata or b""
        self._trusts_keyframes = codec.intra_only or name in TRUSTED_CODECS
        self._parse_slice = SLICE_PARSERS.get(name)
        self._length_bytes = _length_prefix_bytes(name, header)

    def is_random_access_point(self, packet: Packet) -> bool:
        """Return whether frames shown from this packet on depend on no earlier packet."""
        if not packet.is_keyframe or self._parse_slice is None:
            return packet.is_keyframe and self._trusts_keyframes
        results = (self._parse_slice(unit) for unit in islice(self._units(bytes(packet)), MAX_UNITS))
        return next((result for result in results if result is not None), False)

    def _units(self, data: bytes) -> Iterator[bytes]:
        return (
            _split_length_prefixed(data, self._length_bytes)
            if self._length_bytes
            else _split_start_codes(data)
        )


def _is_h264_idr(unit: bytes) -> bool | None:
    """Return whether a unit is an IDR slice, or None if it is not a slice."""
    nal_type = unit[0] & 31
    return nal_type == 5 if 1 <= nal_type <= 5 else None


def _is_hevc_irap(unit: bytes) -> bool | None:
    """Return whether a unit is a slice of an IDR, BLA or CRA frame, or None if it is not a slice."""
    nal_type = unit[0] >> 1 & 63
    return 16 <= nal_type <= 21 if nal_type < 32 else None


def _is_mpeg12_intra(unit: bytes) -> bool | None:
    """Return whether a unit is the header of an I frame, or None if it is not a frame header."""
    return unit[2] >> 3 & 7 == 1 if unit[0] == 0 and len(unit) > 2 else None


def _is_mpeg4_intra(unit: bytes) -> bool | None:
    """Return whether a unit is an I-VOP, or None if it is not a VOP."""
    return unit[1] >> 6 == 0 if unit[0] == 0xB6 and len(unit) > 1 else None


SLICE_PARSERS: dict[str, Callable[[bytes], bool | None]] = {
    "h264": _is_h264_idr,
    "hevc": _is_hevc_irap,
    "mpeg1video": _is_mpeg12_intra,
    "mpeg2video": _is_mpeg12_intra,
    "mpeg4": _is_mpeg4_intra,
}


def _length_prefix_bytes(codec: str, header: bytes) -> int:
    """Return the bytes of a unit's length field by the `avcC` or `hvcC` header. 0 means start codes."""
    offset = {"h264": 4, "hevc": 21}.get(codec)
    if offset is None or len(header) <= offset or header.startswith((START_CODE, b"\0" + START_CODE)):
        return 0
    return (header[offset] & 3) + 1


def _split_start_codes(data: bytes) -> Iterator[bytes]:
    """Yield the first bytes of each unit."""
    offset = data.find(START_CODE)
    while 0 <= offset < len(data) - len(START_CODE):
        yield data[offset + 3 : offset + 8]
        offset = data.find(START_CODE, offset + 3)


def _split_length_prefixed(data: bytes, length_bytes: int) -> Iterator[bytes]:
    offset = 0
    while offset + length_bytes < len(data):
        length = int.from_bytes(data[offset : offset + length_bytes])
        offset += length_bytes
        if length:
            yield data[offset : offset + min(length, 5)]
        offset += length
