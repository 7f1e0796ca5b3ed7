"""What the comparisons of WebSocket servers share: applications served, and clients in a worker."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

from benchmarks.launch.child import heard
from benchmarks.launch.environments import python
from benchmarks.launch.web import Server, serve

IMPLEMENTATIONS: Final = ("websockets-sansio", "websockets")
"""Of WebSockets, in uvicorn."""

CLIENTS: Final = 500
RATE: Final = 10
"""Broadcasts a second."""

TURNS: Final = 3
SECONDS: Final = 1.0
"""How often, and how long at a time, each server broadcasts."""


def broadcast(ws: str, url: str, rounds: int, *apps: tuple[str, str]) -> list[list[float]]:
    """Return the server's CPU microseconds for each delivery, of each application once a turn.

    An application is a Python and its name in ``sides.apps``. Servers are fresh in each round.
    Raises ``RuntimeError`` where a frame was lost.
    """
    cpu: list[list[float]] = [[] for _ in apps]
    for _ in range(rounds):
        with ExitStack() as stack:
            servers = [stack.enter_context(serve(where, app, ws, url)) for where, app in apps]
            more = {"clients": CLIENTS, "rate": RATE, "seconds": SECONDS, "turns": TURNS}
            for row in clients(servers, idle=False, **more):
                if row["measures"]["lost"]:
                    raise RuntimeError(f"{row['measures']['lost']} frames have not arrived")
                cpu[int(row["side"])].append(row["measures"]["cpu_us"])
    return cpu


def clients(servers: list[Server], **params: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of the clients' worker; ``side`` is the index of a server."""
    shown = [
        {"side": str(index), "port": server.port, "pid": server.pid}
        for index, server in enumerate(servers)
    ]
    whole = json.dumps({"name": "", "servers": shown, **params})
    for said in heard(python("clients"), "workers.clients", "uvloop", whole):
        if "measures" in said:
            yield said
