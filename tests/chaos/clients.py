"""Clients that come back whenever they are cut off, and go on where they were."""

import asyncio
import json
import random
import socket
import time
from collections.abc import Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from .ledger import Ledger, Stream

BUFFER = 4_096
"""Bytes that the kernel holds for a client that does not read."""

ANSWER = 15.0
"""Seconds in which a server has to answer a handshake or a subscription."""


class Client:
    """One client in some groups, over one WebSocket after another."""

    def __init__(
        self, name: str, groups: Sequence[str], ports: Sequence[int], ledger: Ledger, seed: int
    ) -> None:
        self.name = name
        self.connections = 0
        self._ports = ports
        self._ledger = ledger
        self._chance = random.Random(f"{seed} {name}")
        self._since: dict[str, str | None] = dict.fromkeys(groups)
        self._joined: set[str] = set()
        self._known: set[str] = set()
        self._socket: ClientConnection | None = None
        self.was_ready = 0.0
        """When it was in all of its groups last, by ``time.monotonic``; 0: never yet."""
        self._saw: object = "nothing"
        self._reads = asyncio.Event()
        self._reads.set()

    @property
    def ready(self) -> bool:
        """Whether it is in all of its groups now."""
        return self._socket is not None and len(self._joined) == len(self._since)

    @property
    def story(self) -> str:
        """Who it is, how far it has come, and what it saw last."""
        joined = ", ".join(sorted(self._joined)) or "no group"
        return f"{self.name} (connection {self.connections}, in {joined}, saw {self._saw})"

    # --- faults -------------------------------------------------------------------------------

    def cut(self) -> None:
        """Its connection, if it has one, is lost without a word."""
        if self._socket is not None:
            self._socket.transport.abort()

    def freeze(self) -> None:
        """It reads nothing until ``thaw()``."""
        self._reads.clear()

    def thaw(self) -> None:
        """It reads on."""
        self._reads.set()

    # --- its life -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Read, and come back after every loss, until cancelled."""
        while True:
            try:
                async with await self._connect() as self._socket:
                    self.connections += 1
                    await self._read(self._socket)
            except (OSError, InvalidHandshake, InvalidMessage, ConnectionClosed) as end:
                self._saw = repr(end)
            finally:
                self._socket = None
                self._joined.clear()
            await asyncio.sleep(self._chance.uniform(0.02, 0.4))

    async def _connect(self) -> ClientConnection:
        port = self._chance.choice(self._ports)
        tcp = socket.socket()
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            tcp.setblocking(False)
            await asyncio.get_running_loop().sock_connect(tcp, ("127.0.0.1", port))
            return await connect(
                f"ws://127.0.0.1:{port}/",
                sock=tcp,
                open_timeout=ANSWER,
                close_timeout=1,
                ping_interval=None,  # who is frozen answers nothing
                max_queue=4,
                compression=None,
            )
        except BaseException:
            tcp.close()
            raise

    async def _read(self, connection: ClientConnection) -> None:
        for group in self._since:
            await self._subscribe(connection, group)
        while True:
            # Who is not in all groups yet waits for an answer, and every server has to give one.
            async with asyncio.timeout(None if self.ready else ANSWER):
                frame = json.loads(await connection.recv())
            await self._reads.wait()
            await self._take(connection, frame)

    async def _subscribe(self, connection: ClientConnection, group: str) -> None:
        request: dict[str, Any] = {"channels": "subscribe", "group": group}
        if self._since[group] is not None:
            request["since"] = self._since[group]
        await connection.send(json.dumps(request))

    async def _take(self, connection: ClientConnection, frame: dict[str, Any]) -> None:
        self._saw = {key: frame[key] for key in frame if key != "data"}
        now, group = time.monotonic(), frame.get("group")
        match frame:
            case {"channels": "message", "data": data}:
                stream = Stream(str(group), data["publisher"])
                self._ledger.came(self.name, stream, data["number"])
                self._since[stream.group] = frame["position"]
            case {"channels": "subscribed"}:
                assert isinstance(group, str)
                self._welcome(group, frame, now)
            case {"channels": "gap"}:
                if group is not None:  # else of messages to this client alone, which nobody sends
                    self._ledger.told(self.name, group, now)
                    self._ledger.gaps += 1
            case {"channels": "error", "code": "unavailable"}:
                assert isinstance(group, str)
                await asyncio.sleep(self._chance.uniform(0.1, 0.5))
                await self._subscribe(connection, group)
            case _:
                raise RuntimeError(f"{self.name} got what it did not ask for: {frame}")

    def _welcome(self, group: str, answer: dict[str, Any], now: float) -> None:
        self._joined.add(group)
        if group not in self._known:
            self._known.add(group)
            self._ledger.joined(self.name, group)
        elif not answer["durable"]:
            self._ledger.told(self.name, group, now)  # it was away, and knows it
        elif not answer["recovered"]:
            self._ledger.told(self.name, group, now)
            self._ledger.gaps += 1
        if answer["position"] is not None:
            self._since[group] = answer["position"]
        if self.ready:
            self.was_ready = now
