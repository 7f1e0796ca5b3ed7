"""Tables of figures as Markdown: a line for each side, a column for each case."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from benchmarks.report import model
from benchmarks.results import Result, Row

LOSSY: Final = 0.0005
"""The part that may be lost without being told beside a figure."""


def markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table; what a cell says is on one line."""
    cells = ([text.replace("\n", " ").replace("|", "/") for text in line] for line in lines)
    first, *rest = (f"| {' | '.join(line)} |" for line in (headings, *cells))
    return "\n".join([first, "|---" * len(headings) + "|", *rest])


def table(
    scenario: str, measure: str, scale: float = 1.0, cases: Sequence[str] = ()
) -> Callable[[Result], str]:
    """Return what makes a scenario's table, of all cases or of some."""

    def made(result: Result) -> str:
        known = dict.fromkeys(row.case for row in result.of(scenario) if row.case)
        columns = {case: (scenario, case) for case in cases or known}
        return by_side(result, columns, measure, scale)

    return made


def by_side(
    result: Result, columns: dict[str, tuple[str, str]], measure: str, scale: float = 1.0
) -> str:
    """Return a table of scenarios' cases, by heading; sides without any of them are left out."""
    lines: list[list[str]] = []
    for side in result.sides:
        rows = [row_of(result, side["name"], *where) for where in columns.values()]
        kept = [row for row in rows if row is not None]
        if not kept or (
            # It has figures, but none of these: there is no broker, for example.
            any(row.measures for row in kept) and not any(row.measures.get(measure) for row in kept)
        ):
            continue
        cells = [cell(row, measure, scale) for row in rows]
        lines.append([model.TITLES[side["broker"]], name(side), *cells])
    return markdown(["broker", "library", *columns], lines)


def row_of(result: Result, side: str, scenario: str, case: str) -> Row | None:
    """Return a side's row of a case, if there is one."""
    rows = (row for row in result.of(scenario) if row.case == case)
    return next((row for row in rows if row.side == side), None)


def name(side: dict[str, Any]) -> str:
    """Return a side's label, in bold if it is ours."""
    return f"**{side['label']}**" if side["role"] == "ours" else str(side["label"])


def cell(row: Row | None, measure: str, scale: float = 1.0) -> str:
    """Return a figure as text, with what was lost."""
    value = row.middle(measure) if row else None
    if row is None or value is None:
        return "-"
    return number(value * scale) + (f" (lost {row.lost:.1%})" if row.lost > LOSSY else "")


def number(value: float) -> str:
    """Return three digits: ``1.25 M``, ``12.5 k``, ``0.0125``."""
    for scale, letter in ((1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"
