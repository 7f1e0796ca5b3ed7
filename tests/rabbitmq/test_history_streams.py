"""Streams that are not as they were made, or cannot be made."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands
from tests.waiting import read_until, soon

from fast_channels.exceptions import BackendUnavailable, HistoryLost, InvalidChannelLayerError
from fast_channels.layers import HistoryPolicy
from fast_channels_rabbitmq import RabbitMQChannelLayer
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.streams import name_of, shard_of

from .conftest import Make, Pair, member
from .durable import GAP, KEPT, LAST, sent_once
from .servers import Names, Node


async def test_a_stream_that_an_operator_deletes_is_another_history(
    node: Node, pair: Pair, prefix: str
) -> None:
    here, there, channel = await pair("kept", history=KEPT)
    await here.group_send("kept", {"type": "old"})
    old: Any = await soon(there.receive(channel))
    await asyncio.to_thread(node.delete_queues, f"{prefix}:h.")
    await sent_once(here, {"type": "new"}, "new")
    assert await soon(there.receive(channel)) == GAP
    assert await soon(there.receive(channel)) == {"type": "new"}
    with pytest.raises(HistoryLost):
        await soon(here.group_history("kept", since=old.position))
    assert await soon(here.group_history("kept")) == [{"type": "new"}]


async def test_processes_that_come_at_once_make_the_streams_together(
    node: Node, make: Make
) -> None:
    layers = [make(node.url, history=KEPT) for _ in range(6)]

    async def use(number: int, layer: RabbitMQChannelLayer) -> str:
        await layer.group_send("kept", {"type": "hello", "n": number})
        return await member(layer, "kept")

    channels = await soon(asyncio.gather(*(use(*each) for each in enumerate(layers))))
    assert len(await layers[0].group_history("kept")) == 6
    await layers[0].group_send("kept", LAST)
    for layer, channel in zip(layers, channels, strict=True):
        await read_until(layer, channel, LAST)
        assert layer.stats()["reconnects"] == 0, "the server ended nobody's connection"


async def test_a_queue_that_is_no_stream_of_ours_is_named(
    node: Node, make: Make, prefix: str, connection: Connection
) -> None:
    layer = make(node.url, history=KEPT)
    name = name_of(prefix, shard_of(f"{prefix}:h.kept"))
    await soon(connection.channel().ask(commands.Queue.Declare(0, name, durable=True)))
    with pytest.raises(InvalidChannelLayerError, match=name):
        await soon(member(layer, "kept"))
    with pytest.raises(InvalidChannelLayerError, match=name):
        await soon(layer.group_send("kept", {"type": "hello"}))
    await soon(connection.channel().ask(commands.Queue.Delete(0, name)))
    await soon(member(layer, "kept"))


DISABLED: Any = pytest.raises(InvalidChannelLayerError, match="enable_feature_flag stream_queue")


@pytest.mark.long
async def test_a_server_with_streams_disabled_is_told_and_used_when_they_are_enabled(
    tmp_path: Path, make: Make
) -> None:
    """As one is that was updated from a version without them; one of 4.0 has them always."""
    names = Names()
    node = Node(tmp_path, names)
    node.environment["RABBITMQ_FEATURE_FLAGS"] = "quorum_queue"
    try:
        await asyncio.to_thread(node.start)
        version = await asyncio.to_thread(node.ask, "rabbit_misc:version().")
        told = contextlib.nullcontext() if version.startswith('"4.') else DISABLED
        layer = make(node.url, history=KEPT)
        channel = await layer.new_channel()
        for call in (
            lambda: layer.group_send("kept", LAST),
            lambda: layer.group_add("kept", channel),
            lambda: layer.group_history("kept"),
        ):
            with told:
                await soon(call())
        await layer.group_add("room", channel)
        await layer.group_send("room", LAST)
        assert await soon(layer.receive(channel)) == LAST
        await asyncio.to_thread(node.ask, "rabbit_feature_flags:enable(stream_queue).")
        await soon(layer.group_add("kept", channel))
        await layer.group_send("kept", LAST)
        assert await soon(layer.receive(channel)) == LAST
    finally:
        node.kill()
        names.stop()


async def test_a_user_who_may_not_is_told_which_permission_is_missing(
    node: Node, make: Make, prefix: str
) -> None:
    url = node.user(f"{prefix}-no", f"^{prefix}($|[.])", ".*", ".*")
    layer = make(url, history=KEPT)
    with pytest.raises(BackendUnavailable, match="permission to configure"):
        await soon(layer.group_send("kept", {"type": "hello"}))
    with pytest.raises(BackendUnavailable, match="permission to configure"):
        await soon(member(layer, "kept"))


async def test_streams_that_drop_entries_too_early_are_told_of(
    node: Node, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    await member(make(node.url, history=KEPT), "kept")
    longer = make(node.url, history={"kept*": HistoryPolicy(ttl=1_000_000.0)})
    with caplog.at_level(logging.WARNING, "fast_channels.rabbitmq"):
        await member(longer, "kept")
    assert "7200 s, and a history of 1e+06 s is asked of it" in caplog.text
