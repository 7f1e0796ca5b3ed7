"""WebSocket clients, many in one process, and what they cost the server (peers' environment).

``broadcast`` returns the CPU microseconds for each frame delivered, of several servers in turns;
``idle`` returns a server's resident KiB per connection.
"""

import asyncio
import importlib
import json
import sys
import time
from typing import Any, Final

from benchmarks.worker import Score, work

picows: Any = importlib.import_module("picows")
psutil: Any = importlib.import_module("psutil")

RATE: Final = 10.0
FRAME: Final = json.dumps({"text": "x" * 88}).encode()
"""100 bytes."""

TURNS: Final = 3
SECONDS: Final = 1.0
"""How often, and how long at a time, each server broadcasts."""

AT_ONCE: Final = 25
"""Handshakes at a time: more would overrun the server's backlog."""

score = Score()


class Client(picows.WSListener):  # type: ignore[misc]  # picows is in the peers' environment only
    """Counts the frames that it gets."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """One more frame was delivered."""
        if frame.msg_type == picows.WSMsgType.TEXT:
            score.hit()


async def connect(port: str, count: int) -> list[Any]:
    """Open connections; return their transports."""
    transports: list[Any] = []
    while len(transports) < count:
        wave = min(AT_ONCE, count - len(transports))
        url = f"ws://127.0.0.1:{port}/"
        opened = await asyncio.gather(*(picows.ws_connect(Client, url) for _ in range(wave)))
        transports += [transport for transport, _ in opened]
    return transports


async def broadcast(connections: str, *servers: str) -> dict[str, list[float]]:
    """Return each server's CPU for each delivery, once a turn; a server is ``name/port/pid``."""
    clients: dict[str, tuple[list[Any], int]] = {}
    for server in servers:
        name, port, number = server.split("/")
        clients[name] = await connect(port, int(connections)), int(number)
    await asyncio.sleep(0.3)
    for transports, _ in clients.values():
        await deliver(transports, SECONDS / 2)
    cpu: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(TURNS):
        for name, (transports, pid) in clients.items():
            before = cpu_seconds(pid)
            delivered = await deliver(transports, SECONDS)
            cpu[name].append((cpu_seconds(pid) - before) / delivered * 1e6)
    return cpu


async def deliver(transports: list[Any], seconds: float) -> int:
    """Broadcast at the rate, wait until everything is there; return how many were delivered."""
    first = score.count
    count = round(seconds * RATE)
    start = time.perf_counter()
    for index in range(count):
        await asyncio.sleep(max(0.0, start + index / RATE - time.perf_counter()))
        transports[0].send(picows.WSMsgType.TEXT, FRAME)
    await score.until(first + count * len(transports), 20.0)
    return count * len(transports)


async def idle(port: str, pid: str, connections: str) -> dict[str, float]:
    """Return the server's resident KiB for each connection; a few come first, with the imports."""
    server = psutil.Process(int(pid))
    kept = await connect(port, 50)
    await asyncio.sleep(0.5)
    before = server.memory_info().rss
    kept += await connect(port, int(connections))
    await asyncio.sleep(1.0)
    used = server.memory_info().rss - before
    return {"kib": used / int(connections) / 1024}


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process; on Linux exactly, else in ticks of 10 ms."""
    if sys.platform == "linux":
        return time.clock_gettime((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def main(kind: str, *args: str) -> dict[str, Any]:
    """Run the clients of one scenario."""
    return await (broadcast if kind == "broadcast" else idle)(*args)


if __name__ == "__main__":
    work(main)
