"""What travels through the exchange: many groups in one message, and to whom."""

import asyncio
import socket
import time

from hypothesis import example, given
from hypothesis import strategies as st
from tests.waiting import read_until, soon

from fast_channels.layers import Publication
from fast_channels_rabbitmq import RabbitMQBackend
from fast_channels_rabbitmq.batches import LARGEST, MARK, MOST_TOPICS, pack, split, unpack
from fast_channels_rabbitmq.server import Hosts
from fast_channels_rabbitmq.urls import parse_servers

from .conftest import Make, overhearing
from .servers import Node

LAST = {"type": "last"}
TOPICS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=165)
PAYLOADS = st.binary(max_size=3_000) | st.binary(max_size=20).map(MARK.__add__)
LIMIT = 10_000


@example([Publication(f"room-{number}", b"x" * 1_000) for number in range(60)])
@given(st.lists(st.builds(Publication, TOPICS, PAYLOADS), min_size=1, max_size=250))
def test_what_travels_together_arrives_whole_and_in_order(batch: list[Publication]) -> None:
    came: list[Publication] = []
    for together in split(batch, LIMIT):
        some = batch[together.start : together.stop]
        key, properties, body = pack(some)
        assert key == some[0].topic
        assert len(some) <= MOST_TOPICS
        assert len(some) == 1 or len(body) <= LIMIT
        assert len(some) == 1 or all(len(payload) <= LARGEST for _, payload in some)
        for topic in {topic for topic, _ in some} - {key}:
            assert topic.encode() in properties
        if body.startswith(MARK):
            found = unpack(body)
            assert found is not None
            came += found
        else:
            came.append(Publication(key, body))
    assert came == batch


@given(st.binary(max_size=200))
def test_a_damaged_body_is_taken_for_none(rest: bytes) -> None:
    found = unpack(MARK + rest)
    assert (
        found is None
        or b"".join(
            len(topic).to_bytes() + len(payload).to_bytes(4) + topic.encode() + payload
            for topic, payload in found
        )
        == rest
    )


async def test_what_is_sent_to_many_groups_at_once_is_few_messages(
    node: Node, make: Make, prefix: str
) -> None:
    here, one, other = (make(node.url) for _ in range(3))
    first, second = await one.new_channel(), await other.new_channel()
    for number in range(50):
        layer, channel = ((one, first), (other, second))[number % 2]
        await layer.group_add(f"room-{number}", channel)
    await here.open()
    async with overhearing(node, prefix, 50) as sent:
        await asyncio.gather(
            *(here.group_send(f"room-{n}", {"type": "hello", "n": n}) for n in range(50))
        )
        await here.group_send("room-0", LAST)
        await here.group_send("room-1", LAST)
        came = await read_until(one, first, LAST)
        assert [message["n"] for message in came] == list(range(0, 50, 2))
        came = await read_until(other, second, LAST)
        assert [message["n"] for message in came] == list(range(1, 50, 2))
        # The first goes at once, the others together; and the two that came last.
        assert await sent() == 4


async def test_groups_that_are_joined_at_once_are_all_joined_when_that_returns(
    node: Node, make: Make
) -> None:
    layer = make(node.url)
    channel = await layer.new_channel()
    await asyncio.gather(*(layer.group_add(f"room-{n}", channel) for n in range(1_500)))
    other = make(node.url)
    await other.open()
    for number in (0, 499, 500, 1_001, 1_499):  # around each answer
        await other.group_send(f"room-{number}", {"type": "hello", "n": number})
        assert await soon(layer.receive(channel)) == {"type": "hello", "n": number}


async def test_a_dead_host_does_not_use_up_the_time_of_the_others(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system connects, nobody answers
        dead = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        hosts = Hosts(parse_servers([dead, node.url]))
        for _ in range(2):  # it begins with either
            began = time.monotonic()
            connection = await hosts.connect(4.0)
            assert time.monotonic() - began < 3.5
            await connection.close()


class Recorder:
    """An inbox that keeps what comes."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes]] = []
        self.last = asyncio.Event()

    def deliver(self, topic: str, payload: bytes, *_: object) -> None:
        self.came.append((topic, payload))
        if payload == b"last":
            self.last.set()

    def gap(self, *_: object) -> None: ...


async def test_of_what_travels_together_only_what_is_subscribed_is_delivered(
    node: Node, prefix: str
) -> None:
    inbox = Recorder()
    backend = RabbitMQBackend(parse_servers(node.url), exchange=prefix)
    await backend.open(inbox)
    try:
        await backend.subscribe(["b", "c"])
        await backend.unsubscribe(["c"])
        await backend.publish([Publication(name, name.encode()) for name in "abcb"])
        await backend.publish([Publication("b", b"last")])
        await soon(inbox.last.wait())
        assert inbox.came == [("b", b"b"), ("b", b"b"), ("b", b"last")]
    finally:
        await backend.close()
