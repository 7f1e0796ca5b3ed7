"""Unread messages expire, by the receiver's own clock, and cost nobody anything else."""

import asyncio
import time

import msgspec
import pytest

from fast_channels.layers.codec import Entry, encode_entries
from fast_channels.layers.messages import encode_message

from .backends import Layer, Make, node_of
from .waiting import message, numbers, past, read_to_fence, receive, soon, until

EXPIRY = 0.05


async def arrived(layer: Layer) -> None:
    """Return when everything sent has come back."""
    await until(lambda: layer.stats()["received"] == layer.stats()["published"])


async def test_an_unread_message_expires_and_is_counted(make: Make) -> None:
    layer = make(expiry=EXPIRY)
    channel = await layer.new_channel()
    await layer.send(channel, message(0))
    await layer.send(channel, message(1))
    await arrived(layer)
    await past(time.monotonic() + EXPIRY)
    assert numbers(await read_to_fence(layer, channel)) == []
    assert layer.stats()["expired"] == 2


async def test_an_expired_message_in_front_hides_none_behind_it(make: Make) -> None:
    layer = make(expiry=EXPIRY)
    channel = await layer.new_channel()
    await layer.send(channel, message(0))
    await arrived(layer)
    await past(time.monotonic() + EXPIRY)
    await layer.send(channel, message(1))
    assert numbers(await receive(layer, channel, 1)) == [1]


async def test_an_expired_message_costs_no_membership(make: Make) -> None:
    expiry = 10 * EXPIRY  # the later ones have to be read within it, on a busy machine, too
    layer = make(expiry=expiry)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", message(0))
    await arrived(layer)
    await past(time.monotonic() + expiry)
    await layer.group_send("group", message(1))
    assert numbers(await receive(layer, channel, 1)) == [1]
    await layer.group_send("group", message(2))
    assert numbers(await receive(layer, channel, 1)) == [2]


async def test_the_expiry_of_the_receiver_counts_not_that_of_the_sender(make: Make) -> None:
    hasty = make(expiry=EXPIRY)
    patient = make(expiry=60.0, broker=hasty.broker)
    of_hasty, of_patient = await hasty.new_channel(), await patient.new_channel()
    await hasty.send(of_patient, message(0))
    await patient.send(of_hasty, message(1))
    await until(lambda: hasty.stats()["unread"] == patient.stats()["unread"] == 1)
    await past(time.monotonic() + EXPIRY)
    assert numbers(await receive(patient, of_patient, 1)) == [0]
    assert await read_to_fence(hasty, of_hasty, sender=patient) == []


@pytest.mark.parametrize("years", [-30, 30])
async def test_the_clock_of_the_sender_means_nothing(make: Make, years: int) -> None:
    layer = make(expiry=1.0)
    channel = await layer.new_channel()
    body = encode_entries([Entry(encode_message(message(0), 1_000), channel)])
    sent_at = time.time() + years * 365 * 86_400
    frame = b"\x01\x00" + msgspec.msgpack.encode(["another", 1, 0, sent_at, body])
    layer.backend.inbox.deliver(node_of(channel), frame)
    assert numbers(await receive(layer, channel, 1)) == [0]


async def test_a_reader_that_waits_gets_a_message_however_long_it_waited(make: Make) -> None:
    layer = make(expiry=EXPIRY)
    channel = await layer.new_channel()
    reading = asyncio.create_task(layer.receive(channel))
    await past(time.monotonic() + 2 * EXPIRY)
    await layer.send(channel, message(0))
    assert (await soon(reading))["n"] == 0


async def test_expiry_is_reported_as_a_loss(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    layer = make(expiry=EXPIRY)
    channel = await layer.new_channel()
    await layer.send(channel, message(0))
    await arrived(layer)
    await past(time.monotonic() + EXPIRY)
    await read_to_fence(layer, channel)
    await layer.close()
    assert f"1 expired ({channel})" in caplog.text


async def test_a_gap_message_does_not_expire(make: Make) -> None:
    layer = make(expiry=EXPIRY, gaps=True)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    layer.backend.inbox.gap(OSError("lost"))
    await past(time.monotonic() + EXPIRY)
    assert await receive(layer, channel, 1) == [{"type": "channels.gap", "group": "group"}]
