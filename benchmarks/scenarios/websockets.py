"""A WebSocket broadcast from end to end: what the server pays for each frame delivered.

uvicorn with uvloop serves clients that are all in another process. A client sends a JSON message of
100 bytes, and every client gets it, through the library's own consumers or handlers: 500 clients,
10 messages a second (where the figure is steady), with each of uvicorn's WebSocket implementations;
5,000 clients, one a second. CPU of the server's process for each delivery, from the first broadcast
to the last frame; latency from a client's send to the frame at the others, which share the other
core. Each server is fresh, and alone. The bare application takes its turns among those on Redis,
which targets compare with it.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.processes import serve
from benchmarks.scenarios import Plan
from benchmarks.servers import Broker
from benchmarks.sides import BROKERS, Entry

PLAN = Plan(
    title="WebSocket broadcast through uvicorn",
    unit="deliveries",
    brokers=BROKERS,
    quick={"seconds": 0.6, "cases": [["websockets-sansio", 500, 10]]},
    full={
        "seconds": 3.0,
        "cases": [
            ["websockets-sansio", 500, 10],
            ["websockets", 500, 10],
            ["websockets-sansio", 5_000, 1],
        ],
    },
    limit=(8.0, 20.0),
    budget=(28.0, 480.0),
    rounds=4,
    lower_is_better=True,
    figure="cpu_us",
)
APPS = (
    "bare",
    *("ours-memory", "fast-channels-1.1-memory", "channels-memory", "litestar-memory"),
    *("ours-redis", "fast-channels-1.1-redis", "channels-redis-pubsub", "litestar-redis"),
    *("broadcaster-redis", "socketio-redis"),
    *("ours-postgres", "ours-rabbitmq", "ours-nats"),
)
"""The sides of which there is an application."""

NARROW = ("bare", "ours-memory", "ours-redis", "litestar-redis", "broadcaster-redis")
"""Those that are measured in the second case and those after it."""


def arrange(sides: dict[str, list[Entry]]) -> None:
    """The bare application is measured in turn with those on Redis, if there are any."""
    bare = [entry for entry in sides["memory"] if entry.name == "bare"]
    if sides["redis"] and bare:
        sides["memory"] = [entry for entry in sides["memory"] if entry.name != "bare"]
        sides["redis"] = [*bare, *sides["redis"]]


def collect(
    run: Any, name: str, plan: Plan, broker: Broker, sides: list[Entry], until: float
) -> None:
    """Measure the applications in turn."""
    os.environ["BENCH_URL"] = broker.url
    parameters = run.result.scenarios[name]["parameters"]
    failed: set[tuple[str, str]] = set()
    took = 0.0
    for number in range(1 if run.quick else plan.rounds):
        began = time.monotonic()
        if number and began + 0.7 * took > until:
            return
        for index, (ws, connections, rate) in enumerate(parameters["cases"]):
            if number and connections > 1_000:
                continue  # it takes longer to connect than to measure
            for entry in chosen(sides, index):
                case = f"{connections:,} clients, {ws}"
                if (entry.name, case) in failed:
                    continue
                if run.late(until, plan):
                    if not number:
                        run.cannot(name, case, entry.name, "the scenario's time was over")
                    continue
                more = {"rate": rate, "seconds": max(parameters["seconds"], 3 / rate)}
                if not one(run, name, plan, broker, entry, ws, connections, case, more):
                    failed.add((entry.name, case))
                broker.reset()
        took = time.monotonic() - began
        sides = [entry for entry in sides if run.is_close(name, entry)]


def weight(entry: Entry) -> int:
    """Return how much of the scenario's time a side takes, against another one."""
    return 4 if entry.name in NARROW else 1


def chosen(sides: list[Entry], case: int) -> Iterator[Entry]:
    """Yield who is measured in a case."""
    for entry in sides:
        if case == 0 or entry.name in NARROW:
            yield entry


def one(
    run: Any,
    name: str,
    plan: Plan,
    broker: Broker,
    entry: Entry,
    ws: str,
    connections: int,
    case: str,
    more: dict[str, Any],
) -> bool:
    """Serve one application, and let the clients measure it; return whether they did."""
    app = entry.name.replace("-", "_").replace(".", "_")
    if more.get("idle") and entry.name == "bare":
        app = "idle"
    try:
        python = run.python(entry.environment)
        with serve(python, f"sides.apps:{app}", ws) as server:
            params = {
                "port": server.port,
                "pid": server.pid,
                "connections": connections,
                "case": case,
                "socketio": entry.name.startswith("socketio"),
                "idle": False,
                "rate": 0,
                "seconds": 0,
                **more,
            }
            args = ["uvloop", json.dumps(params)]
            limit = run.limit(plan)
            done: bool = run.worker(
                name, entry, "web_clients", args, limit, broker, "clients", case
            )
            return done
    except (OSError, RuntimeError) as error:
        run.cannot(name, case, entry.name, str(error)[:200])
        return False
