"""Contexts that travel with messages, from who sends them to who handles them.

What a plugin for traces needs; it is told, too, how long each batch took. Law: until ``activate``
nothing here is in a message's way. It puts other functions in the place of the codec's, and
sessions and connections that open afterwards are of other classes. Applications get the messages
that they get without it.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import msgspec

from fast_channels.layers import codec, messages
from fast_channels.layers.backend import Position
from fast_channels.layers.codec import CONTROL, Entry
from fast_channels.layers.counters import Counters, Durations
from fast_channels.layers.history import Message, cursor
from fast_channels.layers.names import topic_group
from fast_channels.layers.sending import Sending

Context = dict[str, str]
"""Header names and values, such as ``traceparent`` of W3C Trace Context."""


class Tracing(Protocol):
    """What is told of every message, in the context of who sends or handles it, and every batch."""

    def sending(self, destination: str, group: bool, size: int) -> AbstractContextManager[Context]:
        """Surround a send of ``size`` bytes to a group or channel; gives what is to travel."""
        ...

    def handling(
        self, context: Context, message: Mapping[str, Any], consumer: object
    ) -> AbstractContextManager[object]:
        """Surround a consumer's handler of a message with which ``context`` has travelled."""
        ...

    def published(self, layer: object, seconds: float) -> None:
        """The broker took so long for a batch of the layer, or until that failed."""
        ...


_active: Tracing | None = None


def active() -> Tracing | None:
    """Return what is told of messages, if anything is."""
    return _active


def activate(tracing: Tracing) -> None:
    """Messages carry contexts, in sessions and connections that open from now on.

    ``RuntimeError`` if that is so already.
    """
    global _active
    if _active is not None:
        raise RuntimeError(f"messages carry contexts already, for {_active!r}")
    _active = tracing
    codec.decode_entries_with(_decode_entries)
    messages.decode_with(_decode_message)
    cursor.make_messages_with(_kept_message)


def deactivate() -> None:
    """Sessions and connections that open from now on know nothing of contexts."""
    global _active
    _active = None
    codec.decode_entries_with(None)
    messages.decode_with(None)
    cursor.make_messages_with(None)


def context_of(message: Mapping[str, Any]) -> Context | None:
    """Return what travelled with a message that a layer delivered, if anything did."""
    return getattr(message, "context", None)


# --- what travels ---------------------------------------------------------------------------------


class TracedEntry(Entry, array_like=True, gc=False):
    """One packed message with its context, which those who do not know of it leave unread."""

    context: Context | None = None


class TracedPayload(bytes):
    """A message's bytes, and what travelled with them."""

    context: Context


class TracedMessage(dict[str, Any]):
    """A message, and what travelled with it; so are its copies."""

    __slots__ = ("context",)

    def __init__(self, fields: Mapping[str, Any], context: Context) -> None:
        super().__init__(fields)
        self.context = context

    def copy(self) -> "TracedMessage":
        """Return a copy, as shallow as a dict's."""
        return TracedMessage(self, self.context)


class _TracedKept(Message):
    __slots__ = ("context",)

    context: Context


_decode_traced: Final = msgspec.msgpack.Decoder(list[TracedEntry]).decode


def _decode_entries(body: bytes) -> list[Entry]:
    entries: list[Entry] = []
    for entry in _decode_traced(body):
        if entry.context is not None:
            entry.payload = payload = TracedPayload(entry.payload)
            payload.context = entry.context
        entries.append(entry)
    return entries


def _decode_message(payload: bytes) -> dict[str, Any]:
    fields = messages.decode_fields(payload)
    return TracedMessage(fields, payload.context) if isinstance(payload, TracedPayload) else fields


def _kept_message(fields: dict[str, Any], group: str, topic: str, position: Position) -> Message:
    if not isinstance(fields, TracedMessage):
        return Message(fields, group, topic, position)
    message = _TracedKept(fields, group, topic, position)
    message.context = fields.context
    return message


# --- who sends ------------------------------------------------------------------------------------


class TracedSending(Sending):
    """The send side of a session whose messages carry contexts."""

    def __init__(self, tracing: Tracing, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracing = tracing

    async def send(self, topic: str, entry: Entry) -> None:
        """The broker has the message and its context."""
        if entry.target is not None and entry.target.startswith(CONTROL):
            await super().send(topic, entry)  # what nodes tell each other is nobody's message
            return
        with self._sending(topic, entry) as context:
            await super().send(topic, _traced(entry, context))

    async def send_kept(self, topic: str, entry: Entry) -> None:
        """The broker has the message and its context, and keeps them."""
        with self._sending(topic, entry) as context:
            await super().send_kept(topic, _traced(entry, context))

    def _sending(self, topic: str, entry: Entry) -> AbstractContextManager[Context]:
        destination = entry.target or topic_group(topic) or topic.rpartition(":h.")[2]
        return self._tracing.sending(destination, entry.target is None, len(entry.payload))


class TracedDurations(Durations):
    """How long batches took, each of which is told, too."""

    __slots__ = ("_layer", "_tracing")

    def __init__(self, tracing: Tracing, layer: object) -> None:
        super().__init__()
        self._tracing = tracing
        self._layer = layer

    def note(self, seconds: float) -> None:
        """One more took so long."""
        super().note(seconds)
        self._tracing.published(self._layer, seconds)


def make_counters(layer: object) -> Counters:
    """Return the counters of a session."""
    return Counters() if _active is None else Counters(publishing=TracedDurations(_active, layer))


def make_sending(*arguments: Any) -> Sending:
    """Return the send side of a session."""
    return Sending(*arguments) if _active is None else TracedSending(_active, *arguments)


def _traced(entry: Entry, context: Context) -> Entry:
    if not context:
        return entry
    return TracedEntry(entry.payload, entry.target, entry.exclude, entry.id, context)
