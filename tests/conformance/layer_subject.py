"""What mutants of layers are made of, and the verdict of a clause on one."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from fast_channels.testing import LayerTests
from fast_channels.testing.conformance.sealed import clauses

from .layers import CutBackend, CutLayer, CutLayerTests

MUTANTS: dict[str, type[CutLayerTests]] = {}
"""The suite of each mutant, by the mutant's name."""
CAUGHT_BY: dict[str, str] = {}
"""The clause that is written for each mutant."""

M = TypeVar("M", bound=type)
PASSED, SKIPPED = "passed", "skipped"


class Mutant(CutLayer):
    """A layer with one fault; ``spoil`` may put it into each new session."""

    def spoil(self, session):
        """Put the fault into an open session."""

    async def _open_session(self, *arguments):
        session = await super()._open_session(*arguments)
        self.spoil(session)
        return session


def caught_by(clause: str) -> Callable[[M], M]:
    """Register the layer, backend or suite as a mutant that the clause has to catch."""

    def register(mutant: M) -> M:
        assert clause in CLAUSES, clause
        if issubclass(mutant, CutLayerTests):
            suite = mutant
        elif issubclass(mutant, CutBackend):
            layer = type(mutant.__name__, (CutLayer,), {"backend_class": mutant})
            suite = type(mutant.__name__, (CutLayerTests,), {"layer_class": layer})
        else:
            suite = type(mutant.__name__, (CutLayerTests,), {"layer_class": mutant})
        assert mutant.__doc__, mutant
        MUTANTS[mutant.__name__], CAUGHT_BY[mutant.__name__] = suite, clause
        return mutant

    return register


def verdict(suite: type[CutLayerTests], clause: str, patience: float) -> str:
    """Return what the clause says about the suite's layer: passed, skipped, or what is wrong."""
    subject = suite()
    subject.patience = subject.recovers_within = subject.unavailable_within = patience
    subject.limit = max(subject.limit, patience)
    try:
        with silence():
            getattr(subject, clause)()
    except pytest.skip.Exception:
        return SKIPPED
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # pytest's own failures are no Exceptions
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return PASSED


@contextmanager
def silence() -> Iterator[None]:
    """A mutant's log is its own business."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
        gc.collect()


CLAUSES = sorted(name for name in clauses(LayerTests) if name.startswith("test_"))
