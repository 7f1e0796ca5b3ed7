"""What a server sends on in another order than it stored it is put right."""

from collections.abc import Collection

import pytest
from tests.waiting import until

from fast_channels.layers import Position
from fast_channels_nats.connection import Message
from fast_channels_nats.kept_order import StoredOrder


class Heard:
    """An inbox, and whom the order hands on to: everything in one list."""

    def __init__(self) -> None:
        self.all: list[int | str] = []

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        raise AssertionError("the order delivers nothing by itself")

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        self.all.extend(f"gap {topic}" for topic in topics or ())

    def hand(self, topic: str, message: Message) -> None:
        self.all.append(int(message.payload))


def stored(sequence: int, before: int, stream: str = "s") -> Message:
    head = f"NATS/1.0\r\nNats-Stream: {stream}\r\nNats-Sequence: {sequence}\r\n"
    head += f"Nats-Last-Sequence: {before}\r\n\r\n"
    return Message(b"h1", b"subject", b"", head.encode(), str(sequence).encode())


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def order(heard: Heard) -> StoredOrder:
    return StoredOrder(heard, heard.hand)


async def test_an_entry_that_was_overtaken_comes_first(order: StoredOrder, heard: Heard) -> None:
    for message in (stored(3, 1), stored(8, 5), stored(9, 8), stored(5, 3), stored(11, 9)):
        order.take("room", message)
    assert heard.all == [3, 5, 8, 9, 11]


async def test_the_first_entry_after_what_was_read_may_be_overtaken_too(
    order: StoredOrder, heard: Heard
) -> None:
    order.begins("room", "s", 1)
    order.take("room", stored(5, 3))
    order.begins("room", "s", 5)
    assert heard.all == []
    order.take("room", stored(3, 1))
    assert heard.all == [3, 5]


async def test_topics_do_not_wait_for_each_other(order: StoredOrder, heard: Heard) -> None:
    for topic, message in (
        *(("a", stored(1, 0)), ("b", stored(2, 0))),
        *(("a", stored(5, 3)), ("b", stored(4, 2)), ("a", stored(3, 1))),
    ):
        order.take(topic, message)
    assert heard.all == [1, 2, 4, 3, 5]


async def test_what_never_comes_is_read_by_members(order: StoredOrder, heard: Heard) -> None:
    for message in (stored(1, 0), stored(9, 7), stored(7, 5)):
        order.take("room", message)
    await until(lambda: len(heard.all) == 4)
    assert heard.all == [1, "gap room", 7, 9]
    order.take("room", stored(10, 9))
    assert heard.all[-1] == 10


async def test_another_stream_waits_for_nothing_of_the_old_one(
    order: StoredOrder, heard: Heard
) -> None:
    for message in (stored(8, 7), stored(11, 10), stored(2, 1, "t"), stored(3, 2, "t")):
        order.take("room", message)
    assert heard.all == [8, 2, 3]


async def test_a_stream_that_was_set_back_is_not_waited_for(
    order: StoredOrder, heard: Heard
) -> None:
    for message in (stored(8, 7), stored(5, 4), stored(6, 5)):
        order.take("room", message)
    assert heard.all == [8, 5, 6]


async def test_nothing_of_a_topic_that_was_left_comes(order: StoredOrder, heard: Heard) -> None:
    order.take("room", stored(1, 0))
    order.take("room", stored(5, 3))
    order.forget(["room"])
    order.take("room", stored(9, 8))
    assert heard.all == [1, 9]
