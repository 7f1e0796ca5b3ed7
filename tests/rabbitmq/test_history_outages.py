"""What outages do to durable groups: nothing is missing, or that is told."""

import asyncio
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import hears, read_until, send_when_back, soon

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels_rabbitmq import RabbitMQChannelLayer

from .conftest import Pair
from .durable import GAP, KEPT, LAST, sent_once
from .servers import Node


@pytest.mark.timeout(90)
async def test_members_go_on_where_they_were_after_the_server_was_killed(
    node: Node, pair: Pair
) -> None:
    here, there, channel = await pair("kept", history=KEPT)
    await there.group_add("room", channel)
    for number in range(10):
        await here.group_send("kept", {"type": "before", "n": number})
    await asyncio.to_thread(node.settle)
    node.kill()
    await asyncio.to_thread(node.start)
    for number in range(10):  # by whoever is back first
        await sent_once(here, {"type": "after", "n": number}, f"{number}")
    await here.group_send("kept", LAST)
    came = await read_until(there, channel, LAST)
    kept = [(each["type"], each["n"]) for each in came if "n" in each]
    assert kept == [(when, n) for when in ("before", "after") for n in range(10)]
    gaps = [each["group"] for each in came if each["type"] == "channels.gap"]
    assert gaps in ([], ["room"])  # of the group that keeps nothing; it may come later


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_server_that_lost_what_it_had_confirmed_begins_another_history(
    node: Node, pair: Pair, tmp_path: Path
) -> None:
    """As after a loss of power: its files are those of a while ago."""
    here, there, channel = await pair("kept", history=KEPT)
    await here.group_send("kept", {"type": "early"})
    assert await soon(there.receive(channel)) == {"type": "early"}
    await asyncio.to_thread(node.settle)
    node.kill()
    data, copy = node.folder / "data", tmp_path / "copy"
    await asyncio.to_thread(_copy, data, copy)
    await asyncio.to_thread(node.start)
    await hears(here)
    for number in range(5):
        await sent_once(here, {"type": "late", "n": number}, f"{number}")
    late: list[Any] = [await soon(there.receive(channel)) for _ in range(5)]
    node.kill()
    await asyncio.to_thread(_copy, copy, data)
    await asyncio.to_thread(node.start)
    sending = asyncio.create_task(_send_on(here))
    try:
        assert await soon(there.receive(channel)) == GAP
        # It goes on with what comes then.
        assert await soon(there.receive(channel)) == {"type": "new"}
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    with pytest.raises(HistoryLost):
        await soon(here.group_history("kept", since=late[2].position))


async def _send_on(layer: RabbitMQChannelLayer) -> None:
    for number in itertools.count():
        await sent_once(layer, {"type": "new"}, f"new-{number}")


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


async def test_history_cannot_be_read_while_the_server_takes_no_messages(
    node: Node, pair: Pair
) -> None:
    here, there, channel = await pair("kept", history=KEPT, send_timeout=1.0)
    await here.group_send("kept", {"type": "hello"})
    assert await soon(there.receive(channel)) == {"type": "hello"}
    await asyncio.to_thread(node.alarm, on=True)
    try:
        # What publishes first is what the server notices.
        with pytest.raises(BackendUnavailable):
            await soon(there.group_history("kept"))
        with pytest.raises(BackendUnavailable):
            await soon(there.group_history("kept"))
    finally:
        await asyncio.to_thread(node.alarm, on=False)
    await send_when_back(here, "kept", LAST)
    await read_until(there, channel, LAST)
