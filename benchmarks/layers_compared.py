"""What the comparisons of layers share: brokers of their own, and sides measured in turns."""

from benchmarks import environments
from benchmarks.processes import in_turns
from benchmarks.sides import compared
from benchmarks.table import Row
from benchmarks.table import measure as text

Figures = dict[str, list[float]]
"""What was measured of a side, by name, a value for each round."""


def take(url: str, case: str, *sides: str, options: tuple[object, ...] = ()) -> list[Figures]:
    """Measure a case of each side, in turns, through the broker at the URL."""
    return in_turns(*(worker(url, case, side, *options) for side in sides))


def worker(url: str, case: str, side: str, *options: object) -> tuple[object, ...]:
    """Return how one case of a side is measured."""
    python = environments.python(compared.environment(side))
    return python, "cases", "uvloop", side, case, url, *options


def alone(scenario: str, case: str, value: float, unit: str, at_most: float | None = None) -> Row:
    """Return the row of a figure that is compared with nothing."""
    units = f" {unit}"
    return Row(scenario, case, text(value, unit), "-", value, units, at_most=at_most)
