"""A server that is told to stop: its sockets end a few at a time, and no handler in the middle."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from tests.ports import Port
from tests.tcp_broker import TCPBroker, TCPLayer
from tests.waiting import PATIENCE, STARTING, soon

from fast_channels import AsyncJsonWebsocketConsumer, Drain, lifespan
from fast_channels.layers import ChannelLayerRegistry
from fast_channels.testing import WebsocketCommunicator

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
UVICORN = "uvicorn --port 0 --timeout-graceful-shutdown 5 tests.observability.drained:application"


class Process:
    """A server process, and what it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.address = ""
        self._news = asyncio.Condition()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())
            async with self._news:
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    async def until(self, text: str, seconds: float = PATIENCE) -> str:
        """Wait for a line with the text."""
        async with self._news, asyncio.timeout(seconds):
            await self._news.wait_for(lambda: any(re.search(text, line) for line in self.lines))
        return next(line for line in self.lines if re.search(text, line))

    def connect(self) -> Any:
        return websockets.connect(f"ws://{self.address}/ws/", close_timeout=PATIENCE)

    async def connected(self) -> Any:
        """Return a client's socket; some servers say that they listen before they do."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return await self.connect()
                except OSError:
                    await asyncio.sleep(0.05)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for the end, and return the exit status."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE)

    @property
    def trouble(self) -> list[str]:
        return [line for line in self.lines if "Traceback" in line or "ERROR" in line]


@pytest.fixture
def broker() -> Generator[TCPBroker]:
    with TCPBroker() as made:
        yield made


@asynccontextmanager
async def serving(
    broker: TCPBroker,
    spread: float,
    grace: float,
    command: str = UVICORN,
    listens: str = "Uvicorn running on",
) -> AsyncGenerator[Process]:
    process = Process(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *command.split(),
            cwd=ROOT,
            env={
                **os.environ,
                "BROKER_URL": broker.url,
                "SPREAD": str(spread),
                "GRACE": str(grace),
                "PYTHONPATH": str(ROOT),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    )
    async with asyncio.TaskGroup() as readers:
        readers.create_task(process.read())
        try:
            line = await process.until(rf"{listens} http://", STARTING)
            found = re.search(r"http://([\d.:]+)", line)
            assert found
            process.address = found[1]
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.process.pid, signal.SIGKILL)  # with the workers that it started
            await process.process.wait()


async def closing(socket: Any) -> tuple[float, int]:
    """Wait until the server has closed the socket; return when, and the code."""
    async with asyncio.timeout(PATIENCE):
        await socket.wait_closed()
    return time.monotonic(), socket.close_code


async def test_sockets_end_with_1012_a_few_at_a_time_and_new_ones_are_refused(
    broker: TCPBroker,
) -> None:
    async with serving(broker, spread=2.0, grace=5.0) as server, httpx.AsyncClient() as http:
        sockets = [await server.connect() for _ in range(20)]
        assert (await http.get(f"http://{server.address}/ready")).status_code == 200
        closings = [asyncio.create_task(closing(socket)) for socket in sockets]
        server.terminate()
        await soon(closings[0])
        with pytest.raises(websockets.InvalidStatus) as refused:
            await server.connect()
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["retry-after"] == "1"
        assert (await http.get(f"http://{server.address}/ready")).status_code == 503
        ended = await asyncio.gather(*closings)
        assert [code for _, code in ended] == [1012] * 20
        moments = [moment for moment, _ in ended]
        assert moments == sorted(moments)
        assert moments[-1] - moments[0] > 1.0
        await server.ended()
    assert [line for line in server.lines if "disconnect" in line] == ["disconnect 1012"] * 20
    assert server.trouble == []
    assert any("Application shutdown complete" in line for line in server.lines)
    broker.wait_for(lambda: broker.connections == 0)
    assert broker.dropped == 0  # the layer said goodbye


async def test_running_handlers_finish_and_what_they_send_is_published(broker: TCPBroker) -> None:
    elsewhere = TCPLayer(broker.url)
    async with serving(broker, spread=0.1, grace=PATIENCE) as server, server.connect() as socket:
        channel = await elsewhere.new_channel()
        await elsewhere.group_add("done", channel)
        await socket.send(json.dumps({"work": 1.5, "name": "slow"}))
        await socket.send(json.dumps({"work": 0, "name": "queued"}))
        assert await socket.recv() == '"begun"'
        server.terminate()
        names = [(await soon(elsewhere.receive(channel)))["name"] for _ in range(2)]
        assert names == ["slow", "queued"]
        assert [await socket.recv() for _ in range(3)] == ['"finished"', '"begun"', '"finished"']
        assert (await closing(socket))[1] == 1012
        await server.ended()
    assert server.trouble == []
    await elsewhere.close()


async def test_a_handler_that_does_not_end_is_cancelled_after_the_grace(broker: TCPBroker) -> None:
    async with serving(broker, spread=0, grace=0.5) as server:
        socket, idle = await server.connect(), await server.connect()
        await socket.send(json.dumps({"work": 1_000, "name": "endless"}))
        assert await socket.recv() == '"begun"'
        server.terminate()
        assert (await closing(idle))[1] == 1012
        assert (await closing(socket))[1] == 1012
        await server.ended()
    assert "cancelled endless" in server.lines
    assert [line for line in server.lines if "disconnect" in line] == ["disconnect 1012"] * 2
    assert any("cuts 1 connections off" in line for line in server.lines)
    assert server.trouble == []


async def test_streams_and_long_polls_end_in_a_way_that_brings_their_clients_back(
    broker: TCPBroker,
) -> None:
    async with serving(broker, spread=0.2, grace=5.0) as server, httpx.AsyncClient() as http:
        url = f"http://{server.address}"
        polling = asyncio.create_task(http.get(f"{url}/poll/", timeout=PATIENCE))
        await server.until("polled")
        async with http.stream("GET", f"{url}/stream/", timeout=PATIENCE) as stream:
            parts = stream.aiter_text()
            first = await anext(parts)
            server.terminate()
            rest = [part async for part in parts]  # its end is proper, so the client comes back
        assert "hello" in first + "".join(rest)
        answer = await polling
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        await server.ended()
    assert "stream over" in server.lines
    assert server.trouble == []


async def test_a_second_signal_stops_the_server_at_once(broker: TCPBroker) -> None:
    async with serving(broker, spread=1_000, grace=1_000) as server:
        first, second = await server.connect(), await server.connect()
        server.terminate()
        assert (await closing(first))[1] == 1012
        server.terminate()
        assert (await closing(second))[1] == 1012  # by uvicorn
        await server.ended()
    assert server.trouble == []


async def test_without_connections_it_stops_at_once(broker: TCPBroker) -> None:
    async with serving(broker, spread=1_000, grace=1_000) as server:
        server.terminate()
        await server.ended()
    assert server.trouble == []


# What docs/deployment.md says of servers: the command, what it says once it listens, and whether
# the signal is enough, or the drain has to be begun by hand before.
SERVERS = {
    "uvicorn with workers": ("uvicorn --workers 2 --port {port}", "Uvicorn running on", True),
    "gunicorn": (
        "gunicorn --graceful-timeout 20 --bind 127.0.0.1:{port} "
        "--worker-class uvicorn_worker.UvicornWorker",
        "Listening at:",
        True,
    ),
    "hypercorn": ("hypercorn --bind 127.0.0.1:{port} --graceful-timeout 2", "Running on", False),
    "granian": ("granian --interface asgi --host 127.0.0.1 --port {port}", "Listening at:", False),
}


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("name", SERVERS)
async def test_sockets_end_one_after_another_under_every_server_that_runs_a_lifespan(
    broker: TCPBroker, name: str
) -> None:
    command, listens, by_signal = SERVERS[name]
    port = Port()
    command = f"{command.format(port=port.number)} tests.observability.drained:application"
    async with serving(broker, 1.0, 5.0, command, listens) as server:
        sockets = [await server.connected()] + [await server.connect() for _ in range(4)]
        closings = [asyncio.create_task(closing(each)) for each in sockets]
        if by_signal:
            server.terminate()
        else:
            async with httpx.AsyncClient() as http:
                await http.post(f"http://{server.address}/drain")
        ended = await asyncio.gather(*closings)
        assert [code for _, code in ended] == [1012] * 5
        assert max(ended)[0] - min(ended)[0] > 0.3
        if not by_signal:
            server.terminate()
        await server.ended()
    assert server.trouble == []


# --- by hand, and its edges -----------------------------------------------------------------------


class Echo(AsyncJsonWebsocketConsumer):
    channel_layer_alias = None

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)


async def test_it_may_be_begun_by_hand_and_knows_connections_of_its_lifespan_only() -> None:
    before = WebsocketCommunicator(Echo.as_asgi(), "/")
    await before.connect()
    drain = Drain(spread=0, grace=5)
    handler = signal.getsignal(signal.SIGTERM)
    drain.begin()  # outside: nothing
    assert not drain.draining
    async with lifespan(registry=ChannelLayerRegistry(), drain=drain):
        assert signal.getsignal(signal.SIGTERM) is not handler
        inside = WebsocketCommunicator(Echo.as_asgi(), "/")
        await inside.connect()
        drain.begin()
        drain.begin()
        await soon(drain.wait())
        assert drain.draining
        assert (await inside.receive_output())["code"] == 1012
        refused = WebsocketCommunicator(Echo.as_asgi(), "/")
        assert (await refused.connect())[0] is False
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not drain.draining
    await before.send_json_to("still there")
    assert await before.receive_json_from() == "still there"
    await before.disconnect()
    after = WebsocketCommunicator(Echo.as_asgi(), "/")
    await after.connect()
    await after.disconnect()


async def test_a_lifespan_that_ends_amid_a_drain_leaves_no_task() -> None:
    drain = Drain(spread=1_000, grace=1_000)
    async with lifespan(registry=ChannelLayerRegistry(), drain=drain):
        sockets = [WebsocketCommunicator(Echo.as_asgi(), "/") for _ in range(2)]
        for socket in sockets:
            await socket.connect()
        drain.begin()
        assert (await sockets[0].receive_output())["code"] == 1012
    assert not [task for task in asyncio.all_tasks() if "drain" in task.get_name()]
    await sockets[1].disconnect()


async def test_one_drain_is_for_one_lifespan_at_a_time() -> None:
    drain = Drain()
    async with lifespan(registry=ChannelLayerRegistry(), drain=drain):
        with pytest.raises(RuntimeError, match="one lifespan at a time"):
            async with lifespan(registry=ChannelLayerRegistry(), drain=drain):
                pytest.fail("it must not be entered")


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_times_that_are_none_are_errors(seconds: float) -> None:
    with pytest.raises(ValueError, match="spread must be seconds from 0"):
        Drain(spread=seconds)
    with pytest.raises(ValueError, match="grace must be seconds from 0"):
        Drain(grace=seconds)
