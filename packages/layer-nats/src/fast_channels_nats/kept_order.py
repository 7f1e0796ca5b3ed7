"""Entries in the order in which their stream has them.

A busy server stores what two connections publish in one order, and sends it on in another: it does
the latter without its lock. Each entry names the one of its topic that was stored before it, so one
that was overtaken is known to be on its way, and waited for.
"""

import asyncio
import re
from collections.abc import Callable, Collection
from typing import Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox
from fast_channels_nats.connection import Message

STREAM: Final = re.compile(rb"\r\nNats-Stream: *([^\r]+)\r\n")
SEQUENCE: Final = re.compile(rb"\r\nNats-Sequence: *(\d+)\r\n")
_BEFORE: Final = re.compile(rb"\r\nNats-Last-Sequence: *(\d+)\r\n")

OVERTAKEN_SECONDS: Final = 1.0
"""How long an entry is waited for; after that members read it."""


class _Early:
    """Entries of a topic that wait for one before them."""

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.by_before: dict[int, tuple[int, Message]] = {}
        """By the sequence for which each waits: its own, and what came."""


class StoredOrder:
    """Hands on what came of each topic in the order of its sequences."""

    def __init__(self, inbox: Inbox, hand: Callable[[str, Message], None]) -> None:
        self._inbox = inbox
        self._hand = hand
        self._last: dict[str, tuple[bytes, int]] = {}
        """By topic: the stream, and the sequence up to which all has come or been read."""
        self._early: dict[str, _Early] = {}

    def begins(self, topic: str, stream: str, sequence: int) -> None:
        """All up to there was read, if nothing has come before."""
        self._last.setdefault(topic, (stream.encode(), sequence))

    def take(self, topic: str, message: Message) -> None:
        """Hand it on, and what waited for it; or keep it for a while."""
        head = message.head
        stream, sequence, before = STREAM.search(head), SEQUENCE.search(head), _BEFORE.search(head)
        if stream is None or sequence is None or before is None:
            self._hand(topic, message)
            return
        name, own, wanted = stream[1], int(sequence[1]), int(before[1])
        known, last = self._last.get(topic, (name, wanted))
        if known != name:
            self._drop(topic)  # what waited is of a stream that is no more
        elif wanted > last:
            self._wait(topic, wanted, own, message)
            return
        elif own <= last:
            self._hand(topic, message)  # once more, or of a stream that was set back
            return
        self._pass(topic, name, own, message)

    def forget(self, topics: Collection[str]) -> None:
        """Nothing is known of the topics, and nothing waits."""
        for topic in topics:
            self._drop(topic)
            self._last.pop(topic, None)

    def clear(self) -> None:
        """Nothing is known of any topic."""
        self.forget([*self._last, *self._early])

    def _pass(self, topic: str, stream: bytes, sequence: int, message: Message) -> None:
        self._last[topic] = stream, sequence
        self._hand(topic, message)
        early = self._early.get(topic)
        while early is not None and (following := early.by_before.pop(sequence, None)):
            sequence, message = following
            self._last[topic] = stream, sequence
            self._hand(topic, message)
        if early is not None and not early.by_before:
            self._drop(topic)

    def _wait(self, topic: str, wanted: int, own: int, message: Message) -> None:
        early = self._early.get(topic)
        if early is None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(OVERTAKEN_SECONDS, self._give_up, topic)
            early = self._early[topic] = _Early(timer)
        early.by_before[wanted] = own, message

    def _give_up(self, topic: str) -> None:
        """Members read what has not come; what waited is handed on."""
        waiting = sorted(self._early.pop(topic).by_before.values(), key=lambda each: each[0])
        stream, _ = self._last[topic]
        self._inbox.gap(BackendUnavailable("an entry was stored and did not come"), [topic])
        for sequence, message in waiting:
            self._last[topic] = stream, sequence
            self._hand(topic, message)

    def _drop(self, topic: str) -> None:
        early = self._early.pop(topic, None)
        if early is not None:
            early.timer.cancel()
