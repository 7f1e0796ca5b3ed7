"""What is measured: one module a scenario, each of which says in its docstring exactly what.

A module has ``PLAN``, and either ``measure(task)``, which runs in a process of its own for each
side, round and broker, or ``collect(run)``, which is a generator of rows in the run's process.
"""

import importlib
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Plan:
    """How a scenario is run."""

    title: str
    """In a list, a table and over a plot."""

    unit: str
    """What is counted: deliveries, messages, joins, ..."""

    brokers: tuple[str, ...]
    quick: dict[str, Any]
    """Parameters for a worker of a quick run; ``seconds`` is how long each case is measured."""

    full: dict[str, Any]
    limit: tuple[float, float]
    """Seconds after which one worker is ended, quick and full; its rows so far are kept."""

    budget: tuple[float, float]
    """Seconds after which no further round begins, quick and full; brokers have their share."""

    rounds: int = 3
    """Of a full run, if the budget is enough; a quick run has one."""

    again: dict[str, Any] = field(default_factory=dict)
    """What differs from ``full`` in the rounds after these: only the cases that take little time,
    and are noisy where a round or three is all there is."""

    more: int = 0
    """Rounds after these, of the sides alone on which a target may depend."""

    alone: float | None = None
    """``limit`` of a full run where there is no broker to wait for; None: the same."""

    roles: tuple[str, ...] = ("floor", "driver", "ours", "peer")
    lower_is_better: bool = False
    figure: str = "rate"
    """The measure that tables and plots show first."""

    cases: dict[str, str] = field(default_factory=dict)
    """What a case is called in a table."""


NAMES: Final = (
    "group_size",
    "senders",
    "two_processes",
    "latency",
    "lone",
    "many_groups",
    "joins",
    "footprint",
    "burst",
    "processes",
    "idle",
    "websockets",
    "tools",
)


def module(name: str) -> Any:
    """Return the scenario's module."""
    return importlib.import_module(f"benchmarks.scenarios.{name}")


def plan(name: str) -> Plan:
    """Return the scenario's plan."""
    found: Plan = module(name).PLAN
    return found
