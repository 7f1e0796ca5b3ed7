"""What one idle connection in one group adds to the server's memory, in KiB.

uvicorn (``websockets-sansio``, uvloop) with 2,000 connections that say nothing: resident size per
connection with a consumer, less that with a bare ASGI application that accepts and waits. Servers
are fresh, in turns; a few connections come first, so that imports and first tables do not count.

- shared: all consumers are in the same group (``groups = ["room"]``).
- own: each consumer is in a group where nobody else is.
"""

from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Final

from benchmarks.comparisons.table import Row
from benchmarks.comparisons.turns import in_turns
from benchmarks.comparisons.web import clients
from benchmarks.launch import OURS
from benchmarks.launch.web import serve

CONNECTIONS: Final = 2_050
LIMIT_KIB: Final = 6.0
CASES: Final = {"shared": "idle_shared", "own": "idle_own"}
"""The applications of ``sides.apps``."""


def rows() -> Iterator[Row]:
    """Yield a row for each way to be in one group."""
    server, *ours = (
        median(figures["kib"])
        for figures in in_turns(*(partial(resident, app) for app in ("idle", *CASES.values())))
    )
    for case, used in zip(CASES, ours, strict=True):
        texts = f"{used:.3g} KiB", f"{server:.3g} KiB"
        yield Row("memory", f"{case} group", *texts, used - server, " KiB", at_most=LIMIT_KIB)


def resident(app: str) -> dict[str, float]:
    """Return the KiB per connection of a fresh server."""
    with serve(OURS, app, "websockets-sansio", "memory://") as server:
        [row] = clients([server], idle=True, clients=CONNECTIONS, seconds=1.0)
    return {"kib": row["measures"]["bytes"] / 1_024}
