"""Which ids were used in a stream: of two entries with one id, readers drop the second.

Who publishes an entry with an id looks for that id in the stream first, and says in the message up
to where. So whoever reads it finds an earlier one between there and here, or there is none; and all
readers agree, for the stream has one order.
"""

import time

from fast_channels_rabbitmq.history.records import BITS

FEW = 4_096


class Ids:
    """The ids in a part of a stream."""

    def __init__(self, since: int) -> None:
        self.since = since
        """The first message of that part."""
        self._latest: dict[bytes, tuple[int, float]] = {}
        """By id: the position of the last entry with it, and when that expires."""
        self._limit = FEW

    def note(self, known: bytes, position: int, ends: float, seen: int) -> bool:
        """Note an entry, and return whether it is the second one with its id."""
        latest = self._latest.get(known)
        self._latest[known] = position, ends
        if len(self._latest) > self._limit:
            self._prune()
        return latest is not None and seen << BITS <= latest[0] < position

    def add(self, earlier: "Ids") -> None:
        """The part begins where the earlier one did, which ends where this one began."""
        self.since = min(self.since, earlier.since)
        self._latest = earlier._latest | self._latest

    def kept(self, known: bytes) -> bool:
        """Return whether an entry with the id is kept."""
        latest = self._latest.get(known)
        return latest is not None and latest[1] > time.time()

    def _prune(self) -> None:
        now = time.time()
        self._latest = {known: each for known, each in self._latest.items() if each[1] > now}
        self._limit = max(FEW, 2 * len(self._latest))
