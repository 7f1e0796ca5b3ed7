"""Sealed layers: who has no key can neither read, change, make nor move what they send."""

import json
import logging
import secrets
from itertools import pairwise
from typing import Any

import pytest

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import Publication, sealing
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.codec import FRAGMENT, OVERHEAD, FrameError, SealError, decode_frame
from fast_channels.layers.in_memory import InMemoryChannelLayer
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.sealing import NONCE, SealedFrames

from .backends import Layer, Make, SmallBackend, frame, node_of
from .waiting import numbers, read_to_fence, receive, soon

OLD, NEW, OTHER = "the old key of this test", "the new key of this test", "a key of strangers"
NODE = "0123456789abcdef"
TOPIC = "fc:g.group"


def frames(*keys: str, plain: bool = False) -> SealedFrames:
    return SealedFrames([key.encode() for key in keys], plain)


def message(n: int) -> dict[str, Any]:
    return {"type": "test.message", "n": n, "secret": "attack at dawn"}


async def member(layer: Layer, group: str = "group") -> str:
    """Return a channel that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    return channel


async def sent(sender: Layer, n: int = 1) -> bytes:
    """Return the payload that a message to the group became."""
    await sender.group_send("group", message(n))
    return sender.backend.publications[-1].payload


# --- a frame ----------------------------------------------------------------------------------


def test_a_sealed_frame_opens_to_what_was_sealed() -> None:
    payload = frames(NEW).encode(TOPIC, NODE, 7, 3, b"body", FRAGMENT)
    flags, opened = frames(NEW).decode(TOPIC, payload)
    assert (flags, opened.node, opened.seq, opened.prev, opened.body) == (
        FRAGMENT,
        NODE,
        7,
        3,
        b"body",
    )


def test_a_change_of_any_bit_is_refused() -> None:
    reader = frames(NEW)
    payload = frames(NEW).encode(TOPIC, NODE, 300, 299, b"the body that was sealed")
    assert reader.decode(TOPIC, payload)[1].body == b"the body that was sealed"
    for index in range(len(payload)):
        for bit in range(8):
            changed = bytearray(payload)
            changed[index] ^= 1 << bit
            with pytest.raises(FrameError):
                reader.decode(TOPIC, bytes(changed))


def test_a_frame_cut_anywhere_is_refused() -> None:
    payload = frames(NEW).encode(TOPIC, NODE, 7, 3, b"body")
    for length in range(len(payload)):
        with pytest.raises(FrameError):
            frames(NEW).decode(TOPIC, payload[:length])


@pytest.mark.parametrize("topic", ["fc:g.grou", "fc:g.group2", "fc:n.group", "ex:g.group", ""])
def test_a_frame_replayed_on_another_topic_is_refused(topic: str) -> None:
    payload = frames(NEW).encode(TOPIC, NODE, 7, 3, b"body")
    with pytest.raises(SealError, match="opens with none of the 1 encryption_keys"):
        frames(NEW).decode(topic, payload)


def test_parts_of_two_frames_do_not_make_a_third() -> None:
    writer, reader = frames(NEW), frames(NEW)
    one, two = (writer.encode(TOPIC, NODE, seq, seq - 1, b"body") for seq in (5, 6))
    cut = len(one) - len(b"body") - 28
    with pytest.raises(SealError):
        reader.decode(TOPIC, one[:cut] + two[cut:])


def test_any_key_opens_and_the_first_one_seals() -> None:
    rotated = frames(NEW, OLD)
    from_old = frames(OLD).encode(TOPIC, NODE, 1, 0, b"old")
    assert rotated.decode(TOPIC, from_old)[1].body == b"old"
    from_rotated = rotated.encode(TOPIC, NODE, 1, 0, b"new")
    assert frames(NEW).decode(TOPIC, from_rotated)[1].body == b"new"
    with pytest.raises(SealError):
        frames(OLD).decode(TOPIC, from_rotated)


def test_a_node_is_opened_with_its_own_key_whoever_wrote_before() -> None:
    reader = frames(NEW, OLD)
    other = "f" * 16
    for seq in range(1, 4):
        for key, node in ((OLD, NODE), (NEW, other)):
            payload = frames(key).encode(TOPIC, node, seq, seq - 1, b"body")
            assert reader.decode(TOPIC, payload)[1].node == node


def test_no_nonce_comes_twice() -> None:
    writer = frames(NEW)
    sealed = [decode_frame(writer.encode(TOPIC, NODE, 1, 0, b"body"), 1)[1].body for _ in range(50)]
    assert len({body[:NONCE] for body in sealed}) == 50
    assert all(b"body" not in body for body in sealed)


def test_two_nodes_do_not_seal_with_one_key() -> None:
    """A random nonce is safe for a number of frames of one key, so that number is a node's."""
    one, two = (sealing._cipher(NEW.encode(), node) for node in (NODE, "f" * 16))
    assert one.encrypt(bytes(NONCE), b"body", None) != two.encrypt(bytes(NONCE), b"body", None)


def test_sealing_adds_no_more_than_the_overhead() -> None:
    largest = 2**64 - 1
    payload = frames(NEW).encode("x" * 165, "f" * 16, largest, largest, bytes(70_000))
    assert len(payload) <= 70_000 + OVERHEAD


def test_unsealed_frames_are_read_where_plain_is_accepted() -> None:
    payload = frame(message(1))
    assert frames(NEW, plain=True).decode(TOPIC, payload)[1].node == NODE
    with pytest.raises(SealError, match="not sealed"):
        frames(NEW).decode(TOPIC, payload)


def test_strangers_do_not_push_known_nodes_out() -> None:
    reader = frames(NEW)
    reader.decode(TOPIC, frames(NEW).encode(TOPIC, NODE, 1, 0, b"body"))
    for number in range(3):
        with pytest.raises(SealError):
            reader.decode(TOPIC, frames(OTHER).encode(TOPIC, f"{number:016}", 1, 0, b"body"))
    assert list(reader._opening) == [NODE]


# --- a layer ----------------------------------------------------------------------------------


async def test_what_is_sealed_arrives_and_the_broker_cannot_read_it(make: Make) -> None:
    here = make(encryption_keys=[NEW])
    there = make(broker=here.broker, encryption_keys=[NEW])
    channel = await member(there)
    payload = await sent(here)
    await here.send(channel, message(2))
    assert numbers(await receive(there, channel, 2)) == [1, 2]
    for publication in here.backend.publications:
        assert b"attack at dawn" not in publication.payload
        assert b"test.message" not in publication.payload
    assert payload[1] == 1


async def test_large_messages_are_sealed_piece_by_piece(make: Make) -> None:
    here = make(SmallBackend, encryption_keys=[NEW])
    there = make(SmallBackend, broker=here.broker, encryption_keys=[NEW])
    channel = await member(there)
    await here.group_send("group", {"type": "test.message", "n": 1, "text": "dawn" * 5_000})
    (got,) = await receive(there, channel, 1)
    assert got["text"] == "dawn" * 5_000
    assert not any(b"dawn" in publication.payload for publication in here.backend.publications)


async def test_channels_of_other_processes_are_added_by_sealed_control_messages(make: Make) -> None:
    here = make(encryption_keys=[NEW])
    there = make(broker=here.broker, encryption_keys=[NEW])
    channel = await there.new_channel()
    await here.group_add("group", channel)
    await here.group_send("group", message(1))
    assert numbers(await receive(there, channel, 1)) == [1]
    assert all(p.payload[1] & 1 for p in here.backend.publications + there.backend.publications)


async def test_jobs_of_worker_queues_are_sealed(make: Make) -> None:
    layer = make(queues=True, encryption_keys=[NEW])
    await layer.send("jobs", message(1))
    (job,) = layer.broker.queue("fc:q.jobs").jobs
    assert b"attack at dawn" not in job.payload
    assert numbers(await receive(layer, "jobs", 1)) == [1]


@pytest.mark.parametrize("queue", ["fc:q.jobs", "fc:q.other"])
async def test_a_job_from_elsewhere_is_refused_and_the_next_one_is_taken(
    make: Make, queue: str
) -> None:
    layer = make(queues=True, encryption_keys=[NEW])
    await layer.open()
    session_frames = frames(OTHER if queue == "fc:q.jobs" else NEW)
    forged = session_frames.encode(queue, NODE, 0, 0, b"")
    layer.broker.queue("fc:q.jobs").put(forged, 60, 100)
    await layer.send("jobs", message(2))
    assert numbers(await receive(layer, "jobs", 1)) == [2]
    assert layer.stats()["refused"] == 1


async def unsealed(layer: Layer, *, of: str | None) -> bytes:
    """Return what a process with the key ``of`` (None: none at all) sends to the group."""
    keys = {} if of is None else {"encryption_keys": [of]}
    stranger = Layer(broker=layer.broker, **keys)
    try:
        return await sent(stranger)
    finally:
        await stranger.close()


@pytest.mark.parametrize("key", [None, OTHER], ids=["no key", "another key"])
async def test_frames_of_others_are_refused_counted_and_reported(
    make: Make, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make(encryption_keys=[NEW])
    channel = await member(layer)
    layer.backend.inbox.deliver(TOPIC, await unsealed(layer, of=key))
    assert await soon(read_to_fence(layer, channel)) == []
    assert layer.stats()["refused"] == 2  # the broker delivered the frame, too
    with caplog.at_level(logging.WARNING):
        await layer.close()
    assert "2 refused" in caplog.text


async def test_plain_json_is_refused_unless_asked_for(make: Make) -> None:
    plain = json.dumps(message(1)).encode()
    strict, lax = (make(encryption_keys=[NEW], accept_plain=accept) for accept in (False, True))
    for layer, wanted in ((strict, []), (lax, [1])):
        channel = await member(layer)
        layer.backend.inbox.deliver(TOPIC, plain)
        assert numbers(await soon(read_to_fence(layer, channel))) == wanted
    assert (strict.stats()["refused"], lax.stats()["refused"]) == (1, 0)


async def test_a_layer_that_accepts_plain_still_seals(make: Make) -> None:
    layer = make(encryption_keys=[NEW], accept_plain=True)
    assert b"attack at dawn" not in await sent(layer)


async def test_unsealed_control_messages_change_no_membership(make: Make) -> None:
    layer = make(encryption_keys=[NEW])
    channel = await layer.new_channel()
    control = {"type": "add", "group": "group", "channel": channel, "number": 1}
    layer.backend.inbox.deliver(node_of(channel), frame(control, "!"))
    await layer.group_send("group", message(1))
    assert await soon(read_to_fence(layer, channel)) == []
    assert layer.stats()["refused"] == 1


async def test_a_sealed_frame_says_what_a_layer_without_keys_lacks(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    sealed = make(encryption_keys=[NEW])
    layer = make(broker=sealed.broker)
    channel = await member(layer)
    await sent(sealed)
    assert await soon(read_to_fence(layer, channel)) == []
    assert layer.stats()["refused"] == 1
    with caplog.at_level(logging.WARNING):
        await layer.close()
    assert "this layer has no encryption_keys" in caplog.text


async def test_a_refused_frame_is_not_taken_for_one_that_was_seen(make: Make) -> None:
    """Else a forged number would make the layer drop what really comes."""
    here = make(encryption_keys=[NEW])
    layer = make(broker=here.broker, encryption_keys=[NEW])
    channel = await member(layer)
    payload = await sent(here, 1)
    node = decode_frame(payload, 1)[1].node
    layer.backend.inbox.deliver(TOPIC, frame(message(9), node=node, seq=1_000, prev=999))
    await sent(here, 2)
    assert numbers(await receive(layer, channel, 2)) == [1, 2]
    assert layer.stats()["gaps"] == 0


async def test_keys_are_rotated_without_losing_a_message(make: Make) -> None:
    """Old everywhere, then new added behind, then new in front, then old taken away."""
    steps = [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]
    first = make(encryption_keys=steps[0])
    for before, after in pairwise(steps):
        one = make(broker=first.broker, encryption_keys=before)
        two = make(broker=first.broker, encryption_keys=after)
        channels = {layer: await member(layer) for layer in (one, two)}
        await one.group_send("group", message(1))
        await two.group_send("group", message(2))
        for layer, channel in channels.items():
            assert numbers(await receive(layer, channel, 2)) == [1, 2]
            await layer.group_discard("group", channel)


# --- options ----------------------------------------------------------------------------------


def test_the_name_of_django_channels_is_the_same_option() -> None:
    layer = InMemoryChannelLayer(symmetric_encryption_keys=[NEW])
    assert layer.options.encryption_keys == (NEW.encode(),)
    with pytest.raises(TypeError, match="are the same option"):
        InMemoryChannelLayer(symmetric_encryption_keys=[NEW], encryption_keys=[OLD])


def test_the_name_of_django_channels_may_say_none() -> None:
    assert InMemoryChannelLayer(symmetric_encryption_keys=None).options.encryption_keys is None


@pytest.mark.parametrize(
    ("keys", "error", "text"),
    [
        (NEW, TypeError, "a list of keys"),
        (b"0123456789abcdef", TypeError, "a list of keys"),
        (7, TypeError, "got a int"),
        ([], ValueError, "is empty"),
        ([NEW, 7], TypeError, r"encryption_keys\[1\] must be str or bytes, got a int"),
        ([NEW, "hunter2"], ValueError, r"encryption_keys\[1\] has 7 characters, at least 16"),
    ],
)
def test_keys_that_cannot_be_meant_are_refused(
    keys: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        InMemoryChannelLayer(encryption_keys=keys)
    assert "hunter2" not in str(caught.value)
    assert NEW not in str(caught.value)


def test_no_key_is_shown() -> None:
    key = secrets.token_urlsafe(32)
    layer = InMemoryChannelLayer(encryption_keys=[key])
    assert key not in f"{layer!r} {layer.options!r}"
    assert key not in f"{LayerOptions(encryption_keys=(key.encode(),))!r}"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fast_channels.layers.sealing", None)
    with pytest.raises(InvalidChannelLayerError, match=r"pip install 'fast-channels\[crypto\]'"):
        BaseChannelLayer(encryption_keys=[NEW])
    assert BaseChannelLayer().options.encryption_keys is None


async def test_a_publication_is_bound_to_its_topic_on_the_way(make: Make) -> None:
    """A broker, or who can write to it, moves a frame of one group to another."""
    here = make(encryption_keys=[NEW])
    there = make(broker=here.broker, encryption_keys=[NEW])
    channel = await member(there, "admins")
    payload = await sent(here)
    await here.backend.publish([Publication("fc:g.admins", payload)])
    assert await soon(read_to_fence(there, channel)) == []
    assert there.stats()["refused"] == 1
