"""Rows of the result: what was measured, against what, and whether the target is met."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

from benchmarks.targets import aligned

HEADINGS = ("scenario", "case", "ours", "reference", "ratio", "spread", "target", "met")


@dataclass(frozen=True)
class Row:
    """One comparison; ``figure`` is what the target speaks of."""

    scenario: str
    case: str
    ours: str
    reference: str
    figure: float
    unit: str = "x"
    spread: str = "-"
    """Where the middle half of the rounds' ratios lay; wide: the machine is busy."""

    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.at_most is not None:
            return self.figure <= self.at_most
        if self.at_least is not None:
            return self.figure >= self.at_least
        return None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        target = "-"
        if self.at_most is not None:
            target = f"<= {self.at_most:g}{self.unit}"
        elif self.at_least is not None:
            target = f">= {self.at_least:g}{self.unit}"
        met = {None: "-", True: "yes", False: "NO"}[self.met]
        figure = f"{self.figure:.3g}{self.unit}"
        return (
            self.scenario,
            self.case,
            self.ours,
            self.reference,
            figure,
            self.spread,
            target,
            met,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the row for a JSON file."""
        return {**asdict(self), "met": self.met}


def compare(
    scenario: str,
    case: str,
    ours: Sequence[float],
    reference: Sequence[float],
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Row:
    """Return the row of two measures taken in turn.

    The ratio is the median of the rounds' ratios, not the ratio of the medians: what slows the
    machine for a while slows both sides of one round.
    """
    ratios = [a / b for a, b in zip(ours, reference, strict=True)]
    mine, other = measure(median(ours), unit), measure(median(reference), unit)
    spread = "-"
    if len(ratios) > 1:
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        spread = f"{low:.3g}-{high:.3g}"
    return Row(scenario, case, mine, other, median(ratios), "x", spread, at_most, at_least)


def measure(value: float, unit: str) -> str:
    """Return three digits, with the unit: ``1.25 M/s``, ``12.5 us``."""
    if unit == "/s":
        for scale, letter in ((1e6, "M"), (1e3, "k")):
            if value >= scale:
                return f"{value / scale:.3g} {letter}/s"
    return f"{value:.3g} {unit}"


def render(rows: Sequence[Row]) -> str:
    """Return the rows as one table."""
    return "\n".join(aligned([HEADINGS, *(row.cells() for row in rows)]))
