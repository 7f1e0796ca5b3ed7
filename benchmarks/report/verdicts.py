"""The targets as Markdown: all of them, those that are missed, and who is ahead of us."""

from typing import Any, Final

from benchmarks import missed
from benchmarks.report import model
from benchmarks.report.tables import markdown
from benchmarks.results import Result
from benchmarks.targets import ahead, asked, compared

MEASURES: Final = {
    "rate": "rate",
    "cpu_us": "CPU",
    "p50_us": "median",
    "bytes": "memory",
    "broker_messages": "broker messages",
    "lost": "lost silently",
}
"""What readers call them."""


def where(result: Result, one: dict[str, Any]) -> list[str]:
    """Return the scenario, the case and the broker of a target, and whom ours is compared with."""
    labels = {side["name"]: side["label"] for side in result.sides}
    brokers = {side["name"]: model.TITLES[side["broker"]] for side in result.sides}
    scenario, case = one["scenario"].replace("_", " "), f"{one['case']}, {MEASURES[one['measure']]}"
    broker = brokers.get(one["ours"], one["ours"])
    return [scenario, case, broker, labels.get(one["against"], one["against"])]


def targets(result: Result) -> str:
    """Return all targets."""
    headings = ["scenario", "case", "broker", "against", "ratio", "rounds' ratios", "target", "met"]
    return markdown(
        headings,
        (
            [
                *where(result, one),
                *compared(one)[-2:],
                asked(one),
                "yes" if one["met"] else "**no**",
            ]
            for one in result.targets
        ),
    )


def counted(result: Result) -> str:
    """Return how many targets are met, and in which scenarios not all are."""
    met = sum(one["met"] for one in result.targets)
    short = dict.fromkeys(one["scenario"].replace("_", " ") for one in missed.missed(result))
    text = f"**{met} of {len(result.targets)} are met**"
    return f"{text}; the others are in {', '.join(short)}." if short else f"{text}."


def misses(result: Result) -> str:
    """Return the targets that are missed, each with its floor, and the reasons below by number."""
    headings = ["scenario", "case", "broker", "against", "ratio", "target"]
    headings += ["ours to the floor", "busy", "why"]
    reasons: list[str] = []
    lines: list[list[str]] = []
    for one in missed.missed(result):
        for reason in why(one):
            if reason not in reasons:
                reasons.append(reason)
        numbers = ", ".join(str(reasons.index(reason) + 1) for reason in why(one))
        last = asked(one), to_floor(result, one), missed.busy(result, one), numbers
        lines.append([*where(result, one), compared(one)[-2], *last])
    if not lines:
        return "None, in this run."
    listed = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
    return f"{markdown(headings, lines)}\n\nWhy:\n\n{listed}"


def why(one: dict[str, Any]) -> list[str]:
    """Return the reasons of a miss: its own, and that the rounds do not agree, where that is so."""
    text = missed.why(one)
    own = text.removesuffix(missed.NOISE).strip()
    return [reason for reason in (own, missed.NOISE) if reason and reason in text]


def to_floor(result: Result, one: dict[str, Any]) -> str:
    """Return our figure divided by the floor's, and what the floor is."""
    row = missed.floor(result, one)
    if row is None:
        return "-"
    own = result.row(one["scenario"], one["case"], one["ours"])
    measured, least = own.middle(one["measure"]), row.middle(one["measure"])
    share = f"{measured / least:.3g}" if measured and least else "-"
    return f"{share}, {result.side(row.side)['label']}"


def others_ahead(result: Result) -> str:
    """Return who does not count for a target and is ahead of us."""
    headings = ["scenario", "case", "broker", "ahead of us", "ratio", "rounds' ratios", "but"]
    lines = [[*where(result, one), *compared(one)[-2:], one["why"]] for one in ahead(result)]
    return markdown(headings, lines) if lines else "Nobody, in this run."
