"""What a verification found, for people and for programs."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .target import Target


@dataclass
class Result:
    """How one clause ended."""

    suite: str
    """``"backend"`` or ``"layer"``."""
    subject: str
    clause: str
    promise: str
    """What the clause says beyond its name."""
    usual_cause: str
    outcome: str = "passed"
    """Or ``"failed"`` or ``"not claimed"``."""
    reason: str = ""
    """What went wrong here, or why it is not claimed."""


def as_json_object(target: Target, results: list[Result], seconds: float) -> dict[str, Any]:
    """Return the report as JSON takes it."""
    counts = Counter(result.outcome for result in results)
    return {
        "url": target.place.shown,
        "prefix": target.place.prefix,
        "layer": target.source,
        "powers": target.shown_powers,
        "passed": counts["passed"],
        "failed": counts["failed"],
        "not_claimed": counts["not claimed"],
        "seconds": round(seconds, 1),
        "clauses": [asdict(result) for result in results],
    }


def show(console: Console, target: Target, results: list[Result], seconds: float) -> None:
    """The report is printed: a table, every failure with its usual cause, what is not claimed."""
    powers = ", ".join(target.shown_powers)
    console.print(
        f"{target.place.shown}: {target.source}, with {powers}", soft_wrap=True, markup=False
    )
    console.print(_table(results))
    for result in results:
        if result.outcome == "failed":
            _failure(console, result)
    unclaimed = Counter(r.reason for r in results if r.outcome == "not claimed")
    if unclaimed:
        console.print("Not claimed:")
    for reason, count in unclaimed.items():
        text = f"{count:4} {'clause' if count == 1 else 'clauses'}: {reason}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    counts = Counter(result.outcome for result in results)
    style = "bold red" if counts["failed"] else "bold green"
    console.print(
        f"\n{counts['passed']} passed, {counts['failed']} failed, "
        f"{counts['not claimed']} not claimed in {seconds:.1f} s",
        style=style,
    )


def _table(results: list[Result]) -> Table:
    table = Table("Suite", "About", box=box.SIMPLE)
    for column in ("Passed", "Failed", "Not claimed"):
        table.add_column(column, justify="right")
    for suite, subject in sorted({(r.suite, r.subject) for r in results}):
        counts = Counter(r.outcome for r in results if (r.suite, r.subject) == (suite, subject))
        numbers = [counts["passed"], counts["failed"], counts["not claimed"]]
        passed, failed, unclaimed = (str(number or "") for number in numbers)
        table.add_row(suite, subject, Text(passed, "green"), Text(failed, "bold red"), unclaimed)
    return table


def _failure(console: Console, result: Result) -> None:
    console.print(f"Failed: {result.clause}", style="bold red", markup=False, soft_wrap=True)
    for title, text in (
        ("promise", result.promise),
        ("usual cause", result.usual_cause),
        ("here", result.reason.partition("\n")[0]),
    ):
        if text:
            console.print(f"  {title}: {text}", markup=False, soft_wrap=True)
    console.print()
