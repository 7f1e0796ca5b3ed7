"""Frames that somebody else publishes: late, or never, and nobody takes that for a loss."""

import pytest
from tests.waiting import soon

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers import HistoryPolicy, InMemoryChannelLayer, Publication

LIMIT = 1_000


async def test_frames_reach_members_whenever_they_are_published() -> None:
    layer = InMemoryChannelLayer()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    [backend] = layer.open_backends
    late, never, large = (
        layer.frames_for("room", {"type": "hello", "text": text}, LIMIT)
        for text in ("late", "never", "x" * 5_000)
    )
    assert len(never[1]) == 1
    assert len(large[1]) > 5
    assert all(len(payload) <= LIMIT for payload in large[1])
    for topic, payloads in (late, large, late):
        await layer.group_send("room", {"type": "between"})
        await backend.publish([Publication(topic, payload) for payload in payloads])
    for text in ("late", "x" * 5_000, "late"):
        assert await soon(layer.receive(channel)) == {"type": "between"}
        assert await soon(layer.receive(channel)) == {"type": "hello", "text": text}
    stats = layer.stats()
    assert stats["gaps"] == stats["repeated"] == stats["malformed"] == 0
    await layer.close()


async def test_what_somebody_else_appends_reaches_members_whenever_that_is() -> None:
    layer = InMemoryChannelLayer(history={"kept": HistoryPolicy(keep=10, ttl=60)})
    channel = await layer.new_channel()
    await layer.group_add("kept", channel)
    [backend] = layer.open_backends
    assert backend.history is not None
    late, never, large = (
        layer.append_for("kept", {"type": "hello", "text": text})
        for text in ("late", "never", "x" * 5_000)
    )
    assert (never.keep, never.ttl) == (10, 60)
    for append in (late, large, late):
        await layer.group_send("kept", {"type": "between"})
        await backend.history.publish([append])
    for text in ("late", "x" * 5_000, "late"):
        assert await soon(layer.receive(channel)) == {"type": "between"}
        assert await soon(layer.receive(channel)) == {"type": "hello", "text": text}
    stats = layer.stats()
    assert stats["gaps"] == stats["repeated"] == stats["malformed"] == 0
    await layer.close()


def test_what_cannot_be_published_so_is_told() -> None:
    layer = InMemoryChannelLayer(history={"kept.*": HistoryPolicy(keep=10, ttl=60)})
    with pytest.raises(ValueError, match="has a history, which would lack"):
        layer.frames_for("kept.room", {"type": "hello"}, LIMIT)
    with pytest.raises(ValueError, match="has no history"):
        layer.append_for("room", {"type": "hello"})
    with pytest.raises(MessageTooLarge):
        layer.append_for("kept.room", {"type": "x", "data": b"x" * 1_100_000})
    with pytest.raises(MessageTooLarge):
        layer.frames_for("room", {"type": "x", "data": b"x" * 1_100_000}, LIMIT)
    with pytest.raises(TypeError, match="a room"):
        layer.frames_for("a room", {"type": "x"}, LIMIT)
