"""Every server in turn is told to stop and is started again, while messages flow: nothing is lost.

Three servers behind one list of addresses, clients in durable groups, who talk and listen, and
publishers that send from elsewhere at a constant rate; Redis is real. The laws are those of
``ledger``, and these: a server that is told to stop ends its sockets by 1012, a few at a time, and
takes no new ones; and what its handlers have begun they end.
"""

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fast_channels.layers import BaseChannelLayer, unregister_channel_layer

from .brokers import BROKERS
from .clients import Client
from .faults import serving
from .ledger import Ledger, Stream
from .rolling_app import SPREAD
from .run import living, settled, until
from .settings import DURABLE, Settings

GROUPS = [f"{DURABLE}a", f"{DURABLE}b"]
RATE = 10.0
"""Messages a second, of each publisher to each group."""

WORDS = 40.0
"""What clients say in a second, all together."""

STEADY, TALKING = 1, 100
"""From where the numbers of publishers count."""


class Size(NamedTuple):
    """How many there are of each, and how often every server is restarted."""

    servers: int = 3
    clients: int = 12
    publishers: int = 2
    rounds: int = 1


class Talker(Client):
    """A client that says 1, 2, 3, ... to its group; each is taken before it says the next."""

    def __init__(self, number: int, group: str, ports: Sequence[int], ledger: Ledger) -> None:
        super().__init__(f"client-{number}", [group], ports, ledger, seed=1)
        self.closed: list[tuple[float, int | None]] = []
        """When and how its connections ended."""
        self.refused: Counter[int] = Counter()
        """The status of each handshake that was refused."""
        self._stream = Stream(group, TALKING + number)
        self._taken = 0

    async def talk(self, end: asyncio.Event, pause: float) -> None:
        """Talk until the end; all that was said is with the broker."""
        number = 0
        while not end.is_set():
            number += 1
            self._ledger.began(self._stream, number, time.monotonic())
            while self._taken < number:
                await until(lambda: self.ready)
                if self._socket is not None:
                    await self._say(number, self._socket)
            self._ledger.confirmed(self._stream, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(end.wait(), pause)

    async def _say(self, number: int, socket: ClientConnection) -> None:
        """The server has taken it, or the connection has ended."""
        stream = self._stream
        said = {"group": stream.group, "publisher": stream.publisher, "number": number}
        with contextlib.suppress(ConnectionClosed):
            await socket.send(json.dumps(said))
        await until(lambda: self._taken >= number or self._socket is not socket)

    async def _connect(self) -> ClientConnection:
        try:
            return await super()._connect()
        except InvalidStatus as refused:
            self.refused[refused.response.status_code] += 1
            raise

    async def _read(self, connection: ClientConnection) -> None:
        try:
            await super()._read(connection)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else None
            self.closed.append((time.monotonic(), code))
            raise

    async def _take(self, connection: ClientConnection, frame: dict[str, Any]) -> None:
        if "took" in frame:
            self._taken = frame["took"]
        else:
            await super()._take(connection, frame)


async def steady(
    layer: BaseChannelLayer, stream: Stream, ledger: Ledger, end: asyncio.Event
) -> None:
    """Send at a constant rate until the end, and then one message more."""
    began = time.monotonic()
    number = 0
    while True:
        last = end.is_set()
        number += 1
        ledger.began(stream, number, time.monotonic())
        message = {"type": "chaos", "publisher": stream.publisher, "number": number}
        await layer.group_send(stream.group, message, id=f"{stream.publisher}-{number}")
        ledger.confirmed(stream, number)
        if last:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), max(0, began + number / RATE - time.monotonic()))


async def roll(size: Size, folder: Path) -> None:
    """Restart every server in turn, as often as ``size`` says, and see that all is well."""
    with BROKERS["redis"](folder) as broker:
        settings = Settings(broker.url, f"x{os.urandom(6).hex()}", durable=True)
        layer, ledger = settings.register(), Ledger()
        stops: list[tuple[float, float]] = []
        unregister_channel_layer("default")
        async with serving(size.servers, settings, folder, "tests.chaos.rolling_app") as servers:
            ports = [server.port for server in servers]
            clients = [Talker(n, GROUPS[n % 2], ports, ledger) for n in range(size.clients)]
            async with living(clients):
                await settled(clients)
                talked, published = asyncio.Event(), asyncio.Event()
                async with asyncio.TaskGroup() as tasks:
                    for number in range(size.publishers):
                        for group in GROUPS:
                            stream = Stream(group, STEADY + number)
                            tasks.create_task(steady(layer, stream, ledger, published))
                    async with asyncio.TaskGroup() as talking:
                        for client in clients:
                            talking.create_task(client.talk(talked, size.clients / WORDS))
                        for server in servers * size.rounds:
                            began = time.monotonic()
                            assert await server.stop() in (0, -15), server.said()[-20:]
                            stops.append((began, time.monotonic()))
                            await server.start()
                            await settled(clients)
                        talked.set()
                    published.set()  # what is sent last shows that all before has passed
                await until(lambda: ledger.complete(frozenset(GROUPS)))
                codes = [code for client in clients for _, code in client.closed]
                moments = [moment for client in clients for moment, _ in client.closed]
            await layer.close()
            logs = [server.said() for server in servers]
    assert list(ledger.verdict(frozenset(GROUPS))) == []
    assert ledger.gaps == 0  # and nobody was even told of one
    assert set(codes) == {1012}
    assert len(codes) >= size.clients
    ends = [[at for at in moments if began < at < over] for began, over in stops]
    assert max(max(some) - min(some) for some in ends if some) > SPREAD / 2  # not all at once
    assert {status for client in clients for status in client.refused} <= {503}
    lines = [line for log in logs for line in log]
    begun = [line.removeprefix("begun ") for line in lines if line.startswith("begun ")]
    done = [line.removeprefix("done ") for line in lines if line.startswith("done ")]
    assert sorted(begun) == sorted(done)
    # Who was answered does not say it again: what was begun was answered before the socket ended.
    assert len(set(begun)) == len(begun) > 0
    assert [line for line in lines if line.startswith("cut ") or "Traceback" in line] == []
    assert lines.count("closed the layers") == len(stops)


@pytest.mark.timeout(300)  # most of which is patience
async def test_nothing_is_lost_when_every_server_is_restarted_in_turn(tmp_path: Path) -> None:
    await roll(Size(), tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_nothing_is_lost_when_servers_are_restarted_again_and_again(tmp_path: Path) -> None:
    await roll(Size(clients=60, publishers=3, rounds=4), tmp_path)
