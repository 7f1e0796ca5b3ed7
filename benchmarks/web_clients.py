"""WebSocket clients of one server, all in this process, in the environment that has picows.

``<loop> <parameters>``: connects, broadcasts, and tells rows as a scenario's worker does.
"""

import asyncio
import importlib
import json
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.clients import cpu_seconds
from benchmarks.sides.side import Side
from benchmarks.task import Task, percentiles, settled, used
from benchmarks.worker import Score, work

picows: Any = importlib.import_module("picows")
psutil: Any = importlib.import_module("psutil")

AT_ONCE: Final = 25
"""Handshakes at a time: more would overrun the server's backlog."""

FIRST: Final = 50
"""Connections before the memory of the others is counted."""

SAMPLED: Final = 20
"""Of so many clients one times what it gets."""

PADDING: Final = "x" * 60


class Client(picows.WSListener):  # type: ignore[misc]  # picows is in this environment only
    """Counts the frames that it gets; speaks Socket.IO where it has to."""

    def __init__(self, score: Score, took: list[float] | None, socketio: bool) -> None:
        self._score = score
        self._took = took
        self._socketio = socketio
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport
        if not self._socketio:
            self.ready.set_result(None)

    def on_ws_disconnected(self, transport: Any) -> None:
        """Nobody waits for it."""
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the server closed a connection"))

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """One more frame was delivered."""
        if frame.msg_type != picows.WSMsgType.TEXT:
            return
        if self._socketio and not self.spoken(frame.get_payload_as_bytes()):
            return
        self._score.hit()
        if self._took is not None:
            text = frame.get_payload_as_utf8_text()
            at = text[text.index("@") + 1 :]
            self._took.append(time.monotonic() - float(at[: at.index("@")]))

    def spoken(self, packet: bytes) -> bool:
        """Return whether it is an event; answer what the protocol wants answered."""
        if packet.startswith(b"42"):
            return True
        if packet.startswith(b"40"):
            self.ready.set_result(None)
        elif packet.startswith(b"0"):
            self.transport.send(picows.WSMsgType.TEXT, b"40")
        elif packet == b"2":
            self.transport.send(picows.WSMsgType.TEXT, b"3")
        return False

    def broadcast(self) -> None:
        """Send a message of 100 bytes that says when it was sent."""
        text = {"text": f"@{time.monotonic():.9f}@".ljust(28, "x") + PADDING}
        frame = json.dumps(["m", text]) if self._socketio else json.dumps(text)
        self.transport.send(
            picows.WSMsgType.TEXT, (b"42" if self._socketio else b"") + frame.encode()
        )


async def connect(params: dict[str, Any], count: int, make: Callable[[], Client]) -> list[Client]:
    """Open connections, a few at a time; each is ready for what is broadcast."""
    path = "socket.io/?EIO=4&transport=websocket" if params["socketio"] else ""
    url = f"ws://127.0.0.1:{params['port']}/{path}"
    clients: list[Client] = []

    async def one() -> None:
        client = make()
        await picows.ws_connect(lambda: client, url)
        async with asyncio.timeout(10.0):
            await client.ready
        clients.append(client)

    while len(clients) < count:
        await asyncio.gather(*(one() for _ in range(min(AT_ONCE, count - len(clients)))))
    return clients


async def main(text: str) -> dict[str, bool]:
    """Measure the broadcast, or the memory of connections that say nothing."""
    params = json.loads(text)
    task = Task(Side("", True), "", params)
    score, took = Score(), list[float]()
    number = 0

    def make() -> Client:
        nonlocal number
        number += 1
        timed = not params["idle"] and number % SAMPLED == 0
        return Client(score, took if timed else None, params["socketio"])

    pid, count = params["pid"], params["connections"]
    server = psutil.Process(pid)
    clients = await connect(params, FIRST, make)
    await asyncio.sleep(0.3)
    before = server.memory_info().rss
    clients += await connect(params, count - FIRST, make)
    await asyncio.sleep(1.0 if params["idle"] else 0.5)  # nothing tells when all are in the group
    kept = (server.memory_info().rss - before) / (count - FIRST)
    if params["idle"]:
        task.row(params["case"], count, bytes=kept, expected=count, lost=0)
        return {"done": True}
    await broadcast(clients, score, params["rate"], params["seconds"] / 3)
    took.clear()
    counted, cpu, wall = await task.counters(), cpu_seconds(pid), time.perf_counter()
    base = score.count
    sent = await broadcast(clients, score, params["rate"], params["seconds"])
    wall, cpu = time.perf_counter() - wall, cpu_seconds(pid) - cpu
    after = await task.counters()
    arrived = score.count - base
    task.row(
        params["case"],
        count,
        rate=arrived / wall,
        cpu_us=cpu / max(arrived, 1) * 1e6,
        **used(counted, after, arrived, sent),
        lost=sent * count - arrived,
        expected=sent * count,
        **percentiles(took),
    )
    return {"done": True}


async def broadcast(clients: list[Client], score: Score, rate: float, seconds: float) -> int:
    """Broadcast at the rate until everything is there; return how often."""
    count, start, base = max(1, round(seconds * rate)), time.perf_counter(), score.count
    for index in range(count):
        await asyncio.sleep(max(0.0, start + index / rate - time.perf_counter()))
        clients[index % len(clients)].broadcast()
    await settled(score, base + count * len(clients), 8.0)
    return count


if __name__ == "__main__":
    work(main)
