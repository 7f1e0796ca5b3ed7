"""A small result, as a run would write it: two rounds, two libraries and a floor on two brokers."""

from typing import Any

from benchmarks.matrix import describe
from benchmarks.results import Result
from benchmarks.scenarios import plan
from benchmarks.sides import entry

SIDES = (
    *("bare", "ours-memory"),
    *("redis-py", "ours-redis", "channels-redis-pubsub", "channels-redis-core"),
    *("litestar-redis", "broadcaster-redis"),
)
SCENARIOS = (
    *("group_size", "senders", "joins", "lone"),
    *("burst", "processes", "idle", "websockets"),
)


def sample() -> Result:
    """Return the result."""
    machine = {
        "system": "Linux 6.1",
        "python": "CPython 3.11.7",
        "processor": "a processor",
        "cores": 2,
        "memory_gib": 8,
        "load": {"group_size": 0.1},
    }
    result = Result("full", at="2026-01-02T03:04:05Z", seconds=61.5, machine=machine)
    result.versions = {
        "servers": {"memory": "", "redis": "Redis 7.0.15"},
        "libraries": {"here": {"fast-channels": "0.1.0", "uvloop": "0.23.0"}},
    }
    result.sides = [describe(entry(name)) for name in SIDES]
    for scenario in SCENARIOS:
        found = plan(scenario)
        result.scenarios[scenario] = {
            "title": found.title,
            "unit": found.unit,
            "figure": found.figure,
            "lower_is_better": found.lower_is_better,
            "rounds": 2,
            "seconds": 1.5,
            "parameters": {"seconds": 0.1},
            "what": "what is measured",
        }
    for side, cost in (("bare", 1.0), ("ours-memory", 2.0), ("ours-redis", 4.0)):
        for size in (1, 100, 10_000):
            case, slower = f"N={size:,}", 1.5 if size == 10_000 else 1.0
            messages = [1.0, 1.0] if "redis" in side else None
            add(
                result, "group_size", case, side, size, rate=[1e5 / cost, 1.1e5 / cost],
                cpu_us=[cost * slower, cost * slower], broker_messages=messages,
            )  # fmt: skip
    add(result, "senders", "64 senders", "ours-redis", rate=[50_000.0, 60_000.0])
    add(result, "senders", "64 senders", "channels-redis-pubsub", rate=[5_000.0, 6_000.0])
    add(
        result, "senders", "64 senders", "channels-redis-core", rate=[90_000.0, 90_000.0],
        lost=[0, 20], expected=[100, 100],
    )  # fmt: skip
    add(result, "senders", "64 senders", "litestar-redis", rate=[40_000.0, 40_000.0])
    add(result, "senders", "64 senders", "broadcaster-redis", rate=[100_000.0, 100_000.0])
    add(result, "joins", "same group", "ours-redis", rate=[10_000.0, 10_000.0])
    add(result, "joins", "same group", "channels-redis-core", rate=[8_000.0, 8_000.0])
    add(result, "joins", "same group", "channels-redis-pubsub", rate=[20_000.0, 20_000.0])
    add(result, "lone", "one at a time", "ours-redis", p50_us=[150.0, 150.0])
    add(result, "lone", "one at a time", "redis-py", p50_us=[100.0, 100.0])
    add(result, "burst", "as it comes", "ours-memory", arrived=[1.0], lost=[0], expected=[100])
    add(result, "burst", "as it comes", "ours-redis", arrived=[0.02], lost=[98], expected=[100])
    result.row("burst", "as it comes", "ours-redis").told = "98 counted in stats()"
    for count in (1, 10):
        add(
            result, "processes", f"{count} processes", "ours-redis", count,
            broker_cpu_us=[5.0 + 2 * count], cpu_us=[20.0 + 7 * count],
        )  # fmt: skip
    add(result, "idle", "idle", "ours-redis", bytes=[20_480.0])
    add(result, "websockets", "500 clients, websockets-sansio", "ours-redis", cpu_us=[20.0, 22.0])
    add(result, "websockets", "500 clients, websockets-sansio", "litestar-redis", cpu_us=[20.0] * 2)
    result.row("websockets", "", "redis-py").reason = "it serves nobody"
    return result


def add(
    result: Result,
    scenario: str,
    case: str,
    side: str,
    x: float | None = None,
    **measures: list[Any] | None,
) -> None:
    """Add a row."""
    row = result.row(scenario, case, side, x)
    row.measures = {name: values for name, values in measures.items() if values is not None}
