"""What every suite of the kit shares: a broker, and what the author's class says of it."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Final, TypeVar

from fast_channels.testing.conformance.clause import Suite, clause
from fast_channels.testing.conformance.sealed import broken_seals, sealed

T = TypeVar("T")

POWERS: Final[dict[str, type["BrokerSuite"]]] = {}
"""The optional powers, by the attribute of a backend, and the suite for backends of each."""


class BrokerSuite(Suite):
    """A suite over one kind of backend or layer."""

    capabilities: ClassVar[frozenset[str]] = frozenset()
    """The optional powers that the backend or layer is meant to have: ``"queues"``,
    ``"history"``. Compared with what it has, so a power lost by mistake is a failure."""

    no_outage: ClassVar[str | None] = None
    """Why ``outage`` is not there: the outage clauses are skipped, and print this reason."""

    order_across_topics: ClassVar[bool] = True
    """False where topics live on several servers, so that what one process sends keeps its order on
    each topic only: clauses about the order across them are skipped, and fences wait ``quiet``."""

    exact_history: ClassVar[bool] = True
    """False where the broker drops old entries of a history when it suits it (``History.exact``):
    clauses about ``keep`` and ``ttl`` are skipped."""

    prefixes: ClassVar[str] = "kit"
    """What the prefix of each clause begins with, for users who may use no other names."""

    unavailable_within: float = 10.0
    """Seconds within which calls fail while the broker cannot be reached."""

    recovers_within: float = 10.0
    """Seconds within which all is well again when the broker can be reached again."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raise ``TypeError`` for a declared power that the kit does not know."""
        super().__init_subclass__(**kwargs)
        if unknown := sorted(cls.capabilities - POWERS.keys()):
            raise TypeError(
                f"{cls.__name__}.capabilities has {unknown}, which the kit does not know; "
                f"it knows {sorted(POWERS)}"
            )

    def outage(self) -> AbstractAsyncContextManager[Any]:
        """Return an async context manager inside which the broker cannot be reached.

        Entering it ends when the connections are broken, leaving it when the broker can be
        reached again.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs an async context manager outage(self), or "
            'no_outage = "the reason"'
        )

    @sealed
    def prefix(self, length: int = 0) -> str:
        """Return a prefix, at least ``length`` characters long, that no other clause uses."""
        prefix: str = self.__dict__.setdefault("_prefix", f"{self.prefixes}-{os.urandom(6).hex()}")
        return prefix.ljust(length, "x")

    @sealed
    async def elsewhere(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the coroutine function returns on an event loop in another thread."""

        def run() -> T:
            with asyncio.Runner(loop_factory=self.loop_factory) as runner:
                return runner.run(work())

        return await asyncio.to_thread(run)

    @sealed
    async def settle(self) -> None:
        """What was published until now comes before what is published next, on any topic."""
        if not self.order_across_topics:
            await asyncio.sleep(self.quiet)

    @clause
    async def test_no_clause_of_the_kit_was_replaced(self) -> None:
        """Usual cause: a clause was replaced after the class was made, where the seal does not
        see it; override it in the class, under ``@pytest.mark.xfail(reason=..., strict=True)``."""
        assert not broken_seals(type(self))
        own = vars(self).keys()
        assert not {name for name in own if name.startswith("test_")}, "set on the instance"

    @clause
    async def test_the_broker_can_be_made_unreachable_or_the_class_says_why_not(self) -> None:
        """A class has ``outage()`` or ``no_outage = "reason"``, and not both. Usual cause: it was
        forgotten, and no outage would ever be tried."""
        has_outage = type(self).outage is not BrokerSuite.outage
        assert has_outage or self.no_outage, (
            f'{type(self).__name__} needs an async context manager outage(self), or no_outage = "'
            'the reason why it cannot have one"'
        )
        assert not (has_outage and self.no_outage), (
            f"{type(self).__name__} has outage() and no_outage, which says: {self.no_outage}"
        )


def no_outage(suite: BrokerSuite) -> str | None:
    """Return why the broker cannot be made unreachable; None: it can."""
    if type(suite).outage is not BrokerSuite.outage:
        return None
    return suite.no_outage or "the class has neither outage() nor no_outage"


def no_order_across(suite: BrokerSuite) -> str | None:
    """Return why topics have no common order; None: they have."""
    if suite.order_across_topics:
        return None
    return f"{type(suite).__name__}.order_across_topics is False: topics are on several servers"
