"""What a deployment costs, computed from what was measured on one machine.

Two straight lines are fitted for each broker, by least squares on the relative error:

- the broker's CPU for a message = ``accept`` + ``copy`` x the processes that hear it;
- the CPU of all Python processes together for a message = ``send`` + ``take`` x the same.

Both come from the scenario ``processes``, in which every message is a broker message of its own (a
busy process packs several into one, which makes it cheaper: what is computed here is the worst). A
frame to a WebSocket costs ``frame``, and a connection ``memory``, as ``websockets`` and ``idle``
measured them on Redis. ``docs/performance.md`` lists what is assumed beyond that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.results import Result

BROKERS: Final = ("redis", "nats", "postgres", "rabbitmq")
TITLES: Final = {
    "memory": "one process",
    "redis": "Redis",
    "postgres": "PostgreSQL",
    "rabbitmq": "RabbitMQ",
    "nats": "NATS",
}
"""What tables and plots call them, and the memory layer."""
WAKE_ALL: Final = ("postgres",)
"""PostgreSQL gives every notification of a database to every session that listens there."""

PROCESSES: Final = 100
CONNECTIONS: Final = 1_000_000


@dataclass(frozen=True)
class Line:
    """A fixed part, and one for each of what x counts."""

    fixed: float
    each: float

    def at(self, x: float) -> float:
        """Return the line's value."""
        return self.fixed + self.each * x


@dataclass(frozen=True)
class Costs:
    """What a message costs by the processes that hear it, in CPU microseconds."""

    broker: Line
    python: Line
    wakes_all: bool = False
    """The broker wakes every process for a message, whoever has a member of its group."""


@dataclass(frozen=True)
class Workload:
    """What the connections do, all of them together."""

    name: str
    messages: float
    """Sent in a second."""

    members: float
    """Connections that each message goes to."""

    def heard(self, processes: int) -> float:
        """Return how many processes have a member, if members are spread at random."""
        return processes * (1.0 - math.pow(1 - 1 / processes, self.members))


@dataclass(frozen=True)
class Needs:
    """What a workload takes, in cores; one core works at most one second in a second."""

    broker: float
    python: float
    """Of all processes together."""


def workloads(connections: int) -> tuple[Workload, ...]:
    """Return what is computed for so many connections."""
    return (
        Workload("one room of all, a message a second", 1.0, connections),
        Workload("rooms of 10, each member writes once a minute", connections / 60, 10),
        Workload("a group for each user, a message each 10 s", connections / 10, 1),
    )


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Return the line through the points with the least relative error; neither part below 0."""
    usable = [(x, y) for x, y in points if y > 0]
    if len(usable) < 2:
        raise ValueError(f"a line needs two points with a cost above 0, not {list(points)}")
    weights = [1 / y**2 for _, y in usable]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, usable, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, usable, strict=True)) / total
    above = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, usable, strict=True))
    below = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, usable, strict=True))
    each = max(0.0, above / below)
    return Line(max(0.0, mean_y - each * mean_x), each)


def costs(result: Result, broker: str) -> Costs | None:
    """Return what was measured of a broker, fitted; None where there is too little."""
    rows = [row for row in result.of("processes") if row.side == f"ours-{broker}"]
    lines: list[Line] = []
    for measure in ("broker_cpu_us", "cpu_us"):
        points = [(row.x or 0.0, row.middle(measure) or 0.0) for row in rows]
        try:
            lines.append(fit(points))
        except ValueError:
            return None
    its, pythons = lines
    return Costs(its, pythons, wakes_all=broker in WAKE_ALL)


def frame(result: Result) -> float | None:
    """Return the server's CPU microseconds for a frame to one client."""
    for row in result.of("websockets"):
        if row.side == "ours-redis" and row.case == "500 clients, websockets-sansio":
            return row.middle("cpu_us")
    return None


def memory(result: Result) -> float | None:
    """Return the bytes that a connection adds to its server."""
    for row in result.of("idle"):
        if row.side == "ours-redis":
            return row.middle("bytes")
    return None


def needs(measured: Costs, frame_us: float, workload: Workload, processes: int) -> Needs:
    """Return what the workload takes with so many processes."""
    heard = workload.heard(processes)
    woken = processes if measured.wakes_all else heard
    python = measured.python.at(heard) + workload.members * frame_us
    return Needs(
        broker=workload.messages * measured.broker.at(woken) / 1e6,
        python=workload.messages * python / 1e6,
    )
