"""The send path of durable groups: as every other, but with one entry for each message.

A kept message is read again by those who know nothing of its neighbours. So none is packed with
others, none is cut, and its frame, sealed or not, can be opened at any time.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import backend as kept
from fast_channels.layers.codec import Entry, Frames, encode_entries
from fast_channels.layers.counters import Counters
from fast_channels.layers.history import HistoryPolicy
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.outbox import Outbox

CHANNELS: Final = HistoryPolicy(keep=10_000, ttl=300.0)
"""What is kept of the messages for one node's channels."""


class HistoryOutbox(Outbox):
    """Publishes to the history of a session's backend."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        backend: kept.Backend,
        node: str,
        options: LayerOptions,
        counters: Counters,
        frames: Frames,
        history: kept.History,
    ) -> None:
        super().__init__(loop, backend, node, options.send_timeout, counters, frames)
        self._frame_bytes = sys.maxsize  # all of a topic's messages are in one of its steps
        self._history = history
        self._options = options

    async def _publish(self, frames: Sequence[tuple[str, list[Entry]]], timeout: float) -> None:
        """Append the messages; ``PublishFailed`` names the indices of topics."""
        appends: list[kept.Append] = []
        for topic, entries in frames:
            policy = self._policy(topic)
            payloads = [kept.Entry(self._frame(topic, entry), entry.id) for entry in entries]
            appends.append(kept.Append(topic, payloads, policy.keep, policy.ttl))
            self._counters.published += len(payloads)
        began = time.monotonic()
        try:
            with self._limit(timeout):
                await self._history.publish(appends)
        except TimeoutError as error:
            raise BackendUnavailable(
                f"the broker did not answer within {timeout:.3g} s; the message was perhaps sent"
            ) from error
        finally:
            self._counters.publishing.note(time.monotonic() - began)

    def _policy(self, topic: str) -> HistoryPolicy:
        group = topic.rpartition(":h.")[2]
        return self._options.history_of(group) or CHANNELS

    def _frame(self, topic: str, entry: Entry) -> bytes:
        numbers = self._sequencer.next(topic)
        return self._encode(topic, self._node, *numbers, encode_entries([entry]))
