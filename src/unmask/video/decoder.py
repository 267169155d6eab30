"""Packets of a video stream -> pictures: what need not be decoded is not, damage is left out."""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import av
from av.container import InputContainer
from av.error import FFmpegError

_LOOKAHEAD = 32  # packets; pictures are reordered by at most 16
_MAX_AHEAD = 16_000_000  # bytes of them
_SKIPPABLE = frozenset({"h264", "hevc"})  # codecs whose unneeded pictures are not decoded
_MAX_DAMAGED = 1000  # places before giving up
_MAX_WAITING = 300  # packets without a key frame after damage
_REGULAR, _MIN_HOLE = 10, 0.5  # packets in step, and seconds that are missing after them

if TYPE_CHECKING:
    _Packet = av.Packet[av.VideoStream]


class Decoder:
    """Decodes a stream once, from where its container is.

    Args:
        container, stream: open for reading.
        check: called with the number of every packet before it is decoded; may raise.

    Attributes:
        damaged: places where something could not be decoded.
    """

    def __init__(
        self, container: InputContainer, stream: av.VideoStream, check: Callable[[int], None]
    ) -> None:
        self._container, self._stream, self._check = container, stream, check
        self._order = _Order()
        self.damaged = 0

    def pictures(
        self, may_show: Callable[[float, float], bool] | None = None
    ) -> Iterator[tuple[av.VideoFrame | None, int]]:
        """(picture, position in the stream or -1), in order of presentation; None for damage.

        After damage nothing is taken before the next key frame: what a decoder makes of the
        pictures up to there looks manipulated.

        Args:
            may_show: whether a picture that is on display from and to a time, in seconds of the
                stream, is wanted. One that is not, and that no other picture refers to, is not
                decoded: with B-frames that is every second one.
        """
        context = self._stream.codec_context
        skips = may_show is not None and context.name in _SKIPPABLE
        gaps = _Gaps()
        count, first, waiting = 0, -1, 0
        for packet in self._packets(_LOOKAHEAD if skips else 1):
            pictures: Iterable[object] = ()
            broken = packet is None or packet.is_corrupt or gaps.lie_before(packet)
            if packet is not None and not broken:
                count += packet.size > 0
                self._check(count)
                waiting = 0 if packet.is_keyframe else max(0, waiting - 1)
                if waiting:
                    continue
                try:
                    if skips and may_show is not None:
                        wanted = self._is_wanted(packet, may_show)
                        context.skip_frame = "DEFAULT" if wanted else "NONREF"
                    pictures = packet.decode()
                except FFmpegError:
                    broken = True
            if broken:
                pictures = _drained(context)
            for picture in pictures:
                if isinstance(picture, av.VideoFrame):
                    position = self._order.position(picture.pts) if skips else -1
                    first = position if first < 0 else first
                    yield picture, position - first if position >= 0 else -1
            if broken:
                self.damaged += 1
                if self.damaged > _MAX_DAMAGED:
                    return
                waiting = 0 if packet is not None and packet.is_keyframe else _MAX_WAITING
                yield None, -1

    def _packets(self, ahead: int) -> "Iterator[_Packet | None]":
        """The packets in the order of decoding, None for damage; `_order` knows `ahead` more."""
        packets = self._container.demux(self._stream)
        coming: deque[_Packet | None] = deque()
        size, ended = 0, False
        while coming or not ended:
            while not ended and len(coming) < ahead and (not coming or size < _MAX_AHEAD):
                try:
                    packet = next(packets, None)
                except (FFmpegError, IndexError):  # PyAV's, of a stream that the header denies
                    coming.append(None)
                    packet = None
                if packet is None:
                    ended = True
                    break
                if packet.pts is not None and not packet.is_discard:
                    self._order.add(packet.pts)
                coming.append(packet)
                size += packet.size
            if coming:
                packet = coming.popleft()
                size -= packet.size if packet is not None else 0
                yield packet

    def _is_wanted(self, packet: "_Packet", may_show: Callable[[float, float], bool]) -> bool:
        following = self._order.after(packet.pts)
        if following is None or packet.pts is None:
            return True
        base = float(packet.time_base)
        return may_show(packet.pts * base, following * base)


def _drained(context: av.VideoCodecContext) -> list[av.VideoFrame]:
    """The pictures that are still in the decoder, which then begins anew."""
    try:
        return context.decode(None)
    except FFmpegError:
        return []
    finally:
        context.flush_buffers()


class _Gaps:
    """Finds packets that follow a hole in a stream that has been regular up to there.

    What is missing between two clusters of a Matroska file, say, is no error to the demuxer.
    """

    def __init__(self) -> None:
        self._due: int | None = None
        self._regular = 0

    def lie_before(self, packet: "_Packet") -> bool:
        """Take the next packet."""
        if packet.dts is None or not packet.duration:
            return False
        late = packet.dts - self._due if self._due is not None else 0
        hole = (
            self._regular >= _REGULAR
            and late > 3 * packet.duration
            and late * packet.time_base > _MIN_HOLE
        )
        self._regular = self._regular + 1 if abs(late) <= packet.duration / 2 else 0
        self._due = packet.dts + packet.duration
        return hole


class _Order:
    """Presentation times of packets, sorted; of the last few hundred."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._passed = 0

    def add(self, pts: int) -> None:
        insort(self._times, pts)
        if len(self._times) > 8 * _LOOKAHEAD:
            del self._times[: 4 * _LOOKAHEAD]
            self._passed += 4 * _LOOKAHEAD

    def after(self, pts: int | None) -> int | None:
        """The next time, as far as known."""
        at = bisect_right(self._times, pts) if pts is not None else len(self._times)
        return self._times[at] if at < len(self._times) else None

    def position(self, pts: int | None) -> int:
        """How many come before; -1 where that is not known."""
        return -1 if pts is None else self._passed + bisect_left(self._times, pts)
