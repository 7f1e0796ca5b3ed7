"""What the mutants are tried with: suites of little patience, and the list of all mutants.

A mutant is a backend, a queue, a layer or a suite with one thing wrong, under the name of the
clause that is written to catch it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import pytest

from fast_channels.layers import Backend
from fast_channels.testing import BackendTests, HistoryTests, QueueTests

from .breakable import (
    CAPACITY,
    PASSWORD,
    BreakableBackend,
    BreakableBroker,
    BreakableHistory,
    BreakableQueues,
)
from .layers import CutBackend, CutLayer, CutLayerTests

C = TypeVar("C", bound=type[Any])


class Subject(BackendTests, QueueTests, HistoryTests):
    """Every clause has a broker of its own, so nothing that a mutant spoils outlives the clause."""

    __test__ = False
    capabilities = frozenset({"queues", "history"})
    queue_capacity = CAPACITY
    redelivers = True
    secret = PASSWORD
    patience = unavailable_within = recovers_within = 0.2
    limit = 3.0
    quiet = 0.01
    short_expiry = 0.02
    short_ttl = 0.1
    kind: Callable[[BreakableBroker], Backend] = BreakableBackend

    @property
    def broker(self) -> BreakableBroker:
        """The broker of this clause."""
        broker: BreakableBroker = self.__dict__.setdefault("_broker", BreakableBroker())
        return broker

    def build(self) -> Backend:
        return type(self).kind(self.broker)

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        self.broker.stop()
        try:
            yield
        finally:
            self.broker.start()


class LayerSubject(CutLayerTests):
    """Every clause has a wire of its own, with a broker at its end."""

    __test__ = False
    patience = unavailable_within = recovers_within = 0.2
    limit = 3.0


AnySubject = Subject | LayerSubject

HEALTHY: Final[dict[str, type[AnySubject]]] = {
    "(no mutant of a backend)": Subject,
    "(no mutant of a layer)": LayerSubject,
}
"""What mutants are made of: breaks no clause."""

MUTANTS: Final[dict[str, type[AnySubject]]] = {}
"""The suite over each mutant, by the mutant's name."""

CAUGHT_BY: Final[dict[str, str]] = {}
"""The clause that is written for each mutant, by the mutant's name."""


def caught_by(clause: str) -> Callable[[C], C]:
    """List the class as a mutant, which that clause must catch."""

    def note(mutant: C) -> C:
        name = mutant.__name__
        assert name not in MUTANTS, f"two mutants are named {name}"
        assert mutant.__doc__, f"{name} does not say what is wrong with it"
        MUTANTS[name] = _suite(mutant)
        CAUGHT_BY[name] = clause
        assert clause in clauses(MUTANTS[name]), f"no clause is named {clause}"
        return mutant

    return note


def _suite(mutant: type[Any]) -> type[AnySubject]:
    if issubclass(mutant, Subject | LayerSubject):
        return mutant
    made: type[Any] = mutant
    if issubclass(mutant, BreakableQueues):
        made = type(mutant.__name__, (BreakableBackend,), {"make_queues": mutant})
    if issubclass(mutant, BreakableHistory):
        made = type(mutant.__name__, (BreakableBackend,), {"make_history": mutant})
    if issubclass(mutant, CutBackend):
        made = type(mutant.__name__, (CutLayer,), {"backend_class": mutant})
    if issubclass(made, CutLayer):
        return type(f"Suite{mutant.__name__}", (LayerSubject,), {"layer_class": made})
    return type(f"Suite{mutant.__name__}", (Subject,), {"kind": made})


def clauses(suite: type[AnySubject] | None = None) -> list[str]:
    """Return the names of the suite's clauses; None: of all suites'."""
    suites = HEALTHY.values() if suite is None else [suite]
    return sorted({name for each in suites for name in dir(each) if name.startswith("test_")})


def later(seconds: float, call: Any, *arguments: Any) -> None:
    """Call it later, on the running loop."""
    asyncio.get_running_loop().call_later(seconds, call, *arguments)


def verdict(suite: type[AnySubject], clause: str) -> str:
    """Run one clause; return ``"passed"``, ``"skipped"``, or the first line of its failure."""
    try:
        getattr(suite(), clause)()
    except pytest.skip.Exception:
        return "skipped"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as failure:
        return f"{type(failure).__name__}: {failure}".partition("\n")[0]
    return "passed"
