"""A backend whose every answer is chosen: when it comes, and what the broker made of the call."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels.layers import Inbox, Publication
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker


class Call:
    """A call of the backend that waits for its answer."""

    def __init__(self, act: Callable[[], Awaitable[None]], size: int) -> None:
        self.size = size
        """Publications; 0: the call is no publish."""
        self.taken = False
        self.refused: dict[int, Exception] = {}
        """Publications that the broker refuses."""
        self.lost: set[int] = set()
        """Publications that it drops without a word."""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._act = act

    async def take(self) -> None:
        """The broker has done it, and has not answered yet."""
        self.taken = True
        await self._act()

    async def outcome(self) -> None:
        """Wait for the answer; the broker has done it then, unless it raises."""
        await self.answered
        if not self.taken:
            await self.take()
        if self.refused:
            raise PublishFailed(self.refused)

    def answer(self, error: Exception | None = None) -> None:
        """The call returns, or raises the error."""
        if self.answered.done():
            pass  # the one who called has not run since
        elif error is None:
            self.answered.set_result(None)
        else:
            self.answered.set_exception(error)


class _Arriving:
    """An inbox whose deliveries wait for a reader."""

    def __init__(self, arrived: "asyncio.Queue[Publication]", inbox: Inbox) -> None:
        self._arrived = arrived
        self.gap = inbox.gap

    def deliver(self, topic: str, payload: bytes, /) -> None:
        self._arrived.put_nowait(Publication(topic, payload))


class HeldBackend(MemoryBackend):
    """While ``holding``, each call stays in ``held`` until it is answered or cancelled."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.holding = False
        self.held: list[Call] = []
        self._reader: asyncio.Task[None] | None = None

    async def open(self, inbox: Inbox, /) -> None:
        # As over a socket, a task reads and delivers: fan-out comes a turn of the loop later.
        arrived: asyncio.Queue[Publication] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read(arrived, inbox))
        await super().open(_Arriving(arrived, inbox))

    async def close(self) -> None:
        await super().close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    async def publish(self, publications: Sequence[Publication], /) -> None:
        wanted = list(publications)
        for publication in wanted:
            assert len(publication.payload) <= (self.max_payload or 2**30)

        async def act() -> None:
            await super(HeldBackend, self).publish(
                [
                    each
                    for i, each in enumerate(wanted)
                    if i not in call.refused and i not in call.lost
                ]
            )

        call = Call(act, len(wanted))
        await self._hold(call)

    async def subscribe(self, topics: Collection[str], /) -> None:
        wanted = list(topics)
        await self._hold(Call(lambda: super(HeldBackend, self).subscribe(wanted), 0))

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        wanted = list(topics)
        await self._hold(Call(lambda: super(HeldBackend, self).unsubscribe(wanted), 0))

    def let_go(self) -> None:
        """Whatever is held is done, and from now on everything at once."""
        self.holding = False
        for call in list(self.held):
            call.answer()

    async def _read(self, arrived: "asyncio.Queue[Publication]", inbox: Inbox) -> None:
        while True:
            publication = await arrived.get()
            if publication.topic in self.topics:
                inbox.deliver(*publication)

    async def _hold(self, call: Call) -> None:
        if not self.holding:
            call.answer()
        self.held.append(call)
        try:
            await call.outcome()
        finally:
            self.held.remove(call)


class SmallHeldBackend(HeldBackend):
    """Carries 512 bytes in one message, and packs no more into one."""

    max_payload = 512


def refusal(number: int) -> Exception:
    """Return an error that can be told from every other one."""
    return BackendUnavailable(f"refusal {number}")
