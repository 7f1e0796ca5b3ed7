"""The server's clock. AMQP has no question for it, but a message that expired says when it did."""

import asyncio
import secrets
from typing import Any, Final

from pamqp import commands
from pamqp.header import ContentHeader

from fast_channels.exceptions import BackendUnavailable
from fast_channels_rabbitmq.channel import Delivery, retrieve
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.probe import PROPERTIES
from fast_channels_rabbitmq.publisher import address_of

SECONDS: Final = 1.0
"""For which an answer is waited for."""

WITHIN: Final = 0.5
"""Seconds by which the answer may be wrong: the server tells whole ones."""


async def clock_of(connection: Connection, exchange: str) -> float | None:
    """Return the server's time in seconds since 1970; None where the user may not do what it takes.

    Two queues are made for a moment: what expires in one is moved, with a date, to the other one.
    """
    name = f"{exchange}.{secrets.token_hex(8)}"
    came: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
    expiring: dict[str, Any] = {
        "x-message-ttl": 0,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{name}.expired",
    }
    channel = connection.channel()
    channel.on_delivery = lambda delivery: None if came.done() else came.set_result(delivery)
    channel.on_ended = lambda error: None if came.done() else came.set_exception(error)
    came.add_done_callback(retrieve)
    try:
        async with asyncio.timeout(SECONDS):
            await channel.ask(
                commands.Queue.Declare(0, f"{name}.expired", exclusive=True, nowait=True),
                commands.Queue.Declare(0, name, exclusive=True, arguments=expiring, nowait=True),
                commands.Basic.Consume(0, f"{name}.expired", "clock", no_ack=True),
            )
            where = address_of("", name)
            connection.write(channel.message(channel.publishing(), where, PROPERTIES, b"")[1])
            return _dated(await came)
    except (TimeoutError, BackendUnavailable):
        return None
    finally:
        for queue in (name, f"{name}.expired"):
            channel.tell(commands.Queue.Delete(0, queue, nowait=True))
        channel.close()


def _dated(delivery: Delivery) -> float | None:
    """Return the middle of the second in which the server moved the message."""
    header = ContentHeader()
    header.unmarshal(delivery.head)
    deaths: Any = (header.properties.headers or {}).get("x-death")
    return float(deaths[0]["time"].timestamp()) + WITHIN if deaths else None
