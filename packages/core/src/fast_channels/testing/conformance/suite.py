"""What the suites for backends share: building, opening, fencing."""

import asyncio
import os
from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from fast_channels.layers import Backend
from fast_channels.testing.conformance.broker import POWERS, BrokerSuite
from fast_channels.testing.conformance.process import Process
from fast_channels.testing.conformance.sealed import sealed


class BackendSuite(BrokerSuite):
    """A suite over backends of one kind."""

    secret: ClassVar[str | None] = None
    """The password that ``build`` uses: it must not be shown in logs, errors and reprs."""

    def __init_subclass__(cls, power: str | None = None, **kwargs: Any) -> None:
        """Raise ``TypeError`` where the declared powers are not those of the suites."""
        super().__init_subclass__(**kwargs)
        if power is not None:
            POWERS[power] = cls
        elif problem := _wrongly_declared(cls):
            raise TypeError(problem)

    @abstractmethod
    def build(self) -> Backend:
        """Return a new, unopened backend; every call reaches the same broker."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(self) -> Backend")

    @sealed
    async def process(self) -> Process:
        """Return a process with a backend of its own, open until the clause ends."""
        return await self.closing.enter_async_context(self.opened())

    @sealed
    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Process]:
        """Return a process whose backend is open inside the context."""
        process = Process(self.build(), self.patience)
        try:
            await process.soon(process.backend.open(process), "open")
            yield process
        finally:
            await process.close()
        assert not process.wrong, f"the backend broke the inbox's rules: {process.wrong}"

    @sealed
    def topic(self, name: str = "room") -> str:
        """Return a topic that no other clause, run or suite uses; the same name, the same topic."""
        return f"{self.prefix()}:g.{name}"

    @sealed
    def numbered(self, count: int, first: int = 0) -> list[bytes]:
        """Return that many payloads, each different."""
        return [b"%d" % number for number in range(first, first + count)]

    @sealed
    async def fence(self, sender: Process, *receivers: Process) -> None:
        """Everything that ``sender`` published before has come to ``receivers``, if ever it will.

        Shown by a marker, published after it on a topic of its own.
        """
        topic = self.topic(f"fence-{os.urandom(6).hex()}")
        for receiver in receivers:
            await receiver.subscribe(topic)
        await self.settle()
        await sender.publish(topic, b"fence")
        for receiver in receivers:
            await receiver.expect(topic)
            await receiver.unsubscribe(topic)

    @sealed
    async def silence(self, sender: Process, *receivers: Process) -> None:
        """As ``fence``; and for ``quiet`` seconds nothing came that came late."""
        await self.fence(sender, *receivers)
        await asyncio.sleep(self.quiet)


def no_secret(suite: BackendSuite) -> str | None:
    """Return why no password can be looked for; None: one can."""
    if suite.secret is None:
        return f"{type(suite).__name__}.secret is None: build() uses no password"
    return None


def _wrongly_declared(cls: type[BackendSuite]) -> str | None:
    for power, suite in POWERS.items():
        if power in cls.capabilities and not issubclass(cls, suite):
            return (
                f"{cls.__name__}.capabilities has {power!r}, but the class is no "
                f"{suite.__name__}; write: class {cls.__name__}(BackendTests, {suite.__name__})"
            )
        if power not in cls.capabilities and issubclass(cls, suite):
            return (
                f"{cls.__name__} is a {suite.__name__}, but its capabilities lack {power!r}; "
                f"write: capabilities = frozenset({{{power!r}}})"
            )
    return None
