"""What the mutants are tried with: a suite of little patience, and the list of all mutants.

A mutant is a backend, a queue or a suite with one thing wrong, under the name of the clause that is
written to catch it.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import pytest

from fast_channels.layers import Backend
from fast_channels.testing import BackendTests, QueueTests

from .breakable import CAPACITY, PASSWORD, BreakableBackend, BreakableBroker, BreakableQueues

C = TypeVar("C", bound=type[Any])


class Subject(BackendTests, QueueTests):
    """Every clause has a broker of its own, so nothing that a mutant spoils outlives the clause."""

    __test__ = False
    capabilities = frozenset({"queues"})
    queue_capacity = CAPACITY
    redelivers = True
    secret = PASSWORD
    patience = unavailable_within = recovers_within = 0.2
    limit = 3.0
    quiet = 0.01
    short_expiry = 0.02
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


MUTANTS: Final[dict[str, type[Subject]]] = {}
"""The suite over each mutant, by the mutant's name."""

CAUGHT_BY: Final[dict[str, str]] = {}
"""The clause that is written for each mutant, by the mutant's name."""


def caught_by(clause: str) -> Callable[[C], C]:
    """List the class as a mutant, which that clause must catch."""
    assert hasattr(Subject, clause), f"no clause is named {clause}"

    def note(mutant: C) -> C:
        name = mutant.__name__
        assert name not in MUTANTS, f"two mutants are named {name}"
        assert mutant.__doc__, f"{name} does not say what is wrong with it"
        MUTANTS[name] = _suite(mutant)
        CAUGHT_BY[name] = clause
        return mutant

    return note


def _suite(mutant: type[Any]) -> type[Subject]:
    if issubclass(mutant, Subject):
        return mutant
    backend: type[Any] = mutant
    if issubclass(mutant, BreakableQueues):
        backend = type(mutant.__name__, (BreakableBackend,), {"make_queues": mutant})
    return type(f"Suite{mutant.__name__}", (Subject,), {"kind": backend})


def clauses() -> list[str]:
    """Return the names of all clauses."""
    return sorted(name for name in dir(Subject) if name.startswith("test_"))


def verdict(suite: type[Subject], clause: str) -> str:
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
