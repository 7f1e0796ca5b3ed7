"""Presence in real processes: killed, ended, forked."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
from tests.tcp_broker import TCPBroker, TCPLayer
from tests.waiting import soon

from fast_channels.layers import BaseChannelLayer

HERE = Path(__file__).parent
LEASE = 1.5

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def broker() -> Iterator[TCPBroker]:
    with TCPBroker() as broker:
        yield broker


@pytest.fixture
def lease() -> float:
    """Seconds; longer where no lease is to end, on however busy a machine."""
    return LEASE


@pytest.fixture
def start(broker: TCPBroker, lease: float) -> Iterator[Start]:
    """Starts members, each a process of its own; in the end none is left."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, str(HERE / "member.py"), broker.url, str(lease), *arguments]
        path = os.pathsep.join([str(HERE.parent), str(HERE.parents[1])])
        process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
async def layer(broker: TCPBroker, lease: float) -> AsyncGenerator[BaseChannelLayer]:
    layer = TCPLayer(broker.url, presence_lease=lease)
    yield layer
    await layer.close()


async def here(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "here\n"


async def change(layer: BaseChannelLayer, watcher: str, kind: str) -> list[str]:
    """Return the users that the watcher's next message tells of."""
    message = await soon(layer.receive(watcher))
    assert message["type"] == f"presence.{kind}"
    return [presence["user"] for presence in message["members"].values()]


async def watching(layer: BaseChannelLayer) -> str:
    watcher = await layer.new_channel()
    await layer.group_add("room", watcher, watch=True)
    return watcher


async def test_a_process_that_is_killed_disappears_within_its_lease(
    layer: BaseChannelLayer, start: Start
) -> None:
    watcher = await watching(layer)
    killed, other = start("ann"), start("bob")
    joined = [await change(layer, watcher, "join") for _ in range(2)]
    assert sorted(joined) == [["ann"], ["bob"]]
    await here(other)
    killed.kill()
    at = time.monotonic()
    assert await change(layer, watcher, "leave") == ["ann"]
    # It was heard at most one beat, of 0.3 to 0.4 of a lease, before it was killed.
    assert time.monotonic() - at > 0.5 * LEASE
    present = await layer.presence("room")
    assert [presence["user"] for presence in present.values()] == ["bob"]


@pytest.mark.parametrize("lease", [15.0])
async def test_a_process_that_ends_leaves_before_its_lease_is_over(
    layer: BaseChannelLayer, broker: TCPBroker, start: Start
) -> None:
    watcher = await watching(layer)
    process = start("ann")
    assert await change(layer, watcher, "join") == ["ann"]
    await here(process)
    assert process.stdin is not None
    process.stdin.close()
    assert await change(layer, watcher, "leave") == ["ann"]
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert broker.dropped == 0


async def test_a_process_that_another_one_asks_about_its_channel_is_killed(
    layer: BaseChannelLayer, start: Start
) -> None:
    process = start("ann")
    await here(process)
    [channel] = await layer.group_channels("room")
    await layer.group_add("room", channel, presence={"user": "ann, renamed"})
    assert await layer.presence("room") == {channel: {"user": "ann, renamed"}}
    process.kill()
    async with asyncio.timeout(10):
        while await layer.group_count("room"):  # noqa: ASYNC110  # nobody tells: it does not watch
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("lease", [15.0])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_forked_child_is_a_node_of_its_own(layer: BaseChannelLayer, start: Start) -> None:
    watcher = await watching(layer)
    process = start("ann", "fork")
    assert await change(layer, watcher, "join") == ["ann"]
    assert await change(layer, watcher, "join") == ["ann's child"]
    await here(process)
    assert process.stdin is not None
    process.stdin.close()  # the child ends, then its parent
    left = await change(layer, watcher, "leave")
    if len(left) < 2:  # leaves of one moment are told in one message
        left += await change(layer, watcher, "leave")
    assert sorted(left) == ["ann", "ann's child"]
    assert await asyncio.to_thread(process.wait, 10) == 0
