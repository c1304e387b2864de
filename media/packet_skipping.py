"""Skip the packets of a video that no sampled image depends on."""

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from media.random_access import RandomAccessDetector

MAX_BUFFERED_PACKETS = 1000  # a longer run of packets without a key frame is decoded


class PacketSkipper:
    """Buffers packets until it is known whether they must be decoded.

    Frames from a random access point on (see `media.random_access`) depend on no earlier packet. If such a
    packet comes no later than the next sampled image, all buffered packets are dropped. The file is still
    read in order, without seeking.

    Args:
        decoder: the decoder of the stream.
        origin: time of the file's clock at its start, seconds.
    """

    def __init__(self, decoder: VideoCodecContext, origin: float) -> None:
        self._decoder, self._origin = decoder, origin
        self._random_access = RandomAccessDetector(decoder)
        self._buffered: list[Packet] = []
        self._has_skipped = False

    def push(self, packet: Packet, next_time: float) -> list[Packet]:
        """Add the next packet and return the packets to decode now, in order.

        Args:
            packet: the packet.
            next_time: time of the next sampled image, in seconds since the start.
        """
        time = None
        if packet.pts is not None and packet.time_base is not None:
            time = float(packet.pts * packet.time_base) - self._origin
        if time is not None and time <= next_time and self._random_access.is_random_access_point(packet):
            self._has_skipped = self._has_skipped or bool(self._buffered)
            self._buffered = []
        self._buffered.append(packet)
        if time is not None and time <= next_time and len(self._buffered) < MAX_BUFFERED_PACKETS:
            return []
        if self._has_skipped:
            self._decoder.flush_buffers()
            self._has_skipped = False
        decodable, self._buffered = self._buffered, []
        return decodable
