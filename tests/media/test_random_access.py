import pytest
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st

from media.random_access import SLICE_PARSERS, RandomAccessDetector

AVCC, HVCC = b"\1" + bytes(3) + b"\3" + bytes(3), b"\1" + bytes(20) + b"\3" + bytes(3)


def make_detector(codec: str, header: bytes = b"") -> RandomAccessDetector:
    decoder = CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    if header:
        decoder.extradata = header
    return RandomAccessDetector(decoder)


def keyframe_packet(data: bytes) -> Packet:
    packet = Packet(data)
    packet.is_keyframe = True
    return packet


@pytest.mark.parametrize(
    ("codec", "header", "data", "clean"),
    [
        ("h264", AVCC, "00000002 0605 00000003 658884", True),  # a message, then an IDR slice
        ("h264", AVCC, "00000002 0605 00000003 419a24", False),  # after a recovery point: no IDR
        ("h264", b"", "00000109f0 00000165 8884", True),
        ("h264", b"", "00000109f0 00000141 9a24", False),
        ("hevc", HVCC, "00000003 2601af", True),  # IDR_W_RADL
        ("hevc", HVCC, "00000003 2a01ac", True),  # CRA
        ("hevc", HVCC, "00000003 0201d0", False),  # TRAIL_R
        ("mpeg2video", b"", "000001b3 08006023 00000100 000fff", True),
        ("mpeg2video", b"", "000001b3 08006023 00000100 0017ff", False),
        ("mpeg4", b"", "000001b0 01 000001b6 10", True),
        ("mpeg4", b"", "000001b0 01 000001b6 50", False),
        ("vp9", b"", "8249", True),
        ("mjpeg", b"", "ffd8", True),
        ("flv1", b"", "000084", False),  # a codec without a parser
    ],
)
def test_random_access_points_are_detected(codec: str, header: bytes, data: str, clean: bool) -> None:
    packet = keyframe_packet(bytes.fromhex(data))
    assert make_detector(codec, header).is_random_access_point(packet) is clean
    packet.is_keyframe = False
    assert not make_detector(codec, header).is_random_access_point(packet)


@given(st.sampled_from(sorted(SLICE_PARSERS)), st.binary(max_size=40), st.binary(min_size=1, max_size=200))
def test_a_damaged_packet_raises_no_error(codec: str, header: bytes, data: bytes) -> None:
    assert make_detector(codec, header).is_random_access_point(keyframe_packet(data)) in (True, False)
    assert make_detector(codec, header).is_random_access_point(
        keyframe_packet(b"\0\0\1".join(data[n : n + 9] for n in range(len(data))))
    ) in (
        True,
        False,
    )
