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
    """Return the targets that are missed, each with its floor and the reason."""
    headings = ["scenario", "case", "broker", "against", "ratio", "target"]
    headings += ["floor", "ours to it", "busy", "why"]
    lines: list[list[str]] = []
    for one in missed.missed(result):
        row = missed.floor(result, one)
        label, share = "-", "-"
        if row is not None:
            own = result.row(one["scenario"], one["case"], one["ours"])
            measured, least = own.middle(one["measure"]), row.middle(one["measure"])
            label = result.side(row.side)["label"]
            share = f"{measured / least:.3g}" if measured and least else "-"
        ratio, _ = compared(one)[-2:]
        why = missed.busy(result, one), missed.why(one)
        lines.append([*where(result, one), ratio, asked(one), label, share, *why])
    return markdown(headings, lines) if lines else "None, in this run."


def others_ahead(result: Result) -> str:
    """Return who does not count for a target and is ahead of us."""
    headings = ["scenario", "case", "broker", "ahead of us", "ratio", "rounds' ratios", "but"]
    lines = [[*where(result, one), *compared(one)[-2:], one["why"]] for one in ahead(result)]
    return markdown(headings, lines) if lines else "Nobody, in this run."
