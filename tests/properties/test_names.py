"""Names: the legal ones work from one end to the other, and no two share a topic."""

import re
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.layers.backends import Layer

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.in_memory import MemoryBroker
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

from .budget import examples
from .sendable import raised_by
from .stepping import SteppedLoop

LEGAL = string.ascii_letters + string.digits + "-_."
groups = st.text(LEGAL, min_size=1, max_size=99) | st.sampled_from(
    ["a" * 99, ".", "..", "-", "g.a", "n.a", "q.a", "g", "n", "A", "a"]
)
prefixes = (
    st.text(LEGAL + ":", min_size=1, max_size=63)
    | st.sampled_from(["a", "a:g", "a:n", "a:q", ":", "::", "a" * 63, "a:g:g"])
).filter(lambda prefix: not re.search(":[gnqh][.]", prefix))
locals_ = st.text(LEGAL, max_size=20)
nodes = st.builds(new_node)
message = {"type": "test.message"}
MAKERS = (group_topic, node_topic, queue_name)


@given(st.tuples(st.sampled_from(MAKERS), prefixes, groups), st.data())
@examples(300)
def test_two_names_never_share_a_topic(first: tuple[Any, str, str], data: st.DataObject) -> None:
    topic = first[0](*first[1:])
    # Another place to cut the same text would be the second way to read it.
    for place, letter in enumerate(topic):
        if letter != ":" or not topic[place + 1 :]:
            continue
        prefix, rest = topic[:place], topic[place + 1 :]
        for maker in MAKERS:
            mark = maker("", "").removeprefix(":")
            name = rest.removeprefix(mark)
            if rest.startswith(mark) and legal(prefix, name):
                assert (maker, prefix, name) == first
    second = data.draw(st.tuples(st.sampled_from(MAKERS), prefixes, groups))
    assert (first == second) is (topic == second[0](*second[1:]))
    assert len(topic) <= 165
    assert topic.isascii()


def legal(prefix: str, name: str) -> bool:
    """Whether both can be used."""
    try:
        return bool(check_prefix(prefix) and check_group(name))
    except (TypeError, ValueError):
        return False


@given(prefixes, groups, nodes)
@examples(100)
def test_a_topic_tells_which_group_it_is_of(prefix: str, group: str, node: str) -> None:
    assert topic_group(group_topic(prefix, group)) == group
    assert topic_group(node_topic(prefix, node)) is None
    assert topic_group(queue_name(prefix, group)) is None


@given(groups.filter(lambda prefix: len(prefix) < 70), nodes, st.integers(0, 2**32))
@examples(100)
def test_a_channel_tells_which_node_it_lives_on(prefix: str, node: str, number: int) -> None:
    name = channel_name(prefix, node, number)
    assert check_channel(name) == name
    assert channel_node(name) == node
    assert channel_node(check_channel(prefix)) is None
    assert name != channel_name(prefix, node, number + 1) != channel_name(prefix, new_node(), 1)


@given(prefixes, groups, groups.filter(lambda name: len(name) < 70))
@examples(60)
def test_every_legal_name_works_from_end_to_end(prefix: str, name: str, kind: str) -> None:
    loop = SteppedLoop()
    broker = MemoryBroker()
    layers = [Layer(broker=broker, prefix=prefix, queues=True) for _ in range(2)]
    stranger = Layer(broker=broker, prefix=f"{prefix[:62]}_", queues=True)
    here, there = layers
    member, other = loop.finish(here.new_channel(kind)), loop.finish(stranger.new_channel(kind))
    loop.finish(there.group_add(name, member))
    loop.finish(stranger.group_add(name, other))
    loop.finish(there.group_send(name, {**message, "to": "group"}))
    loop.finish(there.send(member, {**message, "to": "channel"}))
    assert [loop.finish(here.receive(member))["to"] for _ in range(2)] == ["group", "channel"]
    loop.finish(there.send(name, {**message, "to": "queue"}))
    assert loop.finish(here.receive(name))["to"] == "queue"
    loop.finish(there.group_discard(name, member))
    loop.finish(there.group_send(name, message))
    assert here.stats()["unread"] == here.stats()["groups"] == 0
    assert (stranger.stats()["groups"], stranger.stats()["unread"]) == (1, 0)
    for layer in (*layers, stranger):
        loop.finish(layer.close())
    loop.end()


names = st.one_of(
    st.text(max_size=5),
    st.text(st.characters(exclude_characters=LEGAL), min_size=1, max_size=3),
    st.text(LEGAL, min_size=100, max_size=120),
    st.builds("{}{}{}".format, locals_, st.characters(exclude_characters=LEGAL), locals_),
    st.none() | st.integers() | st.binary() | st.lists(st.text()),
)


@given(names)
@examples(250)
def test_every_illegal_name_is_refused_by_an_error_that_names_it(name: Any) -> None:
    is_name = isinstance(name, str) and 0 < len(name) < 100
    as_group = is_name and set(name) <= set(LEGAL)
    head, _, tail = name.partition("!") if is_name else ("", "", "")
    as_channel = is_name and bool(head) and set(head + tail) <= set(LEGAL)
    layer = InMemoryChannelLayer()
    for kind, good, calls in (
        (
            "group",
            as_group,
            [
                lambda: layer.group_send(name, message),
                lambda: layer.group_add(name, "a!1"),
                lambda: layer.group_discard(name, "a!1"),
            ],
        ),
        (
            "channel",
            as_channel,
            [
                lambda: layer.send(name, message),
                lambda: layer.group_add("group", name),
                lambda: layer.group_discard("group", name),
            ],
        ),
    ):
        check = {"group": check_group, "channel": check_channel}[kind]
        if good:
            assert check(name) == name
            continue
        for call in calls:
            error = raised_by(call())
            assert isinstance(error, TypeError)
            assert re.match(rf"{kind} name ", str(error))
            assert name == "" or repr(name) in str(error)


@given(names)
@examples(100)
def test_every_illegal_prefix_is_refused_by_an_error_that_names_it(name: Any) -> None:
    good = isinstance(name, str) and 0 < len(name) < 64 and set(name) <= set(LEGAL + ":")
    try:
        assert check_prefix(name) == name
        assert good
    except ValueError as error:
        refusal = str(error)
    else:
        return
    assert not good
    assert repr(name) in refusal
