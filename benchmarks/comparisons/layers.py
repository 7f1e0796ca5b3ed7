"""What the comparisons of layers share: sides on one broker, measured in turns, and their rows."""

import json
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any, Final

from benchmarks.comparisons.table import Row, compare
from benchmarks.comparisons.table import measure as text
from benchmarks.comparisons.turns import Figures, Way, in_turns
from benchmarks.launch.brokers import Broker
from benchmarks.launch.child import PATIENCE, heard
from benchmarks.launch.environments import python
from benchmarks.scenarios import NAMES, plan
from benchmarks.sides import entry

LOOP: Final = "uvloop"
PARAMS: Final = {"loop": LOOP, "limit": PATIENCE, "seconds": 1.0}
UNITS: Final = {"rate": "/s", "seconds": "s", "kib": "KiB"}
"""Of a figure; the others are microseconds."""


class Layers:
    """Sides on one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def measured(self, what: str, *sides: str, **params: Any) -> list[Figures]:
        """Measure sides in turns by a case of ``cases``, or by a scenario of the matrix.

        A scenario's figures are called by the case and the measure: ``"one sender, cpu_us"``.
        """
        return in_turns(*(self.way(what, side, **params) for side in sides))

    def way(self, what: str, side: str, **params: Any) -> Way:
        """Return how one side is measured."""
        return partial(self._once, what, side, params)

    def _once(self, what: str, side: str, params: dict[str, Any]) -> dict[str, float]:
        if what in NAMES:
            where, params = f"scenarios.{what}:measure", plan(what).full | PARAMS | params
        else:
            where, params = f"comparisons.cases:{what}", PARAMS | {"groups": 1} | params
        args = (LOOP, side, where, self._broker.url, json.dumps(params))
        found: dict[str, float] = {}
        interpreter = python(entry(side).environment)
        for said in heard(interpreter, "workers.side", *args, counters=self._broker.counters):
            if "reason" in said:
                raise RuntimeError(f"{side}, {said['case']}: {said['reason']}")
            measures = said.get("measures", {})
            found |= {f"{said['case']}, {name}": value for name, value in measures.items()}
            found |= said.get("figures") or {}
        return found

    def compare(
        self, case: str, ours: Figures, other: Figures, figure: str = "rate", **limit: float
    ) -> Row:
        """Return the row of a figure that both have; ``limit`` is ``at_least`` or ``at_most``."""
        return compare(self._broker.name, case, ours[figure], other[figure], unit(figure), **limit)

    def alone(
        self, case: str, ours: Figures, figure: str = "cpu_us", at_most: float | None = None
    ) -> Row:
        """Return the row of a figure that is compared with nothing."""
        value = median(ours[figure])
        shown = text(value, unit(figure))
        return Row(self._broker.name, case, shown, "-", value, f" {unit(figure)}", at_most=at_most)


def durable(on: Layers, ours: str, kept: str, stream: str, driver: str) -> Iterator[Row]:
    """Yield what a group with a history costs and its replay, against the driver's own stream."""
    plain, sent, theirs = on.measured("send", ours, kept, stream)
    yield on.compare(f"durable group, {driver}", sent, theirs, at_least=1)
    yield on.compare(f"durable group, {driver}, CPU", sent, theirs, "cpu_us")
    yield on.compare("durable group, another, CPU", sent, plain, "cpu_us")
    read, theirs = on.measured("pages", kept, stream)
    yield on.compare(f"replay, {driver}", read, theirs, at_least=1)
    yield on.compare(f"replay, {driver}, CPU", read, theirs, "cpu_us")


def unit(figure: str) -> str:
    """Return what a figure is counted in."""
    return UNITS.get(figure.rpartition(", ")[2], "us")
