"""What a run should show: our figures against the best peer's, the driver's and the bare loop's.

A target is computed from a result's rows alone. The peers that count are those on the same broker
that promise what we do (every reader gets a dict, a join is live when it returns, senders may be
concurrent) and lost nothing and raised nothing in that case; for a frame to a WebSocket client,
where the promise ends in a socket for all, those that promise less count, too. Whoever does not
count and is ahead of us all the same is named by ``ahead``, with what it does not do. A ratio is
the median of the rounds' ratios, since what slows the machine for a while slows both sides of one
round.

What is asked for: a figure that is no worse than the best peer's, and twice its rate where the way
to the broker is most of the cost (``twice``). "Twice" speaks of rates: a latency at a fixed rate
and the bytes of a member have floors of their own that no layer gets below, so they have to be no
worse than the best peer's, and a lone message's latency at most 1.2 times its driver's.
"""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

from benchmarks.results import Result, Row

BROKER_BOUND: Final = ("senders", "two_processes", "many_groups")
"""Scenarios of concurrent senders, or of many groups: the way to the broker is most of the cost."""

SLOW_BROKERS: Final = ("postgres", "rabbitmq")
"""Brokers whose way is most of the cost in whatever scenario."""

LOCAL: Final = (("joins", "same group"),)
"""Cases that no broker hears of: this process is subscribed to that group already."""

MOST_OF_DRIVER: Final = 1.2
GROWTH: Final = 1.3
SERVER: Final = {"websockets-sansio": 1.6, "websockets": 1.45}
"""The server's CPU for each delivery at most, against a bare ASGI loop."""

BEST_PEER_SERVER: Final = 0.8
STEADY: Final = "500 clients"
"""Begins the cases of ten broadcasts a second, for which alone those two limits are meant. To 5,000
clients that were 50,000 frames a second, for which a core has no time; one broadcast a second, as
is measured there, is not steady: the server sleeps in between, and wakes with cold caches. What
asks for no more than the best peer's figure holds there as everywhere."""

SAME_COUNT: Final = 1.05
"""Broker messages to the largest group, against one member: a layer may say now and then that
nothing was lost (one empty message some seconds after the last), which is no matter of size."""

OPEN: Final = 2.5
"""How many times from its limit a ratio of a few rounds may lie, for more rounds to decide."""

SIZES: Final = ("N=100", "N=10,000")
UNMEASURED: Final = ("processes", "tools", "burst")
"""Scenarios without a comparison with peers."""


def of(result: Result) -> list[dict[str, Any]]:
    """Return the result's targets, in the order of its scenarios."""
    found = [
        *against_peers(result),
        *message_counts(result),
        *growth(result),
        *web_servers(result),
        *drivers(result),
        *losses(result),
    ]
    order = list(result.scenarios)
    return sorted(found, key=lambda target: order.index(target["scenario"]))


def target(
    row: Row,
    measure: str,
    against: str,
    ratios: Sequence[float],
    why: str,
    **limit: float,
) -> dict[str, Any]:
    """Return one target; ``limit`` is ``at_least`` or ``at_most``."""
    ratio = median(ratios)
    met = ratio >= limit["at_least"] if "at_least" in limit else ratio <= limit["at_most"]
    return {
        "scenario": row.scenario,
        "case": row.case,
        "measure": measure,
        "ours": row.side,
        "against": against,
        "ratio": float(f"{ratio:.3g}"),
        "spread": [float(f"{min(ratios):.3g}"), float(f"{max(ratios):.3g}")],
        **limit,
        "met": met,
        "why": why,
    }


def ratios_of(ours: Row, other: Row, measure: str) -> list[float]:
    """Return the ratio of each round that both have."""
    pairs = zip(ours.measures.get(measure, ()), other.measures.get(measure, ()), strict=False)
    return [a / b for a, b in pairs if b]


def against_peers(result: Result) -> Iterator[dict[str, Any]]:
    """Yield our figure in each case against the best peer's on the same broker."""
    for ours in own_rows(result):
        name, broker = ours.scenario, result.side(ours.side)["broker"]
        measure, lower = figure(result, name)
        peers = [
            (ratios, row.side)
            for row, ratios in rivals(result, ours)
            if not faults(row) and (name == "websockets" or not unpromised(result, row))
        ]
        choose = max if lower else min
        if peers:
            ratios, best = choose(peers, key=lambda peer: median(peer[0]))
            if lower:
                steady = name == "websockets" and broker == "redis" and ours.case.startswith(STEADY)
                limit = {"at_most": BEST_PEER_SERVER if steady else 1.0}
            else:
                limit = {"at_least": 2.0 if twice(ours, broker) else 1.0}
            yield target(ours, measure, best, ratios, "the best peer", **limit)


def twice(row: Row, broker: str) -> bool:
    """Return whether the way to the broker is most of what a case costs."""
    if broker == "memory" or (row.scenario, row.case) in LOCAL:
        return False
    return broker in SLOW_BROKERS or row.scenario in BROKER_BOUND


def deciders(result: Result, scenario: str) -> set[str]:
    """Return the sides, ours included, on which it depends whether a target is met.

    They are those of the scenario's targets whose ratio is at most ``OPEN`` times from the limit.
    """
    found: set[str] = set()
    for one in of(result):
        limit = one["at_least"] if "at_least" in one else one["at_most"]
        ratio = one["ratio"]
        if one["scenario"] == scenario and limit / OPEN < ratio < limit * OPEN:
            found |= {one["ours"], one["against"]}
    return found & {side["name"] for side in result.sides}


def ahead(result: Result) -> list[dict[str, Any]]:
    """Return who is ahead of us in a case and promises less, lost something or raised errors."""
    found: list[dict[str, Any]] = []
    for ours in own_rows(result):
        measure, lower = figure(result, ours.scenario)
        for row, ratios in rivals(result, ours):
            less = [*unpromised(result, row), *faults(row)]
            behind = median(ratios) > 1.0 if lower else median(ratios) < 1.0
            if less and behind:
                limit = {"at_most" if lower else "at_least": 1.0}
                found.append(target(ours, measure, row.side, ratios, "; ".join(less), **limit))
    return found


def own_rows(result: Result) -> Iterator[Row]:
    """Yield our rows that peers are compared with."""
    for name in result.scenarios:
        for row in result.of(name) if name not in UNMEASURED else ():
            side = result.side(row.side)
            if side["role"] == "ours" and "history" not in side["label"]:
                yield row


def figure(result: Result, scenario: str) -> tuple[str, bool]:
    """Return the scenario's main measure, and whether less of it is better."""
    known = result.scenarios[scenario]
    return known["figure"], known["lower_is_better"]


def rivals(result: Result, ours: Row) -> Iterator[tuple[Row, list[float]]]:
    """Yield the rows of peers for the same case and broker, and the ratios of ours to each."""
    measure, _ = figure(result, ours.scenario)
    broker = result.side(ours.side)["broker"]
    for row in result.of(ours.scenario):
        side = result.side(row.side)
        same = row.case == ours.case and side["role"] == "peer" and side["broker"] == broker
        if same and (ratios := ratios_of(ours, row, measure)):
            yield row, ratios


def unpromised(result: Result, row: Row) -> list[str]:
    """Return what the row's side does not promise and we do."""
    promises = result.side(row.side)["other_promise"].items()
    return [what for what, counts in promises if not counts or row.scenario in counts]


def faults(row: Row) -> list[str]:
    """Return what went wrong where the row was measured."""
    lost = [f"it lost {row.lost:.2%}"] if row.lost else []
    return [*lost, row.reason] if row.reason else lost


def message_counts(result: Result) -> Iterator[dict[str, Any]]:
    """Yield what the broker counts for a message to the largest group, against one member."""
    rows = {(row.side, row.case): row for row in result.of("group_size")}
    for side in result.sides:
        sizes = [row for (name, _), row in rows.items() if name == side["name"] and row.measures]
        if side["role"] != "ours" or side["broker"] == "memory" or len(sizes) < 2:
            continue
        small, large = (choose(sizes, key=lambda row: row.x or 0) for choose in (min, max))
        if ratios := ratios_of(large, small, "broker_messages"):
            why = "group size does not change the number of broker messages"
            yield target(large, "broker_messages", small.case, ratios, why, at_most=SAME_COUNT)


def growth(result: Result) -> Iterator[dict[str, Any]]:
    """Yield how the cost of a delivery grows with the group, against how the bare loop's does."""
    rows = {(row.side, row.case): row for row in result.of("group_size")}

    def grown(side: str) -> list[float]:
        if not all((side, size) in rows for size in SIZES):
            return []
        return ratios_of(rows[side, SIZES[1]], rows[side, SIZES[0]], "cpu_us")

    bare = grown("bare")
    for side in result.sides:
        if bare and side["role"] == "ours" and (ours := grown(side["name"])):
            ratios = [a / b for a, b in zip(ours, bare, strict=False)]
            why = "the cost of a delivery grows as the bare loop's does, from N=100 to N=10,000"
            row = rows[side["name"], SIZES[1]]
            yield target(row, "cpu_us", "bare", ratios, why, at_most=GROWTH)


def web_servers(result: Result) -> Iterator[dict[str, Any]]:
    """Yield what our server on Redis pays for a delivery, against a bare ASGI loop."""
    rows = {(row.side, row.case): row for row in result.of("websockets")}
    for (name, case), row in rows.items():
        bare = rows.get(("bare", case))
        server = case.rpartition(" ")[2]
        if name != "ours-redis" or not bare or not case.startswith(STEADY):
            continue
        if ratios := ratios_of(row, bare, "cpu_us"):
            yield target(row, "cpu_us", "bare", ratios, "a bare ASGI loop", at_most=SERVER[server])


def drivers(result: Result) -> Iterator[dict[str, Any]]:
    """Yield a lone message's latency against the driver's below our layer."""
    for ours in result.of("lone"):
        side = result.side(ours.side)
        for row in result.of("lone"):
            driver = result.side(row.side)
            if side["role"] != "ours" or "history" in side["label"] or driver["role"] != "driver":
                continue
            if driver["broker"] == side["broker"] and (r := ratios_of(ours, row, "p50_us")):
                why = "the plain driver"
                yield target(ours, "p50_us", row.side, r, why, at_most=MOST_OF_DRIVER)


def losses(result: Result) -> Iterator[dict[str, Any]]:
    """Yield, for each scenario, the most that we lost without telling anybody."""
    for name in result.scenarios:
        rows = [row for row in result.of(name) if result.side(row.side)["role"] == "ours"]
        rows = [row for row in rows if row.measures]
        if rows:
            worst = max(rows, key=lambda row: 0.0 if row.told else row.lost)
            lost = 0.0 if worst.told else worst.lost
            found = target(worst, "lost", "-", [lost], "nothing is lost silently", at_most=0.0)
            yield found if lost else {**found, "case": "all", "ours": "all"}


HEADINGS: Final = ("scenario", "case", "ours", "against", "ratio", "spread", "target", "met")
HEADINGS_AHEAD: Final = ("scenario", "case", "ours", "ahead of it", "ratio", "spread", "but")


def asked(one: dict[str, Any]) -> str:
    """Return what a target asks for, as text."""
    return f"≥ {one['at_least']:g}" if "at_least" in one else f"≤ {one['at_most']:g}"


def cells(one: dict[str, Any]) -> tuple[str, ...]:
    """Return a target as text."""
    return *compared(one), asked(one), "yes" if one["met"] else "NO"


def cells_ahead(one: dict[str, Any]) -> tuple[str, ...]:
    """Return as text who is ahead of us, and what it does not do."""
    return *compared(one), one["why"]


def compared(one: dict[str, Any]) -> tuple[str, ...]:
    """Return as text who is compared, and how."""
    low, high = one["spread"]
    case = f"{one['case']}, {one['measure']}"
    return (
        one["scenario"],
        case,
        one["ours"],
        one["against"],
        f"{one['ratio']:g}",
        f"{low:g} to {high:g}",
    )


def aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a table as text; its first line is the heading."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = [lines[0], tuple("-" * width for width in widths), *lines[1:]]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in ruled
    ]


def render(result: Result) -> str:
    """Return the targets as a table, who else is ahead of us, and what was not measured."""
    table = aligned([HEADINGS, *map(cells, result.targets)])
    met = sum(one["met"] for one in result.targets)
    summary = f"{met} of {len(result.targets)} targets are met"
    found = ahead(result)
    others = aligned([HEADINGS_AHEAD, *map(cells_ahead, found)]) if found else ["nobody"]
    reasons = [
        f"{row.scenario}  {row.side}  {row.case}  {row.reason}" for row in result.rows if row.reason
    ]
    more = ["ahead of us, with another promise or with losses:", *others]
    missing = ["not measured, or not wholly:", *reasons]
    return "\n".join([*table, "", summary, "", *more, "", *missing])
