"""Servers with several processes: each has numbers of its own, and Prometheus gets them all."""

import asyncio
import os
import re
import socket
import sys
from pathlib import Path

import httpx
import pytest
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]
HERE = Path(__file__).parent
GUNICORN = (
    "-m gunicorn --config gunicorn.conf.py --workers 2 --bind 127.0.0.1:0 "
    "--worker-class uvicorn_worker.UvicornWorker served:application"
)


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


async def scrape(client: httpx.AsyncClient, port: int) -> str:
    """Return what the process behind the port exposes; nothing if there is none."""
    try:
        return (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    except httpx.TransportError:
        return ""


def sent(exposed: str) -> float:
    """Return the messages sent, as a process exposes them."""
    found = re.search(r'^fast_channels_messages_sent_total{layer="default"} (\S+)', exposed, re.M)
    return float(found[1]) if found else -1


async def test_gunicorns_workers_are_scraped_one_by_one_and_their_sum_is_the_truth() -> None:
    ports = free_ports(3)
    log: list[str] = []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *GUNICORN.split(),
        cwd=HERE,
        env={**os.environ, "METRICS_PORTS": " ".join(map(str, ports))},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as client:
            while not (found := re.search(r"Listening at: (http\S+)", log[-1] if log else "")):
                line = await process.stderr.readline()
                assert line, log
                log.append(line.decode())
            counts = [-1.0, -1.0, -1.0]

            async def look() -> list[float]:
                counts[:] = [sent(await scrape(client, port)) for port in ports]
                return counts

            # Both are up; the third port is spare.
            while sorted(await look())[1:] != [0, 0]:  # noqa: ASYNC110  # theirs to become so
                await asyncio.sleep(0.05)
            for number in range(20):
                answer = await client.post(f"{found[1]}/say?text={number}")
                assert answer.status_code == 200
            assert sum(count for count in await look() if count > 0) == 20
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), PATIENCE)
