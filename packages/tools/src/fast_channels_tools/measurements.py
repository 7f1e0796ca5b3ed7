"""What can be measured in this process: its layers and its consumers.

Everything about layers is read from their counters when somebody asks, so measuring costs nothing
between two looks. Exporters translate this into what their system wants.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from fast_channels.layers import ChannelLayerRegistry
from fast_channels.plugins import hookimpl, register, unregister


class Measure(NamedTuple):
    """One kind of thing that is counted (it only rises) or gauged."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    labels: tuple[str, ...] = ("layer",)


class Sample(NamedTuple):
    """One number, with the values of its measure's labels."""

    measure: Measure
    labels: tuple[str, ...]
    value: int


class Timing(NamedTuple):
    """How long the batches of one layer took."""

    layer: str
    buckets: tuple[tuple[float, int], ...]
    """Upper bounds in seconds, and how many took at most as long; the last bound is infinite."""
    seconds: float


_DROPPED: Final = Measure(
    "messages_dropped", "counter", "Messages that were lost here, by reason.", ("layer", "reason")
)
_BACKEND: Final = Measure(
    "backend_state", "gauge", "What a backend tells besides, by name.", ("layer", "name")
)

_COUNTED: Final[Mapping[str, Measure]] = {
    "sent": Measure("messages_sent", "counter", "Messages that the broker took."),
    "failed": Measure("sends_failed", "counter", "Sends that raised: no broker, or no room."),
    "delivered": Measure("messages_delivered", "counter", "Messages put into mailboxes."),
    "published": Measure("frames_published", "counter", "Frames handed to the broker."),
    "batches": Measure("batches", "counter", "Publish calls; each carries one frame or more."),
    "received": Measure("frames_received", "counter", "Frames that arrived."),
    "repeated": Measure("frames_repeated", "counter", "Frames that came again and were left out."),
    "gaps": Measure("gaps", "counter", "Possible losses that were noticed."),
    "reconnects": Measure("reconnects", "counter", "Times that a backend came back."),
    "sessions": Measure("sessions", "gauge", "Open sessions: one in each event loop."),
    "channels": Measure("channels", "gauge", "Channels of this process."),
    "groups": Measure("groups", "gauge", "Groups with a member in this process."),
    "unread": Measure("unread_messages", "gauge", "Messages that wait in mailboxes."),
    "waiting": Measure("unsent_messages", "gauge", "Messages that wait for the broker."),
}

DROPS: Final = (
    "overflowed",
    "expired",
    "backlogged",
    "undeliverable",
    "malformed",
    "refused",
)
"""Reasons for a loss: names of counters."""

_CONSUMERS: Final = Measure("consumers", "gauge", "Connections that are served.", ("consumer",))
_STARTED: Final = Measure(
    "consumers_started", "counter", "Connections that were served.", ("consumer",)
)
_FAILED: Final = Measure(
    "consumers_failed", "counter", "Connections that an exception ended.", ("consumer",)
)

MEASURES: Final = (*_COUNTED.values(), _DROPPED, _BACKEND, _CONSUMERS, _STARTED, _FAILED)
"""All there are."""

PUBLISHING: Final = "How long the broker took for a batch, or until that failed."


class ConsumerCounts:
    """A plugin that counts consumers by the names of their classes, from its registration on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # consumers of one process may run in several threads
        self._open: dict[int, str] = {}
        self._started: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    @hookimpl
    def consumer_started(self, consumer: Any) -> None:
        """One more."""
        name = type(consumer).__name__
        with self._lock:
            self._open[id(consumer)] = name
            self._started[name] += 1

    @hookimpl
    def consumer_finished(self, consumer: Any) -> None:
        """One less, if its start was seen."""
        with self._lock:
            self._open.pop(id(consumer), None)

    @hookimpl
    def consumer_failed(self, consumer: Any) -> None:
        """It ended by an exception."""
        with self._lock:
            self._failed[type(consumer).__name__] += 1

    def samples(self) -> Iterator[Sample]:
        """Yield what was counted."""
        with self._lock:
            served, started, failed = Counter(self._open.values()), +self._started, +self._failed
        for name, count in started.items():
            yield Sample(_CONSUMERS, (name,), served[name])
            yield Sample(_STARTED, (name,), count)
            yield Sample(_FAILED, (name,), failed[name])


class Measurements:
    """The layers of a registry, by their aliases, and the consumers of the process."""

    def __init__(self, layers: ChannelLayerRegistry) -> None:
        self._layers = layers
        self._consumers = ConsumerCounts()
        register(self._consumers)

    def close(self) -> None:
        """Consumers are not counted any more."""
        unregister(self._consumers)

    def samples(self) -> Iterator[Sample]:
        """Yield every number of now; from any thread."""
        for alias, layer in self._each():
            for name, value in layer.stats().items():
                if name in DROPS:
                    yield Sample(_DROPPED, (alias, name), value)
                elif name in _COUNTED:
                    yield Sample(_COUNTED[name], (alias,), value)
                else:
                    yield Sample(_BACKEND, (alias, name), value)
        yield from self._consumers.samples()

    def timings(self) -> Iterator[Timing]:
        """Yield how long publishing took, for each layer that knows."""
        for alias, layer in self._each():
            durations = getattr(layer, "publishing", None)
            if durations is not None:
                yield Timing(alias, tuple(durations.buckets()), durations.seconds)

    def _each(self) -> Iterator[tuple[str, Any]]:
        """Yield each layer once, by its first alias; those of the upstream kind count nothing."""
        seen: set[int] = set()
        for alias in self._layers.list_aliases():
            layer: Any = self._layers.get(alias)
            if hasattr(layer, "stats") and id(layer) not in seen:
                seen.add(id(layer))
                yield alias, layer
