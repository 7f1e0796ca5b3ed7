"""WebSocket clients of all servers, in this process, in the environment that has picows.

``<loop> <parameters>``: connects, broadcasts, and tells rows as a scenario's worker does. Servers
take turns, so that no two of them work at the same time.
"""

import asyncio
import importlib
import json
import time
from typing import Any, Final

from benchmarks.sides.side import Side
from benchmarks.workers.measuring import Score, process_cpu, work
from benchmarks.workers.task import IDLE, Task, percentiles, settled, used

picows: Any = importlib.import_module("picows")
psutil: Any = importlib.import_module("psutil")

AT_ONCE: Final = 25
"""Handshakes at a time: more would overrun the server's backlog."""

FIRST: Final = 50
"""Connections before the memory of the others is counted."""

SAMPLED: Final = 20
"""Of so many clients one times what it gets."""

PADDING: Final = "x" * 60

PATIENCE: Final = (8.0, IDLE)
"""Seconds that frames are waited for, and that pass without one, before the others are lost."""

WARM_UP: Final = 1.0
"""Seconds at most that each server broadcasts before the first turn."""


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


class Clients:
    """The clients of one server, and what they measure of it."""

    def __init__(self, params: dict[str, Any], server: dict[str, Any]) -> None:
        self.task = Task(Side("", True), server["side"], params)
        self._params = params
        self._port, self._pid = server["port"], server["pid"]
        self._socketio = server["side"].startswith("socketio")
        self._score, self._took = Score(), list[float]()
        self._clients: list[Client] = []

    async def connect(self, count: int) -> None:
        """So many are connected, a few at a time; each is ready for what is broadcast."""
        path = "socket.io/?EIO=4&transport=websocket" if self._socketio else ""
        url = f"ws://127.0.0.1:{self._port}/{path}"

        async def one(number: int) -> None:
            timed = not self._params["idle"] and number % SAMPLED == 0
            client = Client(self._score, self._took if timed else None, self._socketio)
            await picows.ws_connect(lambda: client, url)
            async with asyncio.timeout(10.0):
                await client.ready
            self._clients.append(client)

        while (known := len(self._clients)) < count:
            wave = range(known + 1, min(known + AT_ONCE, count) + 1)
            await asyncio.gather(*map(one, wave))

    async def grown(self, count: int) -> None:
        """Tell what each client of so many adds to the server's memory, after the first few."""
        server = psutil.Process(self._pid)
        await self.connect(FIRST)
        await asyncio.sleep(0.3)
        before = server.memory_info().rss
        await self.connect(count)
        await asyncio.sleep(1.0)
        kept = (server.memory_info().rss - before) / (count - FIRST)
        self.task.row(self._params["name"], count, bytes=kept, expected=count, lost=0)

    async def turn(self) -> None:
        """Broadcast, and tell what it cost."""
        score, count = self._score, len(self._clients)
        self._took.clear()
        counted, cpu = await self.task.counters(), process_cpu(self._pid)
        wall, base = time.perf_counter(), score.count
        sent = await self.broadcast(self.task.seconds)
        wall, cpu = time.perf_counter() - wall, process_cpu(self._pid) - cpu
        after = await self.task.counters()
        arrived = score.count - base
        self.task.row(
            self._params["name"],
            count,
            rate=arrived / wall,
            cpu_us=cpu / max(arrived, 1) * 1e6,
            **used(counted, after, arrived, sent),
            lost=sent * count - arrived,
            expected=sent * count,
            **percentiles(self._took),
        )

    async def broadcast(self, seconds: float) -> int:
        """Broadcast at the rate until everything is there; return how often."""
        rate, base, clients = self._params["rate"], self._score.count, self._clients
        count, start = max(1, round(seconds * rate)), time.perf_counter()
        for index in range(count):
            await asyncio.sleep(max(0.0, start + index / rate - time.perf_counter()))
            clients[index % len(clients)].broadcast()
        longest, idle = self._params.get("patience", PATIENCE)
        await settled(self._score, base + count * len(clients), longest, idle)
        return count


async def main(text: str) -> None:
    """Measure broadcasts in turn, or the memory of connections that say nothing."""
    params = json.loads(text)
    servers = [Clients(params, server) for server in params["servers"]]
    if params["idle"]:
        for clients in servers:
            await clients.grown(params["clients"])
        return
    for clients in servers:
        await clients.connect(params["clients"])
    await asyncio.sleep(0.5)  # nothing tells when all are in the group
    for clients in servers:
        await clients.broadcast(min(params["seconds"] / 3, WARM_UP))
    for _ in range(params["turns"]):
        for clients in servers:
            await clients.turn()


if __name__ == "__main__":
    work(main)
