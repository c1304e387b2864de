import pytest
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st

from media.starts import ASKED, Starts

AVCC, HVCC = b"\1" + bytes(3) + b"\3" + bytes(3), b"\1" + bytes(20) + b"\3" + bytes(3)


def starts(codec: str, header: bytes = b"") -> Starts:
    decoder = CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    if header:
        decoder.extradata = header
    return Starts(decoder)


def marked(data: bytes) -> Packet:
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
        ("flv1", b"", "000084", False),  # a codec that is not known here
    ],
)
def test_a_packet_tells_whether_decoding_can_start_there(
    codec: str, header: bytes, data: str, clean: bool
) -> None:
    packet = marked(bytes.fromhex(data))
    assert starts(codec, header).clean(packet) is clean
    packet.is_keyframe = False
    assert not starts(codec, header).clean(packet)


@given(st.sampled_from(sorted(ASKED)), st.binary(max_size=40), st.binary(min_size=1, max_size=200))
def test_a_damaged_packet_is_no_error(codec: str, header: bytes, data: bytes) -> None:
    assert starts(codec, header).clean(marked(data)) in (True, False)
    assert starts(codec, header).clean(marked(b"\0\0\1".join(data[n : n + 9] for n in range(len(data))))) in (
        True,
        False,
    )
