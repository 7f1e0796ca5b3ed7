"""What a broker author writes: topics and bytes, nothing else.

Core does everything above it once, for every broker: membership, fan-out, batching, frames,
fragments, capacity, expiry, loss detection. A backend connects, subscribes, publishes, comes back
after an outage, and says when it may have missed something.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol


class Publication(NamedTuple):
    """One payload for one topic."""

    topic: str
    payload: bytes


class Inbox(Protocol):
    """Where a backend pushes what arrives; core hands it to ``Backend.open``.

    Both methods are called on the event loop that opened the backend, are synchronous and never
    block. They do not raise.
    """

    def deliver(self, topic: str, payload: bytes, /) -> None:
        """Take one payload of a subscribed topic."""
        ...

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        """Note that messages may have been missed on ``topics`` (None: on any).

        Called once per loss, before the first ``deliver`` that follows it.
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

    @abstractmethod
    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """Law 2. Unknown topics are ignored."""

    @abstractmethod
    async def publish(self, publications: Sequence[Publication], /) -> None:
        """Law 3."""
