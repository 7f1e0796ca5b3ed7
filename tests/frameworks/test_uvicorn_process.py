"""A server process of its own: what its clients see, and what stands in its log."""

import asyncio
import json
import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_factories=["asyncio"]),  # the clients' loop; the server has its own
]

PATIENCE = 15.0


class Process:
    """A uvicorn process that serves ``served.py``."""

    def __init__(self, process):
        self.process = process
        self.journal = []
        self.log = []
        self.address = ""
        self.news = asyncio.Condition()

    async def read(self, stream, lines):
        async for line in stream:
            lines.append(line.decode().rstrip())
            async with self.news:
                self.news.notify_all()
        async with self.news:
            self.news.notify_all()

    async def until(self, met):
        async with self.news, asyncio.timeout(PATIENCE):
            await self.news.wait_for(met)

    def open(self, path):
        return websockets.connect(f"ws://{self.address}{path}")

    async def stop(self):
        """End the process as an operator does; it shuts down in order."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(PATIENCE):
            await self.process.wait()

    @property
    def tracebacks(self):
        """What each traceback of the log ends with, in order."""
        ends = []
        inside = False
        for line in self.log:
            if line.startswith("Traceback"):
                inside = True
            elif inside and re.match(r"\S", line):
                ends.append(line)
                inside = False
        return ends


@pytest.fixture(params=["websockets-sansio", "websockets", "wsproto"])
def protocol(request):
    return request.param


@asynccontextmanager
async def uvicorn(protocol, loop="uvloop"):
    command = f"-m uvicorn --port 0 --ws {protocol} --loop {loop} served:application".split()
    process = Process(
        await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            "--timeout-graceful-shutdown=5",
            cwd=Path(__file__).parent,
            env=os.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    async with asyncio.TaskGroup() as readers:
        readers.create_task(process.read(process.process.stdout, process.journal))
        readers.create_task(process.read(process.process.stderr, process.log))
        try:
            await process.until(lambda: any("running on" in line for line in process.log))
            [line] = [line for line in process.log if "running on" in line]
            process.address = re.search(r"http://([\d.:]+)", line)[1]
            yield process
        finally:
            await process.stop()


async def closed(socket):
    """The code with which the server closes the socket."""
    async with asyncio.timeout(PATIENCE):
        await socket.wait_closed()
    return socket.close_code


async def test_what_a_consumer_raises_is_one_traceback_and_a_1011_and_nobody_elses_trouble(
    protocol,
):
    async with uvicorn(protocol) as server:
        # In connect: the handshake is refused.
        with pytest.raises(websockets.InvalidStatus) as refused:
            await server.open("/connect")
        assert refused.value.response.status_code == 500

        async with server.open("/a") as a, server.open("/b") as b, server.open("/c") as c:
            # At a message of the layer: the fan-out goes on to the others.
            tell = {"tell": {"type": "note", "fails": "/b", "marker": "marker-note"}}
            await a.send(json.dumps(tell))
            assert [await a.recv(), await c.recv()] == ['"note"', '"note"']
            assert await closed(b) == 1011
            # At a frame.
            await c.send(json.dumps({"fail": "marker-frame"}))
            assert await closed(c) == 1011
            await a.send("1")
            assert await a.recv() == "1"

        # In disconnect.
        async with server.open("/disconnect"):
            pass
        await server.until(lambda: "/disconnect disconnect 1000" in server.journal)
    markers = ["marker-connect", "marker-note", "marker-frame", "marker-disconnect"]
    assert server.tracebacks == [f"RuntimeError: {marker}" for marker in markers]
    # What is logged twice may differ in its form.
    for marker in markers:
        lines = [line for line in server.log if line.startswith("RuntimeError") and marker in line]
        assert len(lines) == 1
    assert sorted(server.journal) == [
        "/a disconnect 1000",
        "/b disconnect 1011",
        "/c disconnect 1011",
        "/connect disconnect 1011",
        "/disconnect disconnect 1000",
    ]


async def test_what_clients_do_wrong_closes_their_socket_and_leaves_no_traceback(protocol):
    async with uvicorn(protocol, loop="asyncio") as server:
        async with server.open("/no-json") as socket:
            await socket.send("{'a': 1}")
            assert await closed(socket) == 1007
            assert socket.close_reason.startswith("text frame is no JSON: ")
        async with server.open("/bytes") as socket:
            await socket.send(b"{}")
            assert await closed(socket) == 1003
        async with server.open("/10-mb") as socket:
            await socket.send("x" * 10_000_000)
            assert await closed(socket) == 1009
            assert socket.close_reason == "frame is larger than max_frame_size=1000000"
        async with server.open("/above-the-servers-limit") as socket:
            # The server closes before it has read all.
            with pytest.raises(websockets.ConnectionClosed):
                await socket.send("x" * 20_000_000)
                await socket.recv()
            assert await closed(socket) in (1006, 1009)
        async with server.open("/vanishes") as socket:
            socket.transport.abort()
        with pytest.raises(websockets.InvalidStatus) as refused:
            await server.open("/deny")
        assert refused.value.response.status_code == 401
        assert refused.value.response.body == b"who are you?"

        # A handler still works when its client leaves, and then sends.
        async with server.open("/busy") as socket:
            await socket.send(json.dumps({"work": True}))
            assert await socket.recv() == '"working"'
        await server.until(
            lambda: (
                len([line for line in server.journal if "disconnect" in line]) == 7
                and "/busy worked" in server.journal
            )
        )
    assert server.tracebacks == []
    assert [line for line in server.log if "ERROR" in line] == []
    journal = sorted(line for line in server.journal if "disconnect" in line)
    assert [line.split()[0] for line in journal] == [
        "/10-mb",
        "/above-the-servers-limit",
        "/busy",
        "/bytes",
        "/deny",
        "/no-json",
        "/vanishes",
    ]


async def test_a_shutdown_ends_every_socket_and_runs_each_disconnect_once(protocol):
    async with uvicorn(protocol) as server, server.open("/a") as a, server.open("/b") as b:
        for socket in (a, b):
            await socket.send("1")
            assert await socket.recv() == "1"
        server.process.terminate()
        assert [await closed(a), await closed(b)] == [1012, 1012]
    assert sorted(server.journal) == ["/a disconnect 1012", "/b disconnect 1012"]
    assert server.tracebacks == []
    assert any("Application shutdown complete" in line for line in server.log)
