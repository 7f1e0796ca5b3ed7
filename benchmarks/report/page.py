"""The figures of ``docs/performance.md``, made from a result.

Everything between ``<!-- figures: NAME -->`` and ``<!-- end of figures -->`` is made from a result,
by default the committed one, and the plots are drawn from the same. Nothing else on the page is
touched, and nothing else on it may be a figure that was measured.
"""

import re
from collections.abc import Callable
from typing import Final

from benchmarks import missed
from benchmarks.report import model
from benchmarks.results import Result, Row
from benchmarks.targets import ahead, cells, cells_ahead

MARKED: Final = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end of figures -->)", re.DOTALL
)
ACROSS: Final = "N=100, at most 50 undelivered"
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
    (
        "broker's CPU for a message heard by one process, µs",
        "processes",
        "1 processes",
        "broker_cpu_us",
    ),
    ("by 40 processes, µs", "processes", "40 processes", "broker_cpu_us"),
)
"""What a newcomer compares brokers by: a heading, and which figure of ours stands below it."""


def summary(result: Result) -> str:
    """Return what our layers do on each broker, a line for each."""
    lines = [
        "| broker | " + " | ".join(heading for heading, *_ in SUMMARY) + " |",
        "|---" * (1 + len(SUMMARY)) + "|",
    ]
    for broker, name in model.TITLES.items():
        shown = [
            cell(own_row(result, broker, *where), measure, 1.0) for _, *where, measure in SUMMARY
        ]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def own_row(result: Result, broker: str, scenario: str, case: str) -> Row | None:
    """Return our row of a case on a broker, without a history, if there is one."""
    rows = (row for row in result.of(scenario) if row.case == case)
    return next((row for row in rows if row.side == f"ours-{broker}"), None)


def libraries(result: Result) -> str:
    """Return a table of versions."""
    lines = ["| environment | versions |", "|---|---|"]
    common = ("uvloop", "uvicorn", "websockets")
    for name, versions in result.versions["libraries"].items():
        kept = {dist: v for dist, v in versions.items() if name == "here" or dist not in common}
        shown = ", ".join(f"{dist} {version}" for dist, version in kept.items())
        lines.append(f"| {'ours' if name == 'here' else name} | {shown} |")
    return "\n".join(lines)


def targets(result: Result) -> str:
    """Return the targets as a table, with how many are met."""
    met = sum(target["met"] for target in result.targets)
    lines = [
        f"{met} of {len(result.targets)} are met.",
        "",
        "| scenario | case | ours | against | ratio | rounds' ratios | target | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for target in result.targets:
        lines.append("| " + " | ".join(cells(target)) + " |")
    return "\n".join(lines)


def misses(result: Result) -> str:
    """Return the targets that are missed as a table, each with its floor and the reason."""
    lines = [
        "| scenario | case | ours | against | ratio | target | floor | ours to it | busy | why |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    found = missed.missed(result)
    for target in found:
        scenario, case, ours, against, ratio, _, limit, _ = cells(target)
        row = missed.floor(result, target)
        label, share = "-", "-"
        if row is not None:
            own = result.row(target["scenario"], target["case"], target["ours"])
            measured, least = own.middle(target["measure"]), row.middle(target["measure"])
            label = result.side(row.side)["label"]
            share = f"{measured / least:.3g}" if measured and least else "-"
        shown = (scenario, case, ours, against, ratio, limit, label, share)
        why = missed.why(target)
        lines.append("| " + " | ".join((*shown, missed.busy(result, target), why)) + " |")
    return "\n".join(lines) if found else "None, in this run."


def others_ahead(result: Result) -> str:
    """Return who does not count for a target and is ahead of us, as a table."""
    lines = [
        "| scenario | case | ours | ahead of it | ratio | rounds' ratios | but |",
        "|---|---|---|---|---|---|---|",
    ]
    found = ahead(result)
    for one in found:
        lines.append("| " + " | ".join(cells_ahead(one)).replace("\n", " ") + " |")
    return "\n".join(lines) if found else "Nobody, in this run."


def table(
    scenario: str, measure: str, scale: float = 1.0, cases: tuple[str, ...] = ()
) -> Callable[[Result], str]:
    """Return what makes a scenario's table: a line for each side, a column for each case."""

    def made(result: Result) -> str:
        rows = [row for row in result.of(scenario) if row.case]
        columns = [*cases] or list(dict.fromkeys(row.case for row in rows))
        lines = [
            "| broker | library | " + " | ".join(columns) + " |",
            "|---" * (2 + len(columns)) + "|",
        ]
        for side in result.sides:
            own = {row.case: row for row in rows if row.side == side["name"]}
            if not any(case in own for case in columns):
                continue
            if any(row.measures for row in own.values()) and not any(
                row.measures.get(measure) for row in own.values()
            ):
                continue  # it has no such figure: no broker, for example
            shown = [cell(own.get(case), measure, scale) for case in columns]
            name = f"**{side['label']}**" if side["role"] == "ours" else side["label"]
            lines.append(f"| {model.TITLES[side['broker']]} | {name} | " + " | ".join(shown) + " |")
        return "\n".join(lines)

    return made


def cell(row: Row | None, measure: str, scale: float) -> str:
    """Return a figure as text, with what was lost."""
    value = row.middle(measure) if row else None
    if row is None or value is None:
        return "-"
    text = number(value * scale)
    if row.lost > 0.0005:
        text += f" (lost {row.lost:.1%})"
    return text


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
    lines = ["| broker | library | arrived | of the rest is told |", "|---|---|---|---|"]
    for row in result.of("burst"):
        part = row.middle("arrived")
        if part is None:
            continue
        side = result.side(row.side)
        name = f"**{side['label']}**" if side["role"] == "ours" else side["label"]
        told = row.told if row.lost else "nothing was lost"
        line = f"| {model.TITLES[side['broker']]} | {name} | {part:.1%} | {told or 'nobody'} |"
        lines.append(line)
    return "\n".join(lines)


def missing(result: Result) -> str:
    """Return what was not measured, and why."""
    lines = ["| scenario | side | case | why |", "|---|---|---|---|"]
    for row in result.rows:
        if row.reason:
            reason = row.reason.replace("|", "/")
            lines.append(f"| {row.scenario} | {row.side} | {row.case or 'all'} | {reason} |")
    return "\n".join(lines)


def lines_of_model(result: Result) -> str:
    """Return the fitted costs of each broker."""
    lines = [
        "| broker | broker's CPU for a message | and for each process that hears it "
        "| Python's CPU to send it | and to take it in |",
        "|---|---|---|---|---|",
    ]
    for broker in model.BROKERS:
        if found := model.costs(result, broker):
            parts = (found.broker.fixed, found.broker.each, found.python.fixed, found.python.each)
            shown = " | ".join(f"{number(part)} µs" for part in parts)
            lines.append(f"| {model.TITLES[broker]} | {shown} |")
    frame, memory = model.frame(result), model.memory(result)
    if frame is not None and memory is not None:
        lines += [
            "",
            f"A frame to a WebSocket client costs its server {number(frame)} µs, an idle "
            f"connection {number(memory / 1024)} KiB.",
        ]
    return "\n".join(lines)


def predictions(result: Result) -> str:
    """Return what a large deployment takes, by the model."""
    frame = model.frame(result)
    if frame is None:
        return "Not computed: the cost of a frame to a client was not measured in this run."
    processes, connections = model.PROCESSES, model.CONNECTIONS
    lines = [
        f"| {connections:,} connections on {processes} processes | messages a second "
        "| hear each message | broker | cores of the broker | of each process |",
        "|---|---|---|---|---|---|",
    ]
    for workload in model.workloads(connections):
        heard = workload.heard(processes)
        for broker in model.BROKERS:
            if found := model.costs(result, broker):
                needs = model.needs(found, frame, workload, processes)
                each = number(needs.python / processes)
                what = f"{workload.name} | {workload.messages:,.0f} | {heard:.3g}"
                lines.append(
                    f"| {what} | {model.TITLES[broker]} | {number(needs.broker)} | {each} |"
                )
    if memory := model.memory(result):
        held = memory * connections / processes / 2**20
        lines += ["", f"Memory of each process for its idle connections: {held:,.0f} MiB."]
    return "\n".join(lines)


def number(value: float) -> str:
    """Return three digits: ``1.25 M``, ``12.5 k``, ``0.0125``."""
    for scale, letter in ((1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"


FIGURES: Final[dict[str, Callable[[Result], str]]] = {
    "measured-on": measured_on,
    "summary": summary,
    "versions": libraries,
    "targets": targets,
    "missed": misses,
    "ahead": others_ahead,
    "group-size": table("group_size", "rate"),
    "group-size-cpu": table("group_size", "cpu_us"),
    "broker-messages": table("group_size", "broker_messages"),
    "senders": table("senders", "rate"),
    "senders-cpu": table("senders", "cpu_us"),
    "senders-messages": table("senders", "broker_messages"),
    "two-processes": table("two_processes", "rate"),
    "two-processes-cpu": table("two_processes", "cpu_us"),
    "latency": table("latency", "p50_us"),
    "latency-tail": table("latency", "p99_us"),
    "lone": table("lone", "p50_us"),
    "many-groups": table("many_groups", "cpu_us"),
    "joins": table("joins", "rate"),
    "footprint": table("footprint", "bytes", 1 / 1024),
    "idle": table("idle", "bytes", 1 / 1024),
    "websockets": table("websockets", "cpu_us"),
    "websockets-5000": many_clients,
    "websockets-tail": table("websockets", "p99_us", 1e-3),
    "burst": burst,
    "tools": table("tools", "rate"),
    "model": lines_of_model,
    "predictions": predictions,
    "missing": missing,
}
