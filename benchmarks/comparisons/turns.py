"""Measures sides in turn, round after round: what slows the machine slows all sides of a round."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from benchmarks.launch import OURS
from benchmarks.launch.child import measure

ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "5"))

Figures = dict[str, list[float]]
"""What was measured of a side, by name, a value for each round."""

Way = Callable[[], dict[str, Any]]
"""Measures a side once, in a process of its own, and returns its figures."""


def in_turns(*ways: Way) -> list[Figures]:
    """Measure every side in each of the rounds; return the figures of each side."""
    results: list[Figures] = [{} for _ in ways]
    for _ in range(ROUNDS):
        for way, result in zip(ways, results, strict=True):
            for name, value in way().items():
                result.setdefault(name, []).append(value)
    return results


def worker(comparison: str, *args: object, python: str = OURS, loop: str = "uvloop") -> Way:
    """Return what runs a comparison's own module as a worker; by default with our packages."""
    return partial(measure, python, f"comparisons.{comparison}", loop, *args)
