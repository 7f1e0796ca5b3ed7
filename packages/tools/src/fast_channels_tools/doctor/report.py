"""What the checks found, for people and for programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from rich.console import Console
from rich.text import Text

from fast_channels_tools.connecting import Place

Status = Literal["ok", "warn", "fail"]
STYLES: Final[dict[Status, str]] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
WIDTH: Final = 11
"""Of the longest name of a check."""


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    status: Status
    found: str
    advice: str = ""
    """What to do next; empty where nothing is wrong."""
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    """The numbers and names in ``found``."""


def as_json_object(place: Place, checks: Sequence[Check]) -> dict[str, Any]:
    """Return the report as JSON takes it."""
    counts = Counter(check.status for check in checks)
    return {
        "url": place.shown,
        "prefix": place.prefix,
        "ok": counts["ok"],
        "warn": counts["warn"],
        "fail": counts["fail"],
        "checks": [asdict(check) for check in checks],
    }


def show(console: Console, check: Check) -> None:
    """The line is printed, and what to do below it."""
    text = Text(f"{check.status:4}  ", STYLES[check.status])
    text.append(f"{check.name:{WIDTH}}  {check.found}", "default")
    console.print(text, soft_wrap=True)
    if check.advice:
        console.print(Text(f"{'':{WIDTH + 8}}-> {check.advice}"), soft_wrap=True)


def show_sum(console: Console, checks: Sequence[Check]) -> None:
    """The last line is printed."""
    counts = Counter(check.status for check in checks)
    worst: Status = "fail" if counts["fail"] else "warn" if counts["warn"] else "ok"
    numbers = ", ".join(f"{counts[status]} {status}" for status in STYLES)
    noun = "check" if len(checks) == 1 else "checks"
    console.print(Text(f"{len(checks)} {noun}: {numbers}", STYLES[worst]), soft_wrap=True)
