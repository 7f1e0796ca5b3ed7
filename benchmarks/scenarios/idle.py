"""Memory of a WebSocket connection that says nothing, in one group with all others.

uvicorn with uvloop and websockets-sansio: resident bytes that each of the connections adds to the
server, after 50 that came before. The bare application accepts and waits.
"""

from typing import Any

from benchmarks.launch.brokers import Broker
from benchmarks.scenarios import Plan
from benchmarks.scenarios.websockets import APPS as APPS
from benchmarks.scenarios.websockets import Case, served
from benchmarks.sides import Entry

PLAN = Plan(
    title="Memory of an idle WebSocket connection",
    unit="bytes",
    brokers=("memory", "redis"),
    quick={"seconds": 1.0, "connections": 300},
    full={"seconds": 1.0, "connections": 1_500},
    limit=(8.0, 15.0),
    budget=(12.0, 40.0),
    rounds=1,
    lower_is_better=True,
    figure="bytes",
)


def collect(
    run: Any, name: str, plan: Plan, broker: Broker, sides: list[Entry], until: float
) -> None:
    """Measure each application once."""
    connections = run.result.scenarios[name]["parameters"]["connections"]
    for entry in sides:
        if run.late(until, plan):
            run.cannot(name, "idle", entry.name, "the scenario's time was over")
            continue
        case = Case("idle", "websockets-sansio", connections, idle=True)
        served(run, name, broker, [entry], case)
