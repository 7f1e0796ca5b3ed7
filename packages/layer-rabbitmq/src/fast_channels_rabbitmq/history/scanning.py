"""Reading a part of a stream: a consumer for each time, which is gone after it."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from fast_channels.exceptions import BackendUnavailable
from fast_channels_rabbitmq.channel import Delivery
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.ids import Ids
from fast_channels_rabbitmq.history.marks import Gone
from fast_channels_rabbitmq.history.records import BITS, sections
from fast_channels_rabbitmq.history.streams import Acknowledging, consume, offset_of

PAGE_CREDIT: Final = 32
"""Messages that the server sends ahead for a page, which a few may fill."""

WIDE_CREDIT: Final = 500
SCAN_SECONDS: Final = 4.0


class Stored(NamedTuple):
    """An entry of a topic in its stream, perhaps the second one with its id."""

    position: int
    payload: bytes
    known: bytes | None
    keep: int
    ends: float
    seen: int


async def scan(
    connection: Connection,
    name: str,
    start: "int | str | datetime",
    end: int,
    take: Callable[[int, bytes], bool],
    seconds: float = SCAN_SECONDS,
    credit: int = WIDE_CREDIT,
) -> None:
    """Call ``take`` with the offset and body of each message from ``start`` to ``end``, which is
    there; until it returns False."""
    if isinstance(start, int) and start > end:
        return
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def came(delivery: Delivery) -> None:
        if done.done():
            return
        offset = offset_of(delivery)
        if offset > end or not take(offset, delivery.body) or offset == end:
            done.set_result(None)
        else:
            acknowledge(delivery.tag)

    def ended(cause: Exception) -> None:
        if not done.done():
            done.set_exception(Gone(f"{cause}"))

    early: list[Delivery] = []
    channel = await consume(connection, name, start, credit, early.append)
    acknowledge = Acknowledging(channel)
    try:
        if channel.ended is not None:
            raise Gone(f"{channel.ended}")
        channel.on_delivery, channel.on_ended = came, ended
        for delivery in early:
            came(delivery)
        async with asyncio.timeout(seconds):
            await done
    except TimeoutError:
        raise BackendUnavailable(
            f"{connection.name} did not send all of stream {name!r} within {seconds:g} s"
        ) from None
    finally:
        channel.close()


async def ids_between(
    connection: Connection, name: str, start: "int | datetime", stop: int, seconds: float
) -> Ids:
    """Return the ids in the messages from ``start`` to before ``stop``."""
    found = Ids(start if isinstance(start, int) else stop)

    def take(offset: int, body: bytes) -> bool:
        if offset >= stop:
            return False
        found.since = min(found.since, offset)
        for section in sections(body):
            if section.has_ids:
                for place, known, _ in section.entries():
                    if known:
                        position = (offset << BITS) + place + 1
                        found.note(known, position, section.ends, section.seen)
        return True

    await scan(connection, name, start, stop, take, seconds)
    return found


def stored(offset: int, body: bytes, topic: str) -> list[Stored]:
    """Return what a message has of the topic."""
    return [
        Stored(
            (offset << BITS) + place + 1, payload, known, section.keep, section.ends, section.seen
        )
        for section in sections(body)
        if section.topic == topic
        for place, known, payload in section.entries()
    ]
