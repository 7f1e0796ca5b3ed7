"""What a layer counts, and how it tells of losses: at once countable, reported once a second."""

import asyncio
import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import accumulate
from math import inf
from typing import Any, Final

from fast_channels.layers import events

logger = logging.getLogger("fast_channels.layers")

REPORT_INTERVAL: Final = 1.0
"""Seconds for which losses are gathered before one report names them."""

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds; what took longer than the last one is counted above it."""


class Durations:
    """How often something took how long."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """How many took at most as long as each of ``BOUNDS``, and longer than the one before."""
        self.seconds = 0.0
        """What they took together."""

    def note(self, seconds: float) -> None:
        """One more took so long."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add(self, other: "Durations") -> None:
        """Add the other's to these."""
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        self.seconds += other.seconds

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, the last one infinite, and how many took at most as long."""
        return zip((*BOUNDS, inf), accumulate(self.counts), strict=True)

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


@dataclass(slots=True)
class Counters:
    """Everything that happened since the layer was made. No loss is missing here."""

    sent: int = 0
    """Messages that ``send`` and ``group_send`` handed to the broker; what nodes send each other
    (joins, presence, the probes of ``health``) is in frames and batches only."""
    published: int = 0
    """Frames handed to the broker; ``sent`` divided by this is the packing."""
    received: int = 0
    """Frames that arrived."""
    delivered: int = 0
    """Messages put into mailboxes, or handled at once."""
    overflowed: int = 0
    """Lost: messages that met a full mailbox."""
    expired: int = 0
    """Lost: messages nobody read in time."""
    backlogged: int = 0
    """Lost: messages that arrived faster than this process could fan them out."""
    undeliverable: int = 0
    """Messages for a channel of this process that is gone."""
    malformed: int = 0
    """Payloads that could not be read and were skipped."""
    refused: int = 0
    """Payloads that were skipped: sealed with another key, or not sealed where keys are set."""
    repeated: int = 0
    """Frames that arrived again and were dropped."""
    gaps: int = 0
    """Losses noticed on a topic or connection."""
    reconnects: int = 0
    """Gaps that the backend told of, when it had what it had lost again: mostly a connection."""
    failed: int = 0
    """Sends that raised because the broker did not take them."""
    publishing: Durations = field(default_factory=Durations)
    """How long the broker took for each batch, or until that failed."""

    def add(self, other: "Counters") -> None:
        """Add the other's counts to these."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.publishing.add(other.publishing)

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name; ``batches`` are the publish calls."""
        return {**{name: getattr(self, name) for name in _COUNTS}, "batches": self.publishing.count}


_COUNTS: Final = tuple(each.name for each in fields(Counters) if each.name != "publishing")


class LossReport:
    """Counts losses, and tells the log and the plugins of them, at most once a second."""

    def __init__(self, loop: asyncio.AbstractEventLoop, layer: Any, counters: Counters) -> None:
        self.counters = counters
        self.loop = loop
        self.create_future = loop.create_future
        """Bound once, for every mailbox that has it of this."""
        self._layer = layer
        self._losses: Counter[str] = Counter()
        self._example: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, reason: str, example: str, count: int = 1) -> None:
        """The loss is counted under ``reason`` (a counter's name) and is in the next report.

        ``example`` names one place where it happened.
        """
        setattr(self.counters, reason, getattr(self.counters, reason) + count)
        self._losses[reason] += count
        self._example.setdefault(reason, example)
        if self._timer is None:
            self._timer = self.loop.call_later(REPORT_INTERVAL, self.flush)

    def flush(self) -> None:
        """What was gathered is told now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        losses, self._losses = dict(self._losses), Counter()
        examples, self._example = self._example, {}
        if losses:
            text = ", ".join(f"{n} {reason} ({examples[reason]})" for reason, n in losses.items())
            logger.warning("%s lost messages: %s", self._layer, text)
            events.emit("messages_dropped", layer=self._layer, losses=losses)
