"""Which packets of a video need not be decoded: those that no wanted picture depends on."""

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from media.starts import Starts

MOST_HELD = 1000  # packets; a longer stretch without a key frame is decoded


class Skipping:
    """Holds packets back until it is known whether they are needed.

    What is shown from a clean start on (see `media.starts`) depends on nothing before it. So where one comes
    no later than the next wanted picture, all that is held goes undecoded. The file is read in order: nothing
    seeks.

    Args:
        origin: seconds of the file's clock at its start.
    """

    def __init__(self, decoder: VideoCodecContext, origin: float) -> None:
        self._decoder, self._origin = decoder, origin
        self._starts = Starts(decoder)
        self._held: list[Packet] = []
        self._gap = False

    def admit(self, packet: Packet, wanted: float) -> list[Packet]:
        """What to decode now, in order, for a picture that is shown `wanted` seconds after the start."""
        time = None
        if packet.pts is not None and packet.time_base is not None:
            time = float(packet.pts * packet.time_base) - self._origin
        if time is not None and time <= wanted and self._starts.clean(packet):
            self._gap = self._gap or bool(self._held)
            self._held = []
        self._held.append(packet)
        if time is not None and time <= wanted and len(self._held) < MOST_HELD:
            return []
        if self._gap:
            self._decoder.flush_buffers()
            self._gap = False
        needed, self._held = self._held, []
        return needed
