"""What code written for Django Channels' and Fast Channels' layers relies on."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull
from fast_channels.layers import BaseChannelLayer, ChannelLayer, InMemoryChannelLayer

from .waiting import receive, until


@pytest.fixture
async def layer() -> Any:
    made = InMemoryChannelLayer(channel_capacity={"http.request": 200, re.compile("chat"): 5})
    yield made
    await made.close()


def test_a_layer_is_what_the_protocol_says() -> None:
    assert isinstance(InMemoryChannelLayer(), ChannelLayer)
    assert isinstance(InMemoryChannelLayer(), BaseChannelLayer)


def test_the_names_of_the_upstream_base_class_are_there(layer: Any) -> None:
    assert layer.MAX_NAME_LENGTH == 100
    assert {"groups", "flush"} <= set(layer.extensions)
    assert layer.channel_name_regex.match("specific.abc!def")
    assert not layer.channel_name_regex.match("two words")
    assert layer.group_name_regex.match("chat_1")
    assert not layer.group_name_regex.match("chat!1")
    assert "{}" in layer.invalid_name_error
    assert (layer.expiry, layer.capacity) == (60.0, 100)


def test_the_capacity_of_a_channel_can_be_asked(layer: Any) -> None:
    assert layer.get_capacity("http.request") == 200
    assert layer.get_capacity("chat.room") == 5
    assert layer.get_capacity("other") == 100


def test_capacities_are_compiled_in_their_order(layer: Any) -> None:
    compiled = layer.compile_capacities({"a.*": 1, re.compile("b"): 2})
    assert [(bool(pattern.match("a.x")), n) for pattern, n in compiled] == [(True, 1), (False, 2)]


def test_names_are_checked_as_upstream_does(layer: Any) -> None:
    assert layer.valid_channel_name("specific.abc!def") is True
    assert layer.valid_group_name("group") is True
    assert layer.require_valid_channel_name("queue") is True
    assert layer.require_valid_group_name("group") is True
    assert layer.valid_channel_names(["a", "b!c"]) is True
    assert layer.match_type_and_length("x" * 99)
    assert not layer.match_type_and_length("x" * 100)
    assert not layer.match_type_and_length(5)
    for check in (layer.valid_channel_name, layer.require_valid_channel_name):
        with pytest.raises(TypeError, match="channel name 'a b' has the illegal character"):
            check("a b")
    for check in (layer.valid_group_name, layer.require_valid_group_name):
        with pytest.raises(TypeError, match="group name 'a!b' has the illegal character"):
            check("a!b")
    with pytest.raises(TypeError):
        layer.valid_channel_names(["a", "b c"])


def test_a_name_to_receive_from_ends_at_the_mark(layer: Any) -> None:
    assert layer.valid_channel_name("specific.abc!", receive=True)
    assert layer.valid_channel_name("queue", receive=True)
    with pytest.raises(TypeError, match="receive\\(\\) takes names that end at the '!'"):
        layer.valid_channel_name("specific.abc!def", receive=True)


def test_the_shared_part_of_a_name_can_be_asked(layer: Any) -> None:
    assert layer.non_local_name("specific.abc!def") == "specific.abc!"
    assert layer.non_local_name("queue") == "queue"


async def test_a_plain_name_is_a_channel_that_can_be_sent_to_and_put_into_groups(
    layer: Any,
) -> None:
    await layer.send("test-channel-1", {"type": "test.message", "text": "Ahoy-hoy!"})
    assert await receive(layer, "test-channel-1", 1) == [
        {"type": "test.message", "text": "Ahoy-hoy!"}
    ]
    for name in ("test-gr-chan-1", "test-gr-chan-2", "test-gr-chan-3"):
        await layer.group_add("test-group", name)
    await layer.group_discard("test-group", "test-gr-chan-2")
    await layer.group_send("test-group", {"type": "message.1"})
    assert (await receive(layer, "test-gr-chan-1", 1))[0]["type"] == "message.1"
    assert (await receive(layer, "test-gr-chan-3", 1))[0]["type"] == "message.1"
    assert "test-gr-chan-2" not in layer.channels


async def test_a_plain_channel_is_full_at_its_capacity(layer: Any) -> None:
    for n in range(5):
        await layer.send("chat", {"type": "x", "n": n})
    with pytest.raises(ChannelFull):
        await layer.send("chat", {"type": "x", "n": 5})


async def test_channels_and_groups_are_views_that_cannot_be_changed(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_add("group", "queue")
    await layer.send(channel, {"type": "x"})
    await layer.send("jobs", {"type": "y"})
    await until(lambda: layer.channels[channel])
    assert isinstance(layer.channels, Mapping)
    assert set(layer.channels) == {channel, "jobs"}
    assert (len(layer.channels[channel]), len(layer.channels["jobs"])) == (1, 1)
    assert set(layer.groups) == {"group"}
    assert set(layer.groups["group"]) == {channel, "queue"}
    for view in (layer.channels, layer.groups, layer.groups["group"]):
        with pytest.raises(TypeError):
            view["other"] = 1
    with pytest.raises(AttributeError):
        layer.groups = {}


async def test_views_are_empty_after_flush(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send("jobs", {"type": "y"})
    await layer.flush()
    assert dict(layer.groups) == {}
    assert not any(layer.channels.values())


async def test_a_new_channel_has_the_prefix_of_upstream_by_default(layer: Any) -> None:
    assert re.fullmatch(r"specific\.[0-9a-f]{16}![0-9a-f]+", await layer.new_channel())
    assert (await layer.new_channel("chat")).startswith("chat.")


async def test_a_layer_of_the_upstream_kind_may_override_the_seven_methods() -> None:
    class Listing(BaseChannelLayer):
        """Has no backend at all."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.sent: list[tuple[str, Any]] = []

        async def send(self, channel: str, message: Any) -> None:
            self.require_valid_channel_name(channel)
            self.sent.append((channel, message))

    layer = Listing(capacity=5)
    await layer.send("a", {"type": "x"})
    assert layer.sent == [("a", {"type": "x"})]
    assert layer.get_capacity("a") == 5
    await layer.close()
