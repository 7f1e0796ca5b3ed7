"""The figures of ``docs/performance.md``, made from a result.

Everything between ``<!-- figures: NAME -->`` and ``<!-- end of figures -->`` is made from a result,
by default the committed one, and the plots are drawn from the same. Nothing else on the page is
touched, and nothing else on it may be a figure that was measured.
"""

import re
from collections.abc import Callable
from typing import Final

from benchmarks.report import growth, model, verdicts
from benchmarks.report.tables import by_side, cell, markdown, name, row_of, table
from benchmarks.results import Result

MARKED: Final = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end of figures -->)", re.DOTALL
)
ACROSS: Final = "N=100, at most 50 undelivered"
HEARD: Final = ("1 processes", "40 processes")
"""Cases that a heading speaks of."""
BUSY: Final = 1.25
"""Load for each core, above which a figure says little; the run's own processes make up to 1."""


def refreshed(page: str, result: Result) -> str:
    """Return the page with the result's figures; raises ``KeyError`` for an unknown name."""

    def figures(match: re.Match[str]) -> str:
        text = FIGURES[match["name"]](result).strip()
        return f"{match['begin']}{text}\n{match['end']}"

    return MARKED.sub(figures, page)


def measured_on(result: Result) -> str:
    """Return what was measured, when and on what."""
    machine, kinds = result.machine, result.versions["servers"]
    brokers = ", ".join(version for version in kinds.values() if version)
    text = (
        f"A {result.mode} run of {result.seconds / 60:.0f} minutes, begun {result.at[:10]} on "
        f"{machine['cores']} cores ({machine['processor']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}), with {machine['python']} and uvloop; {brokers}, all on the same "
        "machine."
    )
    load = sorted(machine["load"].values())
    if load and load[-1] > BUSY * (machine["cores"] or 1):
        text += (
            f" **Other programs used the machine meanwhile** (load {load[0]:g} to {load[-1]:g}): "
            "trust neither the rates nor the ratios of this run; only what is counted holds."
        )
    return text


SUMMARY: Final = (
    ("a lone message, µs", "lone", "one at a time", "p50_us"),
    ("messages a second, 64 senders", "senders", "64 senders", "rate"),
    ("deliveries a second to 100 in another process", "two_processes", ACROSS, "rate"),
    ("joins a second, new groups, 64 at once", "joins", "distinct groups, 64 at once", "rate"),
    ("broker's CPU for a message to one process, µs", "processes", HEARD[0], "broker_cpu_us"),
    ("to 40, µs", "processes", HEARD[1], "broker_cpu_us"),
)
"""What a newcomer compares brokers by: a heading, and which figure of ours stands below it."""


def summary(result: Result) -> str:
    """Return what our layers do on each broker, a line for each."""
    lines: list[list[str]] = []
    for broker, title in model.TITLES.items():
        rows = [(row_of(result, f"ours-{broker}", *where), m) for _, *where, m in SUMMARY]
        lines.append([title, *(cell(row, measure) for row, measure in rows)])
    return markdown(["broker", *(heading for heading, *_ in SUMMARY)], lines)


RIVALS: Final = (
    ("a lone message", "lone", "one at a time"),
    ("64 senders", "senders", "64 senders"),
    ("to 100 in another process", "two_processes", ACROSS),
    ("10,000 groups, 64 senders", "many_groups", "64 senders"),
    ("joins, 64 at once", "joins", "distinct groups, 64 at once"),
    ("500 WebSocket clients", "websockets", "500 clients, websockets-sansio"),
)
"""What a newcomer compares libraries by: a heading, and in which case stands below it."""


def rivals(result: Result) -> str:
    """Return how many times better we are than the best peer on each broker, a line for each."""
    best: dict[tuple[str, str, str], str] = {}
    for one in result.targets:
        if one["why"] == "the best peer":
            times = one["ratio"] if "at_least" in one else 1 / one["ratio"]
            label = result.side(one["against"])["label"]
            broker = result.side(one["ours"])["broker"]
            best[broker, one["scenario"], one["case"]] = f"{times:.3g} ({label})"
    lines = [
        [title, *(best.get((broker, scenario, case), "-") for _, scenario, case in RIVALS)]
        for broker, title in model.TITLES.items()
    ]
    return markdown(["broker", *(heading for heading, *_ in RIVALS)], lines)


def libraries(result: Result) -> str:
    """Return a table of versions."""
    lines: list[list[str]] = []
    common = ("uvloop", "uvicorn", "websockets")
    for environment, versions in result.versions["libraries"].items():
        ours = environment == "here"
        kept = (f"{dist} {v}" for dist, v in versions.items() if ours or dist not in common)
        lines.append(["ours" if ours else environment, ", ".join(kept)])
    return markdown(["environment", "versions"], lines)


def broker_messages(result: Result) -> str:
    """Return the broker's messages for each message sent: alone by group size, and at once."""
    columns = {
        "to 1 member": ("group_size", "N=1"),
        "to 10,000": ("group_size", "N=10,000"),
        "64 senders at once": ("senders", "64 senders"),
    }
    return by_side(result, columns, "broker_messages")


def many_clients(result: Result) -> str:
    """Return the picture of the broadcast to 5,000 clients, if there is one to be shown."""
    case = "5,000 clients, websockets-sansio"
    if any(row.case == case and row.measures for row in result.of("websockets")):
        return (
            "![CPU of a frame delivered to 5,000 clients](images/performance/websockets-5000.png)"
        )
    return "5,000 clients were not measured in this run."


def burst(result: Result) -> str:
    """Return what became of the burst."""
    lines: list[list[str]] = []
    for row in result.of("burst"):
        part = row.middle("arrived")
        if part is None:
            continue
        side = result.side(row.side)
        told = row.told if row.lost else "nothing was lost"
        lines.append([model.TITLES[side["broker"]], name(side), f"{part:.1%}", told or "nobody"])
    return markdown(["broker", "library", "arrived", "of the rest is told"], lines)


def missing(result: Result) -> str:
    """Return what was not measured, and why."""
    lines: list[list[str]] = []
    for row in result.rows:
        if row.reason:
            side = result.side(row.side)
            scenario = row.scenario.replace("_", " ")
            broker = model.TITLES[side["broker"]]
            lines.append([scenario, broker, side["label"], row.case or "all", row.reason])
    return markdown(["scenario", "broker", "library", "case", "why"], lines)


FIGURES: Final[dict[str, Callable[[Result], str]]] = {
    "measured-on": measured_on,
    "summary": summary,
    "rivals": rivals,
    "versions": libraries,
    "targets-met": verdicts.counted,
    "targets": verdicts.targets,
    "missed": verdicts.misses,
    "ahead": verdicts.others_ahead,
    "group-size": table("group_size", "rate"),
    "group-size-cpu": table("group_size", "cpu_us"),
    "broker-messages": broker_messages,
    "senders": table("senders", "rate"),
    "senders-cpu": table("senders", "cpu_us"),
    "two-processes": table("two_processes", "rate"),
    "two-processes-cpu": table("two_processes", "cpu_us"),
    "latency": table("latency", "p50_us"),
    "latency-tail": table("latency", "p99_us"),
    "lone": table("lone", "p50_us"),
    "many-groups": table("many_groups", "rate"),
    "many-groups-cpu": table("many_groups", "cpu_us"),
    "joins": table("joins", "rate"),
    "footprint": table("footprint", "bytes", 1 / 1024),
    "idle": table("idle", "bytes", 1 / 1024),
    "websockets": table("websockets", "cpu_us"),
    "websockets-5000": many_clients,
    "websockets-tail": table("websockets", "p99_us", 1e-3),
    "burst": burst,
    "tools": table("tools", "rate"),
    "model": growth.fitted,
    "predictions": growth.predicted,
    "missing": missing,
}
