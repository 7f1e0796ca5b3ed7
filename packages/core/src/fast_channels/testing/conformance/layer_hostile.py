"""Clauses about payloads that no node sent: a broker is not trusted."""

import msgspec

from fast_channels.layers.names import channel_node, group_topic, node_topic
from fast_channels.testing.conformance.clause import clause_unless
from fast_channels.testing.conformance.layer_suite import LayerSuite, message, no_backend, numbers

exploded: list[str] = []
"""Filled by the payload that is a pickle, if anybody loads it."""


def explode(by: str) -> None:
    """Note that the payload was run."""
    exploded.append(by)


PICKLE = b"c%b\nexplode\n(S'by a pickle'\ntR." % __name__.encode()

_ENCODED = msgspec.msgpack.encode
_NODE = "0123456789abcdef"


def _frame(body: object, flags: int = 0, node: object = _NODE) -> bytes:
    return bytes((1, flags)) + _ENCODED([node, 0, 0, 1.0, body])


HOSTILE = {
    "empty": b"",
    "zero bytes": bytes(100),
    "text": b"hello",
    "a pickle": PICKLE,
    "a frame of another version": b"\x7f" + _frame(_ENCODED([]))[1:],
    "a frame with unknown flags": _frame(_ENCODED([]), 0x80),
    "half a frame": _frame(_ENCODED([[_ENCODED(message(1)), None, None, None]]))[:20],
    "a frame from nobody": _frame(_ENCODED([]), node=5),
    "a body of text": _frame("text"),
    "a message that is no dict": _frame(_ENCODED([[_ENCODED([1]), None, None, None]])),
    "a message without a type": _frame(_ENCODED([[_ENCODED({"n": 1}), None, None, None]])),
    "a message of broken bytes": _frame(_ENCODED([[b"\xc1\xff", None, None, None]])),
    "a list of 4 billion": b"\x01\x00\xdd\xff\xff\xff\xff",
    "half a fragment": _frame(b"\x93\x00", 2),
    "json that is broken": b'{"type": "kit.message", ',
    "json without a type": b'{"n": 1}',
    "json that is no unicode": b'{"type": "\xff"}',
    "json that is deep": b'{"type":"x","v":' + b"[" * 240 + b"]" * 240 + b"}",
}


class HostileClauses(LayerSuite):
    """What cannot be read is counted and skipped; they need ``inject``."""

    @clause_unless(no_backend)
    async def test_what_cannot_be_read_is_counted_and_skipped(self) -> None:
        """On a group's topic and on a node's; what comes after it arrives. Usual cause: the
        exception ends the task that reads from the broker, and the process is deaf."""
        here, there = await self.node(), await self.node()
        member = await self.member(there, "room")
        node = channel_node(member) or ""
        topics = group_topic(self.prefix(), "room"), node_topic(self.prefix(), node)
        for number, topic in enumerate(topics):
            for count, (name, payload) in enumerate(HOSTILE.items(), number * len(HOSTILE) + 1):
                await self.inject(here, topic, payload)
                await self.until(
                    lambda count=count: there.stats()["malformed"] >= count,  # type: ignore[misc]
                    f"counting {name} on {topic}",
                )
            await here.group_send("room", message(number))
            assert numbers(await self.fenced(there, member, here)) == [number]
        assert there.stats()["malformed"] == 2 * len(HOSTILE)

    @clause_unless(no_backend)
    async def test_nothing_from_the_broker_is_unpickled(self) -> None:
        """Usual cause: pickle as the codec, or as its fallback: whoever reaches the broker runs
        code in every process."""
        here, there = await self.node(), await self.node()
        member = await self.member(there, "room")
        exploded.clear()
        node = channel_node(member) or ""
        for topic in (group_topic(self.prefix(), "room"), node_topic(self.prefix(), node)):
            for payload in (PICKLE, _frame(PICKLE), _frame(_ENCODED([[PICKLE, None, None, None]]))):
                await self.inject(here, topic, payload)
        await self.fenced(there, member, here)
        assert exploded == []

    @clause_unless(no_backend)
    async def test_plain_json_is_a_message_of_the_group(self) -> None:
        """So a trigger or another program can send; never to a node's topic. Usual cause: the
        codec takes its own frames only."""
        here, there = await self.node(), await self.node()
        member = await self.member(there, "room")
        plain = b'{"type": "kit.message", "n": 7, "text": "gr\\u00fcn"}'
        await self.inject(here, node_topic(self.prefix(), channel_node(member) or ""), plain)
        await self.inject(here, group_topic(self.prefix(), "room"), plain)
        assert await self.receive(there, member) == [message(7, text="grün")]
        assert await self.fenced(there, member, here) == []
