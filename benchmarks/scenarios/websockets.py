"""A WebSocket broadcast from end to end: what the server pays for each frame delivered.

uvicorn with uvloop serves clients that are all in another process. A client sends a JSON message of
100 bytes, and every client gets it, through the library's own consumers or handlers: 500 clients,
10 messages a second (where the figure is steady), with each of uvicorn's WebSocket implementations;
5,000 clients, one a second. CPU of the server's process for each delivery, from the first broadcast
to the last frame; latency from a client's send to the frame at the others, which share the other
core.

What each does for a message: all take JSON text from one client, decode it, and send JSON text to
all clients by the server's ``send``, each client its own event; who publishes and who writes are in
the one process whose CPU counts. The bare application encodes once, and sends the same event to
all. Litestar and broadcaster encode once, too, before they publish: what they hand over is text,
and each socket's task writes it as it came. Fast Channels, Django Channels and fast-channels 1.1
hand over a dict, and each consumer's handler encodes its own frame, as users write it.
python-socketio encodes packets of its own protocol.

Those that a target compares are served at the same time and broadcast in turn, six seconds each:
what disturbs the machine for a while disturbs them all. A round is such a turn, and servers are
fresh after three. The others are measured once, each by itself.
"""

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.launch.brokers import Broker
from benchmarks.launch.web import serve
from benchmarks.scenarios import Plan
from benchmarks.sides import BROKERS, Entry

PLAN = Plan(
    title="WebSocket broadcast through uvicorn",
    unit="deliveries",
    brokers=BROKERS,
    quick={
        "seconds": 0.6,
        "fresh": 1,
        "turns": 2,
        "turn": 0.6,
        "cases": [["websockets-sansio", 500, 10]],
    },
    full={
        "seconds": 3.0,
        "fresh": 2,
        "turns": 3,
        "turn": 6.0,
        "cases": [
            ["websockets-sansio", 500, 10],
            ["websockets", 500, 10],
            ["websockets-sansio", 5_000, 1],
        ],
    },
    limit=(8.0, 20.0),
    budget=(28.0, 560.0),
    lower_is_better=True,
    figure="cpu_us",
)
"""A case is an implementation, clients, and broadcasts a second. ``fresh`` is how often servers are
started to take turns, ``turns`` how many each then has, ``turn`` how many seconds each lasts."""

APPS = (
    "bare",
    *("ours-memory", "fast-channels-1.1-memory", "channels-memory", "litestar-memory"),
    *("ours-redis", "fast-channels-1.1-redis", "channels-redis-pubsub", "litestar-redis"),
    *("broadcaster-redis", "socketio-redis"),
    *("ours-postgres", "ours-rabbitmq", "ours-nats"),
)
"""The sides of which there is an application."""

IN_TURNS = {
    "memory": ("ours-memory", "litestar-memory"),
    "redis": ("bare", "ours-redis", "broadcaster-redis"),
}
"""Those that take turns, by broker: whom a target compares."""

NEXT = ("litestar-redis",)
"""Who comes close to that, and is measured by itself in every case."""

STARTING = 20.0
"""Seconds in which 1,000 connections are open, on a busy machine."""


@dataclass(frozen=True)
class Case:
    """How servers are measured."""

    name: str
    ws: str
    clients: int
    rate: float = 0.0
    seconds: float = 0.0
    """Of each turn."""

    turns: int = 1
    idle: bool = False
    """Only the memory of connections."""

    def limit(self, servers: int) -> float:
        """Return after how many seconds the clients of so many servers are ended."""
        turns = (1 + self.turns) * 2 * self.seconds
        return servers * (STARTING * (1 + self.clients / 1_000) + turns)


def arrange(sides: dict[str, list[Entry]]) -> None:
    """The bare application is measured in turn with those on Redis, if there are any."""
    bare = [entry for entry in sides["memory"] if entry.name == "bare"]
    if sides["redis"] and bare:
        sides["memory"] = [entry for entry in sides["memory"] if entry.name != "bare"]
        sides["redis"] = [*bare, *sides["redis"]]


def weight(entry: Entry) -> int:
    """Return how much of the scenario's time a side takes, against another one."""
    if entry.name in IN_TURNS["redis"]:
        return 12
    return 3 if entry.name in (*IN_TURNS["memory"], *NEXT) else 1


def collect(
    run: Any, name: str, plan: Plan, broker: Broker, sides: list[Entry], until: float
) -> None:
    """Measure the applications, one by one and in turn."""
    parameters = run.result.scenarios[name]["parameters"]
    together = [entry for entry in sides if entry.name in IN_TURNS.get(broker.name, ())]
    alone = [entry for entry in sides if entry not in together]

    def measure(entries: list[Entry], case: Case) -> None:
        if run.late(until, plan):
            known = {row.side for row in run.result.of(name) if row.case == case.name}
            left = [entry for entry in entries if entry.name not in known]
            run.none_of(name, case.name, left, "the scenario's time was over")
        else:
            served(run, name, broker, entries, case)

    cases = [
        Case(f"{clients:,} clients, {ws}", ws, clients, rate)
        for ws, clients, rate in parameters["cases"]
    ]
    half = 2 if broker.name == "memory" else 1
    for case in cases[:1] if broker.name == "memory" else cases:
        seconds = max(parameters["turn"] / half, 3 / case.rate)
        for _ in range(parameters["fresh"] if together else 0):
            measure(together, replace(case, seconds=seconds, turns=parameters["turns"]))
    for case in cases:
        seconds = max(parameters["seconds"], 3 / case.rate)
        for entry in alone:
            if case is cases[0] or entry.name in NEXT:
                measure([entry], replace(case, seconds=seconds))


def served(run: Any, name: str, broker: Broker, entries: list[Entry], case: Case) -> None:
    """Serve applications at the same time, and let their clients measure them."""
    try:
        with ExitStack() as stack:
            servers: list[dict[str, Any]] = []
            for entry in entries:
                app = entry.name.replace("-", "_").replace(".", "_")
                if case.idle and entry.name == "bare":
                    app = "idle"
                python = run.python(entry.environment)
                server = stack.enter_context(serve(python, app, case.ws, broker.url))
                servers.append({"side": entry.name, "port": server.port, "pid": server.pid})
            args = ["uvloop", json.dumps({**asdict(case), "servers": servers})]
            limit = case.limit(len(servers)) * run.patience
            run.worker(name, entries, "workers.clients", args, limit, broker, "clients", case.name)
    except (OSError, RuntimeError) as error:
        run.none_of(name, case.name, entries, str(error)[:200])
    broker.reset()
