"""What one idle connection in one group adds to the server's memory.

uvicorn (``websockets-sansio``, uvloop) with 2,000 connections that say nothing: resident size per
connection with a consumer, less that with a bare ASGI application that accepts and waits. Servers
are fresh, in turns; a few connections come first, so that imports and first tables do not count.

- shared: all consumers are in the same group (``groups = ["room"]``).
- own: each consumer is in a group where nobody else is.
"""

from collections.abc import Iterator
from statistics import median
from typing import Final

from benchmarks.processes import OURS, ROUNDS, measure, peers, serve
from benchmarks.table import Row

CONNECTIONS: Final = 2_000
LIMIT_KIB: Final = 6.0
CASES: Final = {"shared": "idle_shared", "own": "idle_own"}


def rows() -> Iterator[Row]:
    """Yield a row for each way to be in one group."""
    used: dict[str, list[float]] = {app: [] for app in ("idle", *CASES.values())}
    for _ in range(ROUNDS):
        for app, sizes in used.items():
            sizes.append(resident(app))
    server = median(used["idle"])
    for case, app in CASES.items():
        ours = median(used[app])
        texts = f"{ours:.3g} KiB", f"{server:.3g} KiB"
        yield Row("memory", f"{case} group", *texts, ours - server, " KiB", at_most=LIMIT_KIB)


def resident(app: str) -> float:
    """Return the KiB per connection of a fresh server."""
    with serve(OURS, app, "websockets-sansio") as server:
        worker = (peers(), "clients", "uvloop", "idle", server.port, server.pid, CONNECTIONS)
        return float(measure(*worker)["kib"])
