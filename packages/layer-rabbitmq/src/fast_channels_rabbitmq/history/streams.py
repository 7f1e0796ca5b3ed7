"""The streams that keep the entries, and which history each is.

The epoch is an argument of the stream: a limit of its length, too large to matter and different
each time. AMQP tells nobody the arguments of a queue, but who declares one with others is refused,
and told what they are. So a stream that was deleted and made again is known to be another one.
"""

import asyncio
import logging
import math
import random
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from zlib import crc32

from pamqp import commands

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError
from fast_channels_rabbitmq.channel import (
    NOT_FOUND,
    PRECONDITION_FAILED,
    Channel,
    ConnectionLost,
    Delivery,
    Refused,
)
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.publisher import answered, asked

logger = logging.getLogger("fast_channels.rabbitmq")

SHARDS: Final = 8
"""Streams for the topics of one prefix."""

STEP_SECONDS: Final = 2.0
SEGMENT_BYTES: Final = 16_777_216
"""A stream drops whole files of this size, when the newest entry in them is old enough."""

SLACK_SECONDS: Final = 3_600
"""What a stream keeps longer than ``ttl``: the end of a topic is known by what came last."""

_EPOCH: Final = "x-max-length-bytes"
_LARGE: Final = 1 << 60
_MINUTES: Final = 24
"""Bits of the epoch that say how many minutes the stream keeps what it has."""

_REFUSED: Final = re.compile(
    r"inequivalent arg '([\w-]+)'.* but current is (?:the value )?'([^']*)'"
)
_DISABLED: Final = "feature flag is disabled"
_OFFSET: Final = b"\x0fx-stream-offsetl"


def name_of(exchange: str, shard: object) -> str:
    """Return the name of a stream."""
    return f"{exchange}:h.{shard}"


def shard_of(topic: str) -> int:
    """Return which stream has the topic."""
    return crc32(topic.encode()) % SHARDS


def offset_of(delivery: Delivery) -> int:
    """Return where in its stream a message is."""
    at = delivery.head.find(_OFFSET) + len(_OFFSET)
    return int.from_bytes(delivery.head[at : at + 8], "big")


def is_missing(error: Exception) -> bool:
    """Return whether it says that there is no such queue; not, that it has not started yet."""
    return isinstance(error, Refused) and error.code == NOT_FOUND and "no queue" in f"{error}"


async def epoch_of(connection: Connection, name: str, seconds: float) -> tuple[str, bool]:
    """Return the epoch of the stream, which is there from now on, and whether it was made now.

    A new one keeps what is younger than ``seconds``. Raises ``InvalidChannelLayerError`` where it
    is no stream of ours, or the server makes no streams.
    """
    minutes = min(math.ceil((seconds + SLACK_SECONDS) / 60), (1 << _MINUTES) - 1)
    mine = _LARGE + (random.getrandbits(60 - _MINUTES) << _MINUTES) + minutes
    arguments: dict[str, Any] = {
        "x-queue-type": "stream",
        "x-max-age": f"{minutes * 60}s",
        "x-stream-max-segment-size-bytes": SEGMENT_BYTES,
        _EPOCH: mine,
    }
    for _ in arguments:
        declare = commands.Queue.Declare(0, name, durable=True, arguments=arguments)
        try:
            await asked(connection, declare, seconds=STEP_SECONDS)
            return f"{mine - _LARGE:x}", True
        except Refused as error:
            if error.code != PRECONDITION_FAILED:
                raise
            found = _REFUSED.search(f"{error}")
            what, there = found.groups() if found is not None else ("", "")
            number = int(there) if there.isdigit() else 0
            if what == _EPOCH and number >= _LARGE:
                _compare(name, number, seconds)
                return f"{number - _LARGE:x}", False
            if what not in ("x-max-age", "x-stream-max-segment-size-bytes"):
                raise InvalidChannelLayerError(
                    f"the queue {name!r}, where history is kept, is none of our streams ({error}); "
                    "delete it, or register the layer with another prefix"
                ) from error
            arguments[what] = number or there
        except ConnectionLost as error:
            if _DISABLED not in f"{error}":
                raise
            raise InvalidChannelLayerError(
                f"{connection.name} has streams disabled, which history needs; run: "
                "rabbitmqctl enable_feature_flag stream_queue"
            ) from error
    raise BackendUnavailable(f"{connection.name} refuses the stream {name!r}")


def _compare(name: str, number: int, seconds: float) -> None:
    kept = (number & ((1 << _MINUTES) - 1)) * 60
    if kept < seconds:
        logger.warning(
            "stream %r drops entries after %d s, and a history of %g s is asked of it; delete the "
            "stream to have it made anew",
            name,
            kept,
            seconds,
        )


async def consume(
    connection: Connection,
    name: str,
    start: "int | str | datetime",
    credit: int,
    came: Callable[[Delivery], None],
) -> Channel:
    """Return a channel on which the stream's messages come, beginning at an offset or time.

    What is published after it returns comes for ``"next"``. The channel ends when the stream does.
    """
    channel = connection.channel()
    channel.on_delivery = came

    def cancelled(_: str) -> None:
        tell, channel.on_ended = channel.on_ended, None
        channel.close()
        if tell is not None:
            tell(ConnectionLost(f"stream {name!r} was deleted"))

    channel.on_cancelled = cancelled
    channel.order(commands.Basic.Qos(prefetch_count=credit))
    begin = commands.Basic.Consume(0, name, "stream", arguments={"x-stream-offset": start})
    try:
        await answered(channel.ask(begin), connection, STEP_SECONDS)
    except BaseException:
        channel.close()
        raise
    return channel


async def delete(connection: Connection, name: str) -> None:
    """The stream is gone, if there was one."""
    try:
        await asked(connection, commands.Queue.Delete(0, name), seconds=STEP_SECONDS)
    except Refused as error:
        if not is_missing(error):
            raise


class Acknowledging:
    """Acknowledges what came on a channel, once in a turn of the event loop."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tag = 0

    def __call__(self, tag: int) -> None:
        """All up to there is done with; the server may send more."""
        if not self._tag:
            asyncio.get_running_loop().call_soon(self._tell)
        self._tag = tag

    def _tell(self) -> None:
        self._channel.tell(commands.Basic.Ack(self._tag, True))
        self._tag = 0
