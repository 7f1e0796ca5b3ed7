"""What others may make of presence, and what callers may ask of it."""

import asyncio
import re
from typing import Any

import pytest

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers import InMemoryChannelLayer, Publication
from fast_channels.layers.codec import PRESENCE, Entry, encode_entries, encode_frame
from fast_channels.layers.messages import encode_message

from .backends import Layer
from .clock import virtual_time
from .presence_nodes import BEATS, ROOM, CutOffBackend, member, nodes, users
from .waiting import read_to_fence

# --- what others may make of it ---------------------------------------------------------------


@virtual_time
async def test_plain_json_cannot_forge_presence() -> None:
    async with nodes(2) as (here, there):
        ann = await member(here, "room", "ann")
        watcher = await member(here, "room", watch=True)
        forged = b'{"type": "presence.change", "version": 9, "prev": 0, "joins": {}, "leaves": []}'
        for topic in (ROOM, BEATS, f"fc:n.{ann.split('.')[1].split('!')[0]}"):
            await there.backend.publish([Publication(topic, forged)])
        await asyncio.sleep(0.1)
        assert here.stats()["malformed"] == 3
        assert await users(here) == ["ann"]
        assert await read_to_fence(here, watcher) == []


@virtual_time
async def test_keys_seal_presence() -> None:
    pytest.importorskip("cryptography")
    async with nodes(2, encryption_keys=["a key of sixteen characters"]) as (here, there):
        stranger = Layer(CutOffBackend, broker=here.broker)
        await member(here, "room", "secret-ann")
        assert await users(there) == ["secret-ann"]
        assert await stranger.presence("room") == {}
        await member(stranger, "room", "mallory")
        await asyncio.sleep(7)
        assert await users(here) == ["secret-ann"]
        assert here.stats()["refused"] > 0
        assert all(b"secret-ann" not in payload for _, payload in here.backend.publications)
        await stranger.close()


def forge(backend: CutOffBackend, node: str, message: dict[str, Any]) -> Any:
    """Publish a presence message to the room in that node's name."""
    body = encode_entries([Entry(encode_message(message, 2**20), PRESENCE)])
    return backend.publish([Publication(ROOM, encode_frame(node, 0, 0, body))])


OWN = f"specific.{'0' * 16}!1"
CHANGE = {"type": "presence.change", "version": 1, "prev": 0, "joins": {}, "leaves": []}

STATE = {"type": "presence.state", "number": 1, "page": 0, "pages": 1, "clock": 1, "states": []}


@virtual_time
@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("no node", CHANGE),
        ("0" * 16, {"type": "presence.nonsense"}),
        ("0" * 16, {"type": "presence.change"}),
        ("0" * 16, CHANGE | {"version": -1}),
        ("0" * 16, CHANGE | {"joins": {f"specific.{'1' * 16}!1": b"\x80"}}),
        ("0" * 16, CHANGE | {"joins": {"no channel": b"\x80"}}),
        ("0" * 16, CHANGE | {"joins": {OWN: b"\xc1"}}),
        ("0" * 16, CHANGE | {"joins": {OWN: b"\x90"}}),
        ("0" * 16, CHANGE | {"joins": {OWN: b"\x81\xa1a\xda\x20\x00" + b"x" * 8192}}),
        ("0" * 16, STATE | {"pages": 0}),
        ("0" * 16, STATE | {"states": [["room", 1]]}),
        ("0" * 16, {"type": "presence.ask", "number": 1, "groups": "room"}),
    ],
)
async def test_what_no_node_says_is_counted_and_skipped(node: str, message: dict[str, Any]) -> None:
    async with nodes(1) as (here,):
        await member(here, "room", "ann")
        await forge(here.backend, node, message)
        await asyncio.sleep(0.1)
        assert here.stats()["malformed"] == 1
        assert await users(here) == ["ann"]


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("presence", "error", "text"),
    [
        ("ann", TypeError, "presence must be a dict, got str: 'ann'"),
        ({"at": object()}, TypeError, "presence['at'] is a object, which cannot be sent"),
        ({"a": {"b": [{1, 2}]}}, TypeError, "presence['a']['b'][0] is a set"),
        ({(1, 2): 1}, TypeError, "presence has the key (1, 2) of type tuple; use str"),
        (
            {"user": "ann", "avatar": b"x" * 5_000},
            MessageTooLarge,
            "more than 4096; the largest part is presence['avatar'] with 5003",
        ),
    ],
)
async def test_a_presence_that_cannot_be_sent_is_refused_before_any_io(
    presence: Any, error: type[Exception], text: str
) -> None:
    layer = Layer(CutOffBackend)
    with pytest.raises(error, match=re.escape(text)):
        await layer.group_add("room", "specific.0123456789abcdef!1", presence=presence)
    assert layer.backends == []


async def test_bad_names_and_worker_queues_are_refused_before_any_io() -> None:
    layer = Layer(CutOffBackend)
    with pytest.raises(ValueError, match=r"channel 'jobs' is a worker queue, which cannot be"):
        await layer.group_add("room", "jobs", presence={})
    with pytest.raises(ValueError, match=r"channel 'jobs' is a worker queue"):
        await layer.group_add("room", "jobs", watch=True)
    for call in (layer.presence, layer.group_channels, layer.group_count):
        with pytest.raises(TypeError, match="group name 'no group' has the illegal character"):
            await call("no group")
    assert layer.backends == []


@pytest.mark.parametrize("lease", [0, -1, "15", float("nan"), True])
def test_a_lease_that_cannot_be_meant_is_refused(lease: Any) -> None:
    with pytest.raises(ValueError, match="presence_lease must be seconds above 0"):
        InMemoryChannelLayer(presence_lease=lease)
