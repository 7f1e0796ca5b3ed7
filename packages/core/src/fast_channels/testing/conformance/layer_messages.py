"""Clauses about messages: what may be sent, what arrives, and who shares it."""

import copy
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, cast

import pytest

from fast_channels.exceptions import MessageTooLarge
from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.layer_suite import LayerSuite, Message, message

EVERY_VALUE: Final[dict[str, Any]] = {
    "text": ["", "plain", "\x00\x7f", "größer", "日本語", "👩‍👩‍👧", "\u2028\ufeff\U0010ffff"],
    "bytes": [b"", bytes(range(256)), b"\xff\xfe"],
    "none and bools": [None, True, False],
    "ints": [0, 1, -1, 255, -129, 65_536, 2**31, -(2**31) - 1, 2**53 + 1, -(2**63), 2**64 - 1],
    "floats": [0.0, -0.0, 1.0, 0.1, -1e-308, 1.7976931348623157e308, float("inf"), 5e-324],
    "lists": [[], [[]], [1, "1", b"1", 1.0, True, None], [[[["deep"]]]]],
    "dicts": [{}, {"": ""}, {"a": {"b": {"c": [{"d": b"e"}]}}}, {"ключ": 1, "type": "inner"}],
}

NEVER_SENT: Final[tuple[Any, ...]] = (
    datetime(2026, 1, 2, tzinfo=UTC),
    uuid.UUID(int=7),
    Decimal("1.10"),
    {1, 2},
    frozenset({1}),
    object(),
    1j,
    2**64,
    -(2**63) - 1,
)

BAD_NAMES: Final[tuple[Any, ...]] = (
    "a b",
    "grün",
    "a:b",
    "a/b",
    "a\n",
    "*",
    "x" * 100,
    "",
    None,
    5,
    b"bytes",
)


class MessageClauses(LayerSuite):
    """What arrives equals what was sent, or the send fails."""

    @clause
    async def test_a_message_arrives_equal_to_what_was_sent(self) -> None:
        """Type for type: 1, 1.0 and True are three. Usual cause: JSON on one path, which has no
        bytes, or a codec that makes floats of large ints."""
        here, there = await self.node(), await self.node()
        for node in (here, there):
            channel = await self.member(node, "room")
            for name, value in EVERY_VALUE.items():
                sent = message(1, value=value)
                await here.send(channel, sent)
                await here.group_send("room", sent)
                for got in await self.receive(node, channel, 2):
                    assert _typed(got) == _typed(sent), name
            await node.group_discard("room", channel)

    @clause
    async def test_a_tuple_arrives_as_a_list(self) -> None:
        """Also where sender and receiver share a process. Usual cause: a message that stays in
        the process is handed over as it is."""
        node = await self.node()
        channel = await node.new_channel()
        await node.send(channel, message(1, pair=(1, (2, 3))))
        assert _typed(await self.receive(node, channel)) == _typed([message(1, pair=[1, [2, 3]])])

    @clause
    async def test_keys_that_are_no_text_arrive_equal_or_are_refused(self) -> None:
        """Usual cause: JSON makes text of them."""
        here, there = await self.node(), await self.node()
        channel = await there.new_channel()
        for key in (7, 1.5, None, b"key", True, (1, 2)):
            sent = message(1, table={key: "value"})
            try:
                await here.send(channel, sent)
            except TypeError:
                continue
            assert _typed(await self.receive(there, channel)) == _typed([sent]), key

    @clause
    async def test_what_cannot_be_sent_is_refused_before_any_io(self) -> None:
        """``TypeError`` that names the key; ``ValueError`` without a ``type``; the layer does not
        even open. Usual cause: a codec with a fallback (``default=str``, pickle), or the check
        comes after connecting."""
        node = await self.node()
        channel = await self.member(node, "room")
        layer = self.unopened()
        before = dict(layer.stats())
        for send in (_to(layer.send, channel), _to(layer.group_send, "room")):
            for value in NEVER_SENT:
                with pytest.raises(TypeError, match="culprit"):
                    await send(message(1, culprit=value))
                with pytest.raises(TypeError, match="culprit"):
                    await send(message(1, deep=[{"culprit": (value,)}]))
            for other in (None, "text", [("type", "x")], b"{}", 5):
                with pytest.raises(TypeError):
                    await send(other)
            for untyped in ({}, {"n": 1}):
                with pytest.raises(ValueError, match="type"):
                    await send(untyped)
            with pytest.raises(TypeError, match="type"):
                await send({"type": 5})
        assert dict(layer.stats()) == before
        assert await self.fenced(node, channel) == []

    @clause
    async def test_a_bad_name_is_a_type_error_that_names_it(self) -> None:
        """Before any I/O, in every method. Usual cause: the name is checked by the broker, or
        nowhere."""
        layer = self.unopened()
        before = dict(layer.stats())
        good = "specific.0123456789abcdef!1"
        for bad in BAD_NAMES:
            calls: list[Callable[[], Awaitable[object]]] = [
                partial(layer.send, bad, message()),
                partial(layer.receive, bad),
                partial(layer.group_send, bad, message()),
                partial(layer.group_add, bad, good),
                partial(layer.group_add, "room", bad),
                partial(layer.group_discard, bad, good),
                partial(layer.group_discard, "room", bad),
            ]
            for call in calls:
                with pytest.raises(TypeError) as caught:
                    await self.soon(call(), "a call with a bad name")
                assert not bad or repr(bad) in str(caught.value)
            if bad is not None:
                with pytest.raises(TypeError):
                    await layer.group_send("room", message(), exclude=bad)
        with pytest.raises(TypeError):
            await layer.new_channel("a b")
        assert dict(layer.stats()) == before

    @clause
    async def test_every_legal_name_works(self) -> None:
        """The longest, and those that brokers use as wildcards or separators. Usual cause: the
        broker's own rules for names (63 bytes, no empty token between dots) are not mapped."""
        here, there = await self.node(), await self.node()
        names = ["g" * 99, "-", "_", ".", "..", ".a..b.", "A", "a", "0", "group", "a-b", "a_b"]
        channels = [await self.member(there, name) for name in names]
        for number, name in enumerate(names):
            await here.group_send(name, message(number))
        for number, channel in enumerate(channels):
            assert await self.fenced(there, channel, here) == [message(number)], names[number]

    @clause
    async def test_a_message_above_the_largest_size_is_refused(self) -> None:
        """``MessageTooLarge``, before any I/O; just below it passes. Usual cause: the size is not
        checked, and the broker closes the connection."""
        here, there = await self.node(max_message_size=2_000), await self.node()
        channel = await self.member(there, "room")
        await here.send(channel, message(1, text="x" * 1_900))
        await here.group_send("room", message(2, text="x" * 1_900))
        before = dict(here.stats())
        for send in (_to(here.send, channel), _to(here.group_send, "room")):
            with pytest.raises(MessageTooLarge, match="2000"):
                await send(message(3, text="x" * 2_000))
        assert dict(here.stats()) == before
        assert [each["n"] for each in await self.fenced(there, channel, here)] == [1, 2]

    @clause
    async def test_a_message_of_a_megabyte_arrives(self) -> None:
        """Whatever the broker's limit: core cuts, and puts together. Usual cause:
        ``max_payload`` does not say what the broker carries."""
        here, there = await self.node(), await self.node()
        channel = await self.member(there, "room")
        data = bytes(range(256)) * 3_900
        for send in (_to(here.send, channel), _to(here.group_send, "room")):
            await self.soon(send(message(1, data=data)), "the send of a megabyte")
            assert await self.receive(there, channel) == [message(1, data=data)]
        await here.send(channel, message(2))
        assert await self.receive(there, channel) == [message(2)]

    @clause
    async def test_no_receiver_sees_what_another_does_to_a_message(self) -> None:
        """However deep. Usual cause: members of one process share the decoded message, or a
        shallow copy of it."""
        here, there = await self.node(), await self.node()
        sent = message(1, flat="x", list=[1, [2]], dict={"deep": {"er": [3]}})
        untouched = copy.deepcopy(sent)
        members = [(n, await self.member(n, "room")) for n in (here, there) for _ in range(3)]
        await here.group_send("room", sent)
        _spoil(sent)
        for node, channel in members:
            (got,) = await self.receive(node, channel)
            assert got == untouched
            _spoil(got)

    @clause
    async def test_a_sender_may_change_its_message_when_the_send_is_done(self) -> None:
        """Usual cause: the message waits in the process as it is, and is encoded later."""
        node = await self.node()
        channel = await node.new_channel()
        sent = message(0, list=[0])
        for number in range(3):
            sent["n"] = sent["list"][0] = number
            await node.send(channel, sent)
        sent.clear()
        got = await self.receive(node, channel, 3)
        assert got == [message(number, list=[number]) for number in range(3)]


def _to(send: Callable[[str, Any], Awaitable[None]], name: str) -> Callable[[Any], Awaitable[None]]:
    return lambda message: send(name, message)


def _spoil(message: Message) -> None:
    message["n"] = -1
    message["list"][1].append("spoilt")
    message["dict"]["deep"]["er"].clear()
    message["new"] = True


def _typed(value: object) -> tuple[type, object]:
    """Return the value with the type of each part beside it."""
    if isinstance(value, dict):
        items = sorted(cast("dict[object, object]", value).items(), key=repr)
        return dict, [(_typed(key), _typed(item)) for key, item in items]
    if isinstance(value, list):
        return list, [_typed(item) for item in cast("list[object]", value)]
    return type(value), repr(value)
