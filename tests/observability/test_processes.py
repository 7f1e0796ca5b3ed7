"""Servers with several processes: each has numbers of its own, and Prometheus gets them all."""

import asyncio
import os
import re
import sys
from pathlib import Path

import httpx
import pytest
from tests.ports import Port
from tests.waiting import PATIENCE, STARTING

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]
HERE = Path(__file__).parent
GUNICORN = (
    "-m gunicorn --config gunicorn.conf.py --workers 2 --bind 127.0.0.1:0 "
    "--worker-class uvicorn_worker.UvicornWorker served:application"
)


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
    held = [Port() for _ in range(3)]  # one is spare
    ports = [port.number for port in held]
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
        async with asyncio.timeout(STARTING):
            while sum("Application startup complete" in line for line in log) < 2:
                log.append((await process.stderr.readline()).decode())
                assert log[-1], log
        [url] = re.findall(r"Listening at: (http\S+)", "".join(log))
        async with httpx.AsyncClient(timeout=PATIENCE) as client:

            async def counts() -> list[float]:
                return sorted([sent(await scrape(client, port)) for port in ports])

            assert await counts() == [-1, 0, 0]
            for number in range(20):
                answer = await client.post(f"{url}/say?text={number}")
                assert answer.status_code == 200
            assert sum((await counts())[1:]) == 20
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), PATIENCE)
