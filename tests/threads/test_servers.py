"""Servers and workers that fork: gunicorn with a preloaded application, and Celery."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import websockets
from tests.tcp_broker import TCPBroker, TCPLayer

from .conftest import HERE, environment

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]

PATIENCE = 20.0
GUNICORN = "-m gunicorn --preload --workers 2 --bind 127.0.0.1:0 --worker-class"
CELERY = (
    "-m celery -A tasks worker --pool prefork --concurrency 2 --max-tasks-per-child 5 "
    "--without-gossip --without-mingle --without-heartbeat --loglevel INFO"
)


@asynccontextmanager
async def running(
    command: str, ready: str, log: list[str], **variables: str
) -> AsyncIterator[re.Match[str]]:
    """Run Python with the command; yield the match of the first line of its log that is ready.

    At the end it is told to end, as an operator does. ``log`` gets every line.
    """
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-W", "default::ResourceWarning", *command.split()],
        cwd=HERE,
        env=environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while not (match := re.search(ready, log[-1] if log else "")):
                line = await process.stderr.readline()
                assert line, f"it has ended: {log}"
                log.append(line.decode().rstrip())
        yield match
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(PATIENCE):
            rest = await process.stderr.read()
            await process.wait()
        log += rest.decode().splitlines()
    assert process.returncode == 0, log


def complaints(log: list[str]) -> list[str]:
    """Return the lines that tell of trouble."""
    return [line for line in log if re.search(r"Traceback|ResourceWarning|\bERROR\b", line)]


@pytest.mark.parametrize("worker", ["uvicorn_worker.UvicornWorker", "asgi"])
async def test_workers_forked_from_a_preloaded_application_reach_each_others_clients(
    broker: TCPBroker, worker: str
) -> None:
    log: list[str] = []
    command = f"{GUNICORN} {worker} preloaded:app"
    ready = r"Listening at: http://(\S+)"
    async with running(command, ready, log, BROKER=broker.url) as match:
        address = match[1]
        # Both workers are up when each has a client; a new connection goes to whoever is free.
        clients: dict[str, websockets.ClientConnection] = {}
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as http:
            while len(clients) < 2:
                client = await websockets.connect(f"ws://{address}/ws")
                number = str(await client.recv())
                if clients.setdefault(number, client) is not client:
                    await client.close()
            expected: list[str] = []
            for path in ["loop", "thread"] * 10:
                answer = (await http.get(f"http://{address}/{path}")).json()
                assert str(answer["worker"]) in clients
                assert str(answer["master"]) not in clients
                expected.append(f"{path} {answer['worker']}")
            for client in clients.values():
                # What comes from one worker's loop and from its threads comes by two connections.
                got = [str(await client.recv()) for _ in expected]
                assert sorted(got) == sorted(expected)
                await client.close()
    assert complaints(log) == []
    broker.wait_for(lambda: broker.connections == 0)
    assert broker.dropped == 0


@pytest.mark.long  # Celery takes five seconds to end
async def test_celery_s_pool_processes_send_each_message_once_and_are_replaced(
    broker: TCPBroker, tmp_path: Path
) -> None:
    layer = TCPLayer(broker.url)
    log: list[str] = []
    variables = {"BROKER": broker.url, "QUEUES": str(tmp_path)}
    async with layer.channel() as channel:
        await channel.join("all")
        async with running(CELERY, r"celery@\S+ ready", log, **variables):
            enqueue = "import tasks\nfor n in range(20): tasks.tell.delay(n)"
            sender = await asyncio.create_subprocess_exec(
                *[sys.executable, "-c", enqueue], cwd=HERE, env=environment(**variables)
            )
            assert await sender.wait() == 0
            told = []
            async with asyncio.timeout(PATIENCE):
                while len(told) < 20:
                    message = await channel.receive()
                    if message["type"] == "test.message":
                        told.append(message)
    assert sorted(message["n"] for message in told) == list(range(20))
    assert len({message["process"] for message in told}) >= 4  # five tasks for each process
    assert complaints(log) == []
    await layer.close()
    broker.wait_for(lambda: broker.connections == 0)
    assert broker.dropped == 0
