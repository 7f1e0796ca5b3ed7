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

PARAMS: Final = {
    "idle": False,
    "clients": 500,
    "rate": 10,
    "turns": 3,
    "seconds": 1.0,
    "patience": (30.0, 10.0),
}
"""``rate`` is broadcasts a second; each server does so in each of its ``turns`` for ``seconds``.
Frames are lost when they have not come in the first number of ``patience``, or none in the second.
"""


def broadcast(ws: str, url: str, rounds: int, *apps: tuple[str, str]) -> list[list[float]]:
    """Return the server's CPU microseconds for each delivery, of each application once a turn.

    An application is a Python and its name in ``sides.apps``. Servers are fresh in each round.
    Raises ``RuntimeError`` where a frame was lost.
    """
    cpu: list[list[float]] = [[] for _ in apps]
    for _ in range(rounds):
        with ExitStack() as stack:
            servers = [stack.enter_context(serve(where, app, ws, url)) for where, app in apps]
            for row in clients(servers, **PARAMS):
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
