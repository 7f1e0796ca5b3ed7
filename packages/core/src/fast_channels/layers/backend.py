"""What a broker author writes: topics and bytes, nothing else.

Core does everything above it once, for every broker: membership, fan-out, batching, frames,
fragments, capacity, expiry, loss detection. A backend connects, subscribes, publishes, comes back
after an outage, and says when it may have missed something.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol


class Publication(NamedTuple):
    """One payload for one topic."""

    topic: str
    payload: bytes


class Position(NamedTuple):
    """A place in the history of one topic: right after one entry, or before the first (offset 0).

    Positions of one epoch are ordered by ``offset``, and only those can be compared. Offsets need
    not be dense: the entry after offset 7 may have offset 19.
    """

    epoch: str
    """Which history this is: 1 to 64 ASCII letters, digits, ``-`` and ``_``.

    It is another one whenever entries were lost that somebody may have a position of, so that what
    was re-created, or rolled back by a fail-over, is never taken for what it was.
    """

    offset: int
    """From 1, rising with each entry of the topic, of any size (a Redis id is ``ms << 64 | n``)."""


class Entry(NamedTuple):
    """One message, as it is to be kept."""

    payload: bytes
    id: str | None = None
    """At most 100 characters of any kind. Published again while the topic keeps the entry of that
    id, nothing is appended or delivered, and it is no error."""


class Append(NamedTuple):
    """Entries for the end of one topic's history, and what that keeps."""

    topic: str
    entries: Sequence[Entry]
    keep: int
    """The newest entries that are kept, at least 1."""
    ttl: float
    """Seconds for which an entry is kept, above 0."""


class Kept(NamedTuple):
    """One entry that was read."""

    position: Position
    payload: bytes


class Page(NamedTuple):
    """What one read found."""

    entries: Sequence[Kept]
    """Oldest first."""
    position: Position
    """Where the next read goes on: of the last entry, or behind it where nothing is in between."""
    more: bool
    """False: at some moment after the call began, the topic had nothing after ``position``."""


class Inbox(Protocol):
    """Where a backend pushes what arrives; core hands it to ``Backend.open``.

    Both methods are called on the event loop that opened the backend, are synchronous and never
    block. They do not raise.
    """

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        """Take one payload of a subscribed topic; of a history topic, with its position."""
        ...

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        """Note that messages may have been missed on ``topics`` (None: on any).

        Called once per loss, before the first ``deliver`` that follows it. On history topics
        members then read what they missed, from the last position that came.
        """
        ...


class Job(Protocol):
    """One message of a worker queue, taken and not yet finished.

    Of ``done`` and ``release`` the first call counts; what comes after it does nothing.
    """

    @property
    def payload(self) -> bytes:
        """What was put."""
        ...

    async def done(self) -> None:
        """The job is finished and gone from the broker."""
        ...

    async def release(self) -> None:
        """The job is back in its queue; another taker gets it."""
        ...


class WorkerQueues(Protocol):
    """Optional power: messages that wait until a worker comes."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        """The broker holds the job, for at most ``expires_in`` seconds while nobody takes it.

        Raises ``ChannelFull`` when the queue is at its capacity, ``BackendUnavailable`` when the
        broker does not answer.
        """
        ...

    async def take(self, queue: str, /) -> Job:
        """Wait, through outages, for the oldest job; exactly one taker has it at a time.

        Cancelling loses nothing. Closing the backend ends it with ``BackendUnavailable``.
        """
        ...

    async def clear(self, prefix: str, /) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone."""
        ...


class History(Protocol):
    """Optional power: topics whose messages are kept, and can be read again.

    A topic is a history topic if ``is_history_topic`` says so, and no other way. What goes to it
    goes through ``History.publish``, never through ``Backend.publish``; who subscribes to it, with
    ``Backend.subscribe``, gets every entry with its position.

    Laws, besides those of ``Backend``, which hold for these topics, too:

    1. *One step.* An entry is appended and published at once, or neither. So whoever subscribes,
       and then reads until ``Page.more`` is False, misses nothing: what the read did not have is
       delivered.
    2. *One order.* All entries of a topic have rising offsets, in the order in which every
       subscriber gets them, and in which one process published them. An entry that comes again
       (redelivery) has the position that it had, and core drops it.
    3. *Once.* Of entries with one ``id`` the topic has one, as long as it keeps that. The second
       publish changes nothing, from whichever process it comes, and returns as the first.
    4. *Kept.* ``read`` and ``last`` give the newest ``keep`` entries that are younger than ``ttl``,
       and no others; where ``exact`` is False, perhaps older ones too.
    5. *Never wrong.* ``read`` raises ``HistoryLost`` rather than leave out an entry after ``after``
       (trimmed, expired, cleared), and for an ``after`` that this history did not give: of another
       epoch, or beyond its end. The end is known as long as positions may be around: an ``after``
       that is the end itself is good for at least ``ttl`` seconds after the last entry. Where the
       history is another one than that of ``after``, and began empty, the error's ``anew`` is its
       epoch: members then get all that it has. Where it may have entries of the other one, not.
    6. *Any size.* An entry may be larger than ``Backend.max_payload``, as a job may: core cuts
       nothing here.

    While the broker is unreachable every method raises ``BackendUnavailable`` within a bounded
    time. Any call may be cancelled; what was published then is kept and delivered, or not at all.
    """

    exact: bool = True
    """False: the broker drops old entries when it suits it, so more than ``keep`` may be there."""

    async def publish(self, appends: Sequence[Append], /) -> None:
        """The broker has the entries; in one step for each topic, of which each comes once.

        Where some topics' entries cannot be published, ``PublishFailed({index: error})`` says
        which; the others' were.
        """
        ...

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        """Return at most ``limit`` (from 1) entries after that position; None: the oldest kept.

        It may return fewer, and even none, while ``Page.more`` is True and its position advances.
        Raises ``HistoryLost``. A topic that never had an entry is empty, and has an epoch from now
        on (law 5).
        """
        ...

    async def last(self, topic: str, count: int, /) -> Page:
        """Return the newest ``count`` entries (from 0), oldest first; ``position`` is the end."""
        ...

    async def clear(self, prefix: str, /) -> None:
        """Every topic whose name begins with ``prefix`` has no entries, and another epoch."""
        ...


class Backend(ABC):
    """One broker, for one event loop. Topics are ASCII, at most 165 characters.

    Laws:

    1. ``subscribe`` returns only when the broker will deliver: a publish that starts after it
       returns arrives.
    2. After ``unsubscribe`` returns, ``deliver`` is not called for those topics.
    3. ``publish`` returns when the broker has the messages. Each subscribed process, the sender's
       own included, gets each once, while connected, in the order in which one process published.
       ``deliver`` is called from the event loop, never from inside ``publish``.
       Where only some of a batch cannot be published, ``PublishFailed`` says which.
    4. A lost connection is repaired by the backend: exponential backoff with jitter, forever,
       logged without passwords; all subscriptions are restored and confirmed; then ``gap`` is
       called once, before the first ``deliver`` of the new connection. While the broker is
       unreachable, ``publish`` and ``subscribe`` raise ``BackendUnavailable`` within a bounded
       time.
    5. Any call may be cancelled and the backend stays usable. ``close`` is safe when never opened,
       half opened, broken, or closed.
    """

    max_payload: int | None = None
    """Bytes the broker carries in one message; None: no limit. Core fragments above it."""

    frame_bytes: int = 65_536
    """How many bytes of messages core packs into one payload at best."""

    queues: WorkerQueues | None = None
    """The broker's worker queues; None: it has none, and core says so clearly."""

    history: History | None = None
    """The broker's history; None: it keeps none, and core says so clearly."""

    @property
    def deaf(self) -> Exception | None:
        """Why nothing comes now on some topics; None: it does, or the backend cannot tell."""
        return None

    async def describe(self) -> Mapping[str, str | int | float]:
        """Return what the broker tells of itself when it is asked; by default nothing.

        Names that tools know: ``server`` (the product) and ``version``, ``max_payload`` (bytes that
        it carries in one message), ``time`` (its clock of now, in seconds since 1970) and
        ``time_within`` (how far that may be off); any others are shown as they are. No secret is
        among them. Raises ``BackendUnavailable``.
        """
        return {}

    @abstractmethod
    async def open(self, inbox: Inbox, /) -> None:
        """Connected; from now on what arrives is pushed into ``inbox``.

        Raises ``BackendUnavailable`` when the broker cannot be reached.
        """

    @abstractmethod
    async def close(self) -> None:
        """Every task and socket is let go of."""

    @abstractmethod
    async def subscribe(self, topics: Collection[str], /) -> None:
        """Law 1. Subscribing again to a subscribed topic changes nothing."""

    def subscribe_at_once(self, topic: str, /) -> bool:
        """Law 1 for one topic where that takes no waiting; False, and nothing is done, elsewhere.

        Core asks this first when somebody joins a group, and needs no task and no time limit then.
        """
        return False

    @abstractmethod
    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """Law 2. Unknown topics are ignored."""

    @abstractmethod
    async def publish(self, publications: Sequence[Publication], /) -> None:
        """Law 3."""
