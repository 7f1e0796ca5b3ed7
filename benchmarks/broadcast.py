"""A WebSocket broadcast from end to end: the server's CPU for each frame delivered.

uvicorn with uvloop serves 500 connections of clients in another process. One client sends a JSON
message of 100 bytes 10 times a second, and every client gets it; ours through ``receive_json``, the
memory layer's ``group_send``, and in each consumer the handler's ``send_json``. The CPU is user and
system time of the server's process, from the first broadcast to the last delivery, after a warm-up.

References, in turns of one second with ours:
- a bare ASGI application that encodes once and calls each connection's ``send`` in a loop; five
  rounds of three turns, each round on fresh servers;
- the same consumer on fast-channels 1.1 and its in-memory layer; one round, for information.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from benchmarks.processes import OURS, ROUNDS, measure, peers, serve
from benchmarks.table import Row, compare

CONNECTIONS: Final = 500
TARGETS: Final = {"websockets-sansio": 1.6, "websockets": 1.45}


def rows() -> Iterator[Row]:
    """Yield two rows for each of uvicorn's WebSocket implementations."""
    for ws, target in TARGETS.items():
        ours, bare = in_turns(ws, ROUNDS, (OURS, "bare"))
        yield compare("broadcast", f"{ws}, bare ASGI loop", ours, bare, "us", at_most=target)
        ours, theirs = in_turns(ws, 1, (peers(), "chat"))
        yield compare("broadcast", f"{ws}, fast-channels 1.1", ours, theirs, "us")


def in_turns(
    ws: str, rounds: int, reference: tuple[str, str], ours: tuple[str, str] = (OURS, "chat")
) -> tuple[list[float], list[float]]:
    """Return the microseconds for each delivery of ours and the reference, once a turn.

    Each is a Python and the application that it serves.
    """
    cpu: dict[str, list[float]] = {"ours": [], "reference": []}
    for _ in range(rounds):
        with ExitStack() as stack:
            servers: list[str] = []
            for name, (python, app) in {"ours": ours, "reference": reference}.items():
                server = stack.enter_context(serve(python, app, ws))
                servers.append(f"{name}/{server.port}/{server.pid}")
            worker = (peers(), "clients", "uvloop", "broadcast", CONNECTIONS, *servers)
            for name, values in measure(*worker).items():
                cpu[name] += values
    return cpu["ours"], cpu["reference"]
