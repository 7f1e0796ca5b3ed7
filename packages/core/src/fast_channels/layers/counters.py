"""What a layer counts, and how it tells of losses: at once countable, reported once a second."""

import asyncio
import logging
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from fast_channels.layers import events

logger = logging.getLogger("fast_channels.layers")

REPORT_INTERVAL: Final = 1.0
"""Seconds for which losses are gathered before one report names them."""


@dataclass(slots=True)
class Counters:
    """Everything that happened since the layer was made. No loss is missing here."""

    sent: int = 0
    """Messages that ``send`` and ``group_send`` handed to the broker."""
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
    failed: int = 0
    """Sends that raised because the broker did not take them."""

    def add(self, other: "Counters") -> None:
        """Add the other's counts to these."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


class LossReport:
    """Counts losses, and tells the log and the plugins of them, at most once a second."""

    def __init__(self, loop: asyncio.AbstractEventLoop, layer: Any, counters: Counters) -> None:
        self.counters = counters
        self.loop = loop
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
