"""Scans that a page has left: the page that follows goes on with them.

To begin one costs a server some milliseconds, and it sends what comes next while a page is used.
"""

import asyncio
import math
from typing import Final

from fast_channels.layers import Position
from fast_channels_rabbitmq.history.records import BITS
from fast_channels_rabbitmq.history.scanning import Scan

KEPT_SECONDS: Final = 2.0
MOST_SCANS: Final = 16
MOST_BYTES: Final = 4_194_304
"""What the server may have sent ahead for a scan that is kept."""


class Ahead:
    """The scans that may be gone on with, each for a while."""

    def __init__(self) -> None:
        self._scans: dict[tuple[str, str, int], tuple[Scan, asyncio.TimerHandle]] = {}
        """By stream, epoch and the offset of the message that is next; the oldest is first."""

    def keep(self, scan: Scan, place: Position) -> None:
        """A read after that place may go on with the scan, which has come so far."""
        key = _key(scan.name, place)
        if scan.ended is not None or scan.waiting > MOST_BYTES or key in self._scans:
            scan.close()
            return
        if len(self._scans) == MOST_SCANS:
            self._drop(next(iter(self._scans)))
        timer = asyncio.get_running_loop().call_later(KEPT_SECONDS, self._drop, key)
        scan.most = MOST_BYTES
        self._scans[key] = scan, timer

    def resume(self, name: str, place: Position) -> Scan | None:
        """Return a scan of the stream whose next message is that of the place."""
        kept = self._scans.pop(_key(name, place), None)
        if kept is None:
            return None
        scan, timer = kept
        timer.cancel()
        scan.most = math.inf
        return scan if scan.ended is None else None

    def close(self) -> None:
        """No scan is left, and no timer."""
        for key in list(self._scans):
            self._drop(key)

    def _drop(self, key: tuple[str, str, int]) -> None:
        scan, timer = self._scans.pop(key)
        timer.cancel()
        scan.close()


def _key(name: str, place: Position) -> tuple[str, str, int]:
    return name, place.epoch, place.offset >> BITS
