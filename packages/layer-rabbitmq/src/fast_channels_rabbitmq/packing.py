"""Whether what goes to several groups at once is one message or one for each: as it was measured.

A server before 4.0 compares every routing key of a message that has several with every binding of
the exchange, where it looks up that of a message with one. So one message for 60 groups takes half
of the server's time with 500 bindings, and seven times as much with 10,000. How many there are,
those of other processes included, it tells nobody. So both ways are tried, and the faster one is
kept; apart for few groups and for many, since few of them gain less.
"""

from collections import deque
from typing import Final

INDEXED: Final = (4, 0)
"""Servers from this one on look up each key: there one message is always cheaper."""

KEPT: Final = 4
"""Measurements of each way, of which the fastest counts: what else a machine does only delays."""

AGAIN: Final = 64
"""After so many batches the way that was slower is tried once more: groups come and go."""

MOST: Final = 100
"""Groups above which their number makes no difference."""


class Packing:
    """Chooses for each batch, and learns from how long it took."""

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}

    def together(self, count: int) -> bool:
        """Return whether the next batch, of so many groups, is to go out as one message."""
        return self._size(count).choose()

    def took(self, count: int, together: bool, seconds: float) -> None:
        """Note after how many seconds the server had confirmed such a batch."""
        size = self._size(count)
        (size.together if together else size.alone).append(seconds / count)

    def _size(self, count: int) -> "_Size":
        key = min(count, MOST).bit_length()
        size = self._sizes.get(key)
        if size is None:
            size = self._sizes[key] = _Size()
        return size


class _Size:
    """Seconds for each group of some batches, of about the same number of groups."""

    __slots__ = ("alone", "chosen", "together")

    def __init__(self) -> None:
        self.together: deque[float] = deque(maxlen=KEPT)
        self.alone: deque[float] = deque(maxlen=KEPT)
        self.chosen = 0

    def choose(self) -> bool:
        if len(self.together) < KEPT:
            return True
        if len(self.alone) < KEPT:
            return False
        self.chosen += 1
        faster = min(self.together) <= min(self.alone)
        return faster if self.chosen % AGAIN else not faster
