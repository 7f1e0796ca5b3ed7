"""What the suites for backends share: building, opening, fencing, breaking the broker."""

import os
from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

from fast_channels.layers import Backend
from fast_channels.testing.conformance.clause import Suite
from fast_channels.testing.conformance.process import Process


class BackendSuite(Suite):
    """A suite over backends of one kind."""

    capabilities: ClassVar[frozenset[str]] = frozenset()
    """The optional powers that the backend is meant to have: ``"queues"``. Compared with what it
    has, so a power lost by mistake is a failure."""

    no_outage: ClassVar[str | None] = None
    """Why ``outage`` is not there: the outage clauses are skipped, and print this reason."""

    @abstractmethod
    def build(self) -> Backend:
        """Return a new, unopened backend; every call reaches the same broker."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(self) -> Backend")

    def outage(self) -> AbstractAsyncContextManager[Any]:
        """Return an async context manager inside which the broker cannot be reached.

        Entering it ends when the connections are broken, leaving it when the broker can be
        reached again.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs an async context manager outage(self), or "
            'no_outage = "the reason"'
        )

    async def process(self) -> Process:
        """Return a process with a backend of its own, open until the clause ends."""
        process = Process(self.build(), self.patience)
        self.closing.push_async_callback(process.backend.close)
        await process.backend.open(process)
        self.closing.callback(_refuse_wrong_calls, process)
        return process

    def topic(self, name: str = "room") -> str:
        """Return a topic that no other clause, run or suite uses; the same name, the same topic."""
        return f"{self._token()}:g.{name}"

    async def fence(self, sender: Process, *receivers: Process) -> None:
        """Everything that ``sender`` published before has come to ``receivers``, if ever it will.

        Shown by a marker, published after it on a topic of its own.
        """
        topic = self.topic(f"fence-{os.urandom(6).hex()}")
        for receiver in receivers:
            await receiver.subscribe(topic)
        await sender.publish(topic, b"fence")
        for receiver in receivers:
            await receiver.expect(topic)
            await receiver.unsubscribe(topic)

    def _token(self) -> str:
        token: str = self.__dict__.setdefault("_prefix", f"kit-{os.urandom(6).hex()}")
        return token


def _refuse_wrong_calls(process: Process) -> None:
    assert not process.wrong, f"the backend broke the inbox's rules: {process.wrong}"
