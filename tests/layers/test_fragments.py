"""Messages larger than the broker carries: cut up, put together again, never half delivered."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers.codec import (
    FRAGMENT,
    OVERHEAD,
    Fragment,
    decode_fragment,
    decode_frame,
    encode_fragment,
    encode_frame,
)
from fast_channels.layers.fragments import MAX_BYTES, PIECE_COST, Reassembly, split

from .backends import Make, SmallBackend, SmallLosingBackend, WatchedBackend, frame
from .waiting import numbers, read_to_fence, receive, until

MIB = 1_048_576


def message(n: int, size: int = 0) -> dict[str, Any]:
    return {"type": "test.message", "n": n, "data": bytes(size)}


def pieces(body: bytes, max_payload: int = 512) -> list[Fragment]:
    return [decode_fragment(piece) for piece in split(body, max_payload)]


# --- through a layer --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 300, 352, 353, 512, 1_000, 100_000])
async def test_a_message_of_any_size_passes_a_broker_with_a_small_limit(
    make: Make, size: int
) -> None:
    sender = make(SmallBackend)
    reader = make(SmallBackend, broker=sender.broker)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    await sender.group_send("group", message(1, size))
    await sender.send(channel, message(2, size))
    assert await receive(reader, channel, 2) == [message(1, size), message(2, size)]


async def test_the_largest_message_passes_whatever_the_limit_of_the_broker(make: Make) -> None:
    class Backend(WatchedBackend):
        max_payload = 8_000  # PostgreSQL's

    layer = make(Backend)
    channel = await layer.new_channel()
    overhead = len(frame(message(1))) + 100
    await layer.send(channel, message(1, MIB - overhead))
    assert len((await receive(layer, channel, 1))[0]["data"]) == MIB - overhead
    assert len(layer.backend.published) == 1
    assert max(len(each.payload) for each in layer.backend.publications) <= 8_000
    with pytest.raises(MessageTooLarge, match="more than max_message_size=1048576"):
        await layer.send(channel, message(1, MIB))


async def test_large_and_small_messages_of_several_senders_keep_their_order(make: Make) -> None:
    senders = [make(SmallBackend)]
    senders.append(make(SmallBackend, broker=senders[0].broker))
    reader = make(SmallBackend, broker=senders[0].broker, capacity=1_000)
    channel = await reader.new_channel()
    for group in "ab":
        await reader.group_add(group, channel)
    for n in range(60):
        await senders[n % 2].group_send("ab"[n % 3 % 2], message(n, 1_500 * (n % 4 // 2)))
    got = await read_to_fence(reader, channel, sender=senders[1])
    for number in range(2):
        of_sender = [n for n in numbers(got) if n % 2 == number]
        assert of_sender == list(range(number, 60, 2))
    assert reader.stats()["malformed"] == reader.stats()["gaps"] == 0


async def test_a_full_outbox_packs_no_more_than_the_broker_carries(make: Make) -> None:
    layer = make(SmallBackend)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await asyncio.gather(*(layer.group_send("group", message(n, 90)) for n in range(50)))
    assert numbers(await read_to_fence(layer, channel)) == list(range(50))
    fragments = [each for each in layer.backend.publications if each.payload[1] & FRAGMENT]
    assert not fragments


@pytest.mark.parametrize("lost", [0, 1, 4, 5])
async def test_a_message_with_a_missing_fragment_is_lost_counted_and_told_once(
    make: Make, lost: int
) -> None:
    sender = make(SmallLosingBackend)
    reader = make(broker=sender.broker, gaps=True)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    await sender.group_send("group", message(0))

    def loses(publication: Any) -> bool:
        flags, outer = decode_frame(publication.payload)
        return bool(flags & FRAGMENT) and decode_fragment(outer.body).index == lost

    sender.backend.loses = loses
    await sender.group_send("group", message(1, 1_900))
    last = decode_fragment(decode_frame(sender.backend.publications[-1].payload)[1].body)
    assert (last.index, last.total) == (5, 6)
    await sender.group_send("group", message(2))
    gap = {"type": "channels.gap", "group": "group"}
    assert await read_to_fence(reader, channel, sender=sender) == [message(0), gap, message(2)]
    assert reader.stats()["gaps"] == 1
    if lost:  # a body that never began is seen by its number only
        assert reader.stats()["malformed"] == 1


@pytest.mark.parametrize("told", [False, True])
async def test_the_halves_of_two_messages_are_not_taken_for_one(make: Make, told: bool) -> None:
    """The broker drops the end of one and the beginning of the next, which has as many pieces."""
    sender = make(SmallLosingBackend)
    await sender.open()
    reader = make(broker=sender.broker)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    for n, lost in ((1, {3, 4, 5}), (2, {0, 1, 2})):

        def loses(publication: Any, lost: set[int] = lost) -> bool:
            flags, outer = decode_frame(publication.payload)
            return bool(flags & FRAGMENT) and decode_fragment(outer.body).index in lost

        sender.backend.loses = loses
        await sender.group_send("group", message(n, 1_900))
        assert await read_to_fence(reader, channel) == []
        if told:  # the connection was lost meanwhile: nothing is known of earlier numbers
            reader.backend.inbox.gap(OSError("connection lost"))
    sender.backend.loses = lambda publication: False
    await sender.group_send("group", message(3, 1_900))
    assert await read_to_fence(reader, channel, sender=sender) == [message(3, 1_900)]


async def test_joining_in_the_middle_of_a_message_is_no_loss(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for n, piece in list(enumerate(split(bytes(2_000), 512)))[2:]:
        layer.backend.inbox.deliver(
            "fc:g.group", encode_frame("other", 10 + n, 9 + n, piece, FRAGMENT)
        )
    layer.backend.inbox.deliver("fc:g.group", frame(message(1), node="other", seq=20, prev=15))
    assert numbers(await read_to_fence(layer, channel)) == [1]
    assert layer.stats()["malformed"] == layer.stats()["gaps"] == 0


async def test_a_body_that_is_larger_than_any_message_is_given_up(make: Make) -> None:
    layer = make(max_message_size=10_000)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(200):
        piece = encode_fragment(n, 201, bytes(1_000))
        layer.backend.inbox.deliver("fc:g.group", encode_frame("other", n + 1, n, piece, FRAGMENT))
    assert layer.stats()["malformed"] == 1
    assert await read_to_fence(layer, channel) == []


async def test_a_backend_that_carries_nothing_is_an_error_when_it_is_opened(make: Make) -> None:
    class Tiny(SmallBackend):
        max_payload = 300

    with pytest.raises(ValueError, match="max_payload must be at least 320, got 300"):
        await make(Tiny).open()


# --- the parts --------------------------------------------------------------------------------


@given(st.binary(min_size=400, max_size=5_000), st.integers(2 * OVERHEAD, 600))
def test_every_body_is_put_together_again_from_frames_that_fit(body: bytes, limit: int) -> None:
    reassembly = Reassembly(10_000, lambda topic: None)
    fragments = list(split(body, limit))
    assert all(len(encode_frame("x" * 16, 2**63, 2**63, f, FRAGMENT)) <= limit for f in fragments)
    results = [
        reassembly.add("node", "topic", seq, decode_fragment(piece))
        for seq, piece in enumerate(fragments, 7)
    ]
    assert results[:-1] == [None] * (len(fragments) - 1)
    assert results[-1] == body


class Given:
    """Notes the topics of bodies that were given up."""

    def __init__(self) -> None:
        self.up: list[str] = []

    def note(self, topic: str) -> None:
        self.up.append(topic)


def test_bodies_of_several_nodes_and_topics_are_kept_apart() -> None:
    given_up = Given()
    reassembly = Reassembly(MIB, given_up.note)
    bodies = {
        (node, topic): bytes([i]) * 2_000
        for i, (node, topic) in enumerate((node, topic) for node in "mn" for topic in "ab")
    }
    whole: dict[tuple[str, str], bytes] = {}
    for step in zip(*(pieces(body) for body in bodies.values()), strict=True):
        for key, fragment in zip(bodies, step, strict=True):
            body = reassembly.add(*key, fragment.index, fragment)
            if body is not None:
                whole[key] = body
    assert whole == bodies
    assert given_up.up == []


@pytest.mark.parametrize("missing", range(6))
def test_a_missing_piece_gives_the_body_up_once(missing: int) -> None:
    given_up = Given()
    reassembly = Reassembly(MIB, given_up.note)
    fragments = pieces(bytes(2_000))
    assert len(fragments) == 6
    results = [reassembly.add("n", "t", f.index, f) for f in fragments if f.index != missing]
    assert results == [None] * 5
    reassembly.drop("n", "t")
    assert given_up.up == ([] if missing == 0 else ["t"])


def test_a_new_body_gives_an_unfinished_one_up() -> None:
    given_up = Given()
    reassembly = Reassembly(MIB, given_up.note)
    first, second = pieces(b"a" * 1_000), pieces(b"b" * 1_000)
    reassembly.add("n", "t", 1, first[0])
    results = [reassembly.add("n", "t", 9 + piece.index, piece) for piece in second]
    assert results[-1] == b"b" * 1_000
    assert given_up.up == ["t"]


@pytest.mark.parametrize(
    ("seq", "wrong"),
    [
        (2, Fragment(1, 5, b"")),
        (3, Fragment(2, 4, b"")),
        (10, Fragment(9, 4, b"")),
        (2, Fragment(1, 2**40, b"")),
        (6, Fragment(1, 4, b"of the next body")),
    ],
)
def test_pieces_that_do_not_belong_together_are_given_up(seq: int, wrong: Fragment) -> None:
    given_up = Given()
    reassembly = Reassembly(MIB, given_up.note)
    reassembly.add("n", "t", 1, Fragment(0, 4, b"begin"))
    assert reassembly.add("n", "t", seq, wrong) is None
    assert given_up.up == ["t"]


def test_what_is_held_is_bounded_in_bytes_and_the_oldest_goes_first() -> None:
    given_up = Given()
    reassembly = Reassembly(MAX_BYTES, given_up.note)
    for n in range(5):
        reassembly.add("n", f"t{n}", 1, Fragment(0, 2, bytes(MAX_BYTES // 4 - PIECE_COST)))
    assert given_up.up == ["t0"]
    assert reassembly.add("n", "t4", 2, Fragment(1, 2, b"end")) is not None


def test_what_is_held_is_bounded_in_number_even_when_it_is_empty() -> None:
    """Fragments without bytes are no way to fill the memory."""
    given_up = Given()
    reassembly = Reassembly(MIB, given_up.note)
    empty = MAX_BYTES // PIECE_COST
    for n in range(empty + 10):
        reassembly.add(f"node-{n}", "t", 1, Fragment(0, 2, b""))
    assert len(given_up.up) == 10
    for n in range(2 * empty):
        reassembly.add("one", "t", n, Fragment(n, 2**60, b""))
    assert len(given_up.up) > 10


async def test_fragments_count_as_received_frames_and_one_message(make: Make) -> None:
    layer = make(SmallBackend)
    channel = await layer.new_channel()
    await layer.send(channel, message(1, 2_000))
    await receive(layer, channel, 1)
    await until(lambda: layer.stats()["delivered"] == 1)
    stats = layer.stats()
    assert stats["sent"] == 1
    assert stats["received"] == stats["published"] == 6
