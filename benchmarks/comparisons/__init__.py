"""Comparisons, each with the targets of one part of the house; ``python -m benchmarks NAME``.

A module has ``rows()``, which yields what it measured as rows of ``table``. Its docstring says what
that is, in which unit and against what.
"""

import importlib
from typing import Any, Final

NAMES: Final = (
    "fanout",
    "events",
    "broadcast",
    "stall",
    "memory",
    "layer",
    "sync",
    "nats_layers",
    "rabbitmq_layers",
    "redis_layers",
    "redis_broadcast",
    "postgres_layers",
)


def module(name: str) -> Any:
    """Return the comparison's module."""
    return importlib.import_module(f"benchmarks.comparisons.{name}")
