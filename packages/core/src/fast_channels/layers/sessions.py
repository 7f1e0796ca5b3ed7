"""The sessions of one layer: one for each event loop that it is used from."""

import asyncio
import threading
from asyncio import get_running_loop
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fast_channels.exceptions import LayerClosed
from fast_channels.layers.counters import Counters
from fast_channels.layers.forks import abandon
from fast_channels.layers.loops import run_elsewhere
from fast_channels.layers.session import Session


@dataclass(slots=True, eq=False)
class _Opening:
    """A session that is being opened, and the turns of those who wait for it."""

    loop: asyncio.AbstractEventLoop
    task: "asyncio.Task[Session]"
    turns: "list[asyncio.Future[None]]"
    last: "asyncio.Future[None] | None" = None
    """The last turn of those that have come."""


class Sessions:
    """Opens them at first use, shares each opening, and lets go of those that have ended.

    ``make`` returns a new session for a loop; ``patience`` is how many seconds a session of
    another, running loop gets to close.
    """

    def __init__(
        self,
        layer: object,
        make: Callable[[asyncio.AbstractEventLoop], Session],
        patience: float,
    ) -> None:
        self.closed = False
        """Nobody gets a session until this is False again."""
        self.latest: Session | None = None
        """The one that was used last."""
        self._layer = layer
        self._make = make
        self._patience = patience
        self._by_loop: dict[asyncio.AbstractEventLoop, Session] = {}
        self._opening: dict[asyncio.AbstractEventLoop, _Opening] = {}
        self._past = Counters()
        self._lock = threading.RLock()
        """Held while ended sessions are forgotten, and their counts added to those of the past."""

    def current(self) -> Session | None:
        """Return the running loop's session; None while it has to be opened."""
        session = self.latest
        # Not get_running_loop(): Python 3.11 asks the kernel there, as long as half a group_send.
        if (
            session is None
            or session.closed
            or self._opening
            or session.thread != threading.get_ident()
            or not session.is_running()
        ):
            loop = get_running_loop()
            session = self._by_loop.get(loop)
            if session is None or (self._opening and loop in self._opening):
                return None
            session.thread = threading.get_ident()
            self.latest = session
        return None if session.closed or self.closed else session

    async def open(self) -> Session:
        """Return the running loop's session; raises ``LayerClosed`` or what its opening raised.

        Callers that come at once share one opening, and go on in the order in which they came.
        """
        loop = get_running_loop()
        opening = self._opening.get(loop)
        if opening is None and not self.closed:
            opening = _Opening(loop, loop.create_task(self._open(loop)), [])
            self._opening[loop] = opening
            opening.task.add_done_callback(lambda _: self._opened(opening))
        if opening is not None:
            turn: asyncio.Future[None] = loop.create_future()
            opening.turns.append(turn)
            await turn
            session = opening.task.result()
            if turn is opening.last and not opening.turns:
                self._over(opening)  # else whoever never waits elsewhere would wait here each time
            if not session.closed:
                return session
        raise LayerClosed(f"{self._layer} is closed; call await layer.open() to use it again")

    async def to_read(self) -> Session:
        """Return the running loop's session, which is the latest now; a closing one, too."""
        session = self._by_loop.get(get_running_loop())
        if session is None or session.closed:
            session = await self.open()
        session.thread = threading.get_ident()
        self.latest = session
        return session

    async def close(self) -> None:
        """Every session has ended, those of other loops, too."""
        self.closed = True
        here = get_running_loop()
        if here in self._opening:
            await asyncio.wait([self._opening[here].task])
            self._opening.pop(here, None)
        for loop, session in list(self._by_loop.items()):
            if loop is here:
                await session.close()
            elif loop.is_running():
                await run_elsewhere(loop, session.end, self._patience)
        self._forget_ended()

    def disown(self) -> None:
        """The sessions are the parent process's: this forked child opens its own."""
        for session in self._by_loop.values():
            session.disown()
        abandon(self._by_loop, self._opening)
        self._by_loop = {}
        self._opening = {}
        self.latest = None
        self._lock = threading.RLock()  # another thread of the parent may have held it

    @property
    def live(self) -> list[Session]:
        """Those that are open now; may be asked from any thread."""
        return [session for session in self._all() if not session.closed]

    def counted(self) -> Counters:
        """Return the counts of all that ever were; may be called from any thread."""
        counters = Counters()
        with self._lock:
            counters.add(self._past)
            sessions = self._all()
        for session in sessions:
            counters.add(session.counters)
        return counters

    def group_sizes(self) -> dict[str, int]:
        """Return each group that has members in any session, and how many; from any thread."""
        sizes: Counter[str] = Counter()
        for session in self.live:
            sizes.update(dict(session.hub.group_sizes))
        return dict(sizes)

    def _all(self) -> list[Session]:
        with self._lock:
            return list(self._by_loop.values())

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Session:
        self._forget_ended()
        session = self._make(loop)
        await session.open()
        self._by_loop[loop] = session
        if self.closed:  # meanwhile, by another loop, which perhaps has not seen it
            await session.close()
        return session

    def _opened(self, opening: _Opening) -> None:
        """Let everyone go on who waits; only then can callers pass without waiting."""
        turns, opening.turns = opening.turns, []
        for turn in turns:
            if not turn.done():
                turn.set_result(None)
                opening.last = turn
        failed = opening.task.cancelled() or opening.task.exception() is not None
        if turns and not failed:
            opening.loop.call_soon(self._opened, opening)
        else:
            self._over(opening)

    def _over(self, opening: _Opening) -> None:
        if self._opening.get(opening.loop) is opening:
            del self._opening[opening.loop]

    def _forget_ended(self) -> None:
        with self._lock:
            for loop, session in list(self._by_loop.items()):
                if session.closed or loop.is_closed():
                    self._past.add(session.counters)
                    del self._by_loop[loop]
                    self.latest = None
            for loop in list(self._opening):
                if loop.is_closed():
                    self._opening.pop(loop, None)
