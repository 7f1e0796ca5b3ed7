"""Bodies that are too large for a broker travel in pieces and are put together here.

The pieces of one body follow each other directly, for one node publishes to one topic in order, and
their frames have consecutive numbers, so pieces of two bodies are never taken for one. So there is
at most one unfinished body for each node and topic, and whatever else comes from there shows that
its rest is lost.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from fast_channels.layers.codec import OVERHEAD, Fragment, encode_fragment

MAX_AGE: Final = 30.0
"""Seconds after which an unfinished body is given up."""

MAX_BYTES: Final = 64 * 1_048_576
"""Bytes of unfinished bodies that one session holds; the oldest is given up first."""

PIECE_COST: Final = 512
"""Bytes that a piece counts besides its own: even empty ones take memory."""


def split(body: bytes, max_payload: int) -> Iterator[bytes]:
    """Yield the bodies of the fragments that carry ``body`` in frames of ``max_payload`` bytes."""
    size = max_payload - OVERHEAD
    total = -(-len(body) // size)
    for index in range(total):
        yield encode_fragment(index, total, body[index * size : (index + 1) * size])


class _Unfinished:
    __slots__ = ("chunks", "first", "size", "started", "total")

    def __init__(self, first: int, total: int, started: float) -> None:
        self.first = first
        self.total = total
        self.started = started
        self.chunks: list[bytes] = []
        self.size = 0


class Reassembly:
    """Puts fragments together, bounded by bytes and time."""

    def __init__(self, max_body: int, given_up: Callable[[str], None]) -> None:
        self._given_up = given_up
        """Told the topic of a body whose rest never came."""
        self._max_body = max_body
        self._unfinished: OrderedDict[tuple[str, str], _Unfinished] = OrderedDict()
        self._bytes = 0

    def add(self, node: str, topic: str, seq: int, fragment: Fragment) -> bytes | None:
        """Return the whole body if this was its last piece; ``seq`` is the number of its frame."""
        key = (node, topic)
        now = time.monotonic()
        if fragment.index == 0:
            self.drop(node, topic)
            self._unfinished[key] = _Unfinished(seq, fragment.total, now)
        body = self._unfinished.get(key)
        if body is None:
            return None  # its beginning was lost and counted, or sent before this side subscribed
        fits = body.size + len(fragment.chunk) <= self._max_body
        follows = seq - body.first == fragment.index == len(body.chunks)
        if not follows or fragment.total != body.total or not fits:
            self.drop(node, topic)
            return None
        body.chunks.append(fragment.chunk)
        body.size += len(fragment.chunk)
        self._bytes += len(fragment.chunk) + PIECE_COST
        if len(body.chunks) == body.total:
            self._forget(key)
            return b"".join(body.chunks)
        self._bound(now)
        return None

    def drop(self, node: str, topic: str) -> None:
        """Give up what is unfinished from there, if anything is."""
        if self._unfinished and (node, topic) in self._unfinished:
            self._forget((node, topic))
            self._given_up(topic)

    def _bound(self, now: float) -> None:
        while self._unfinished:
            key, oldest = next(iter(self._unfinished.items()))
            if self._bytes <= MAX_BYTES and now - oldest.started <= MAX_AGE:
                return
            self._forget(key)
            self._given_up(key[1])

    def _forget(self, key: tuple[str, str]) -> None:
        body = self._unfinished.pop(key)
        self._bytes -= body.size + len(body.chunks) * PIECE_COST
