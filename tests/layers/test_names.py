"""Which names are legal, what an error says about one that is not, and what is made of names."""

import re
import string
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.names import (
    channel_name,
    channel_node,
    check_channel,
    check_group,
    check_prefix,
    group_topic,
    new_node,
    node_topic,
    queue_name,
    topic_group,
)

from .backends import Layer, Make

LEGAL = string.ascii_letters + string.digits + "-_."
legal_names = st.text(LEGAL, min_size=1, max_size=99)


@pytest.mark.parametrize("name", ["a", "chat.room-1_b", "0", "-", "..", "x" * 99])
def test_legal_names_pass(name: str) -> None:
    assert check_group(name) == name
    assert check_channel(name) == name


@pytest.mark.parametrize("name", ["a!", "specific.0123!abc", "a!b.c-d_e"])
def test_a_channel_name_may_have_one_exclamation_mark(name: str) -> None:
    assert check_channel(name) == name


ALLOWED = "; use ASCII letters, digits, '-', '_' and '.'"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "group name must not be empty"),
        ("x" * 100, f"group name must be shorter than 100 characters, got 100: '{'x' * 100}'"),
        ("a room", f"group name 'a room' has the illegal character ' ' at position 1{ALLOWED}"),
        (
            "caf\xe9",
            f"group name 'caf\xe9' has the illegal character '\xe9' at position 3{ALLOWED}",
        ),
        (
            "a\u0660",
            f"group name 'a\u0660' has the illegal character '\u0660' at position 1{ALLOWED}",
        ),
        ("a\n", f"group name 'a\\n' has the illegal character '\\n' at position 1{ALLOWED}"),
        ("a:b", f"group name 'a:b' has the illegal character ':' at position 1{ALLOWED}"),
        ("a!b", f"group name 'a!b' has the illegal character '!' at position 1{ALLOWED}"),
        (None, "group name must be a str, got NoneType: None"),
        (b"room", "group name must be a str, got bytes: b'room'"),
        (7, "group name must be a str, got int: 7"),
    ],
)
def test_an_illegal_group_name_is_refused_with_its_reason(name: object, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_group(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "channel name must not be empty"),
        ("x" * 120, "channel name must be shorter than 100 characters, got 120"),
        ("a b", "has the illegal character ' ' at position 1"),
        ("a!b!c", "channel name 'a!b!c' has the illegal character '!' at position 3"),
        ("a!b c", "has the illegal character ' ' at position 3"),
        ("a!!", "has the illegal character '!' at position 2"),
        ("!a", "has the illegal character '!' at position 0"),
        ("!", "has the illegal character '!' at position 0"),
        ("a b!c", "has the illegal character ' ' at position 1"),
        ("a!\u00fc", "has the illegal character '\u00fc' at position 2"),
        (None, "channel name must be a str, got NoneType: None"),
    ],
)
def test_an_illegal_channel_name_is_refused_with_its_reason(name: object, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        check_channel(name)


@given(st.text(max_size=120))
def test_a_name_passes_exactly_if_every_character_is_legal(name: str) -> None:
    legal = 0 < len(name) < 100 and set(name) <= set(LEGAL)
    try:
        check_group(name)
    except TypeError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert bool(refusal) is not legal
    illegal = [(place, c) for place, c in enumerate(name) if c not in LEGAL]
    if illegal and len(name) < 100:
        assert f"{illegal[0][1]!r} at position {illegal[0][0]}" in refusal


@pytest.mark.parametrize(
    "prefix", ["", "a b", "x" * 64, "\u00fc", None, 7, "a:q.b", "a:g.", "x:n.y:z"]
)
def test_an_illegal_prefix_is_refused_with_its_reason(prefix: object) -> None:
    with pytest.raises(ValueError, match="prefix must be 1 to 63 ASCII letters") as caught:
        check_prefix(prefix)
    assert repr(prefix) in str(caught.value)


@given(prefix=legal_names.filter(lambda prefix: len(prefix) < 40))
def test_a_process_bound_channel_tells_its_node(prefix: str) -> None:
    node = new_node()
    name = channel_name(prefix, node, 255)
    assert check_channel(name) == name
    assert channel_node(name) == node


def test_the_prefix_of_a_channel_may_end_in_a_dot_or_not() -> None:
    assert channel_name("room.", "ab", 1) == channel_name("room", "ab", 1) == "room.ab!1"


def test_a_name_without_a_mark_has_no_node() -> None:
    assert channel_node("thumbnails") is None


@given(legal_names, st.text(LEGAL + ":", min_size=1, max_size=63))
def test_a_topic_tells_its_group_whatever_the_prefix(group: str, prefix: str) -> None:
    assert topic_group(group_topic(prefix, group)) == group
    assert topic_group(node_topic(prefix, group)) is None


@pytest.mark.parametrize("made_of", [group_topic, node_topic, queue_name])
def test_no_two_prefixes_share_a_topic(made_of: Callable[[str, str], str]) -> None:
    prefixes = ["a", "a:", "a::", ":a", "a.", "a-", "A", "a:b", "a::b", "a:b:", ":", "::", "a:g"]
    assert {check_prefix(prefix) for prefix in prefixes} == set(prefixes)
    assert len({made_of(prefix, "x") for prefix in prefixes}) == len(prefixes)


def test_groups_nodes_and_queues_never_share_a_topic() -> None:
    names = {group_topic("fc", "x"), node_topic("fc", "x"), queue_name("fc", "x")}
    assert names == {"fc:g.x", "fc:n.x", "fc:q.x"}


def test_every_node_is_another_one() -> None:
    assert len({new_node() for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize("name", ["", "two words", "x" * 100, "caf\xe9", None])
async def test_no_method_opens_a_connection_for_an_illegal_name(make: Make, name: str) -> None:
    layer = make()
    legal = "specific.0!1"
    message = {"type": "x"}
    for call in (
        lambda: layer.send(name, message),
        lambda: layer.receive(name),
        lambda: layer.group_add(name, legal),
        lambda: layer.group_add("group", name),
        lambda: layer.group_discard(name, legal),
        lambda: layer.group_discard("group", name),
        lambda: layer.group_send(name, message),
    ):
        with pytest.raises(TypeError, match="name"):
            await call()
    assert layer.backends == []


async def test_an_open_layer_refuses_a_channel_that_cannot_be_looked_up(make: Make) -> None:
    layer = make()
    await layer.group_add("group", await layer.new_channel())
    with pytest.raises(TypeError, match=r"channel name must be a str, got list: \[\]"):
        await layer.group_add("group", cast("str", []))


async def test_receiving_from_an_illegal_name_is_refused(make: Make) -> None:
    with pytest.raises(TypeError, match="channel name 'two words' has the illegal character ' '"):
        await make().receive("two words")


async def test_excluding_an_illegal_name_is_refused(make: Make) -> None:
    with pytest.raises(TypeError, match="has the illegal character ' ' at position 3"):
        await make().group_send("group", {"type": "x"}, exclude="two words")


@pytest.mark.parametrize("prefix", ["two words", "x" * 90, "caf\xe9", "a!b"])
async def test_a_channel_with_an_illegal_prefix_is_refused(make: Make, prefix: Any) -> None:
    layer = make()
    with pytest.raises(TypeError, match="channel name"):
        await layer.new_channel(prefix)
    with pytest.raises(TypeError, match="channel name"):
        layer.channel(prefix)


async def test_names_stay_legal_however_many_channels_there_are(make: Make) -> None:
    layer = make()
    prefix = "x" * 99
    while not await accepts(layer, prefix):
        prefix = prefix[1:]
    for _ in range(300):
        await layer.send(await layer.new_channel(prefix), {"type": "x"})


async def accepts(layer: Layer, prefix: str) -> bool:
    """Whether a channel of this prefix can be made."""
    try:
        await layer.new_channel(prefix)
    except TypeError:
        return False
    return True
