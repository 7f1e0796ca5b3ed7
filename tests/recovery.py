"""How long it takes until messages arrive again, and how that is counted.

It begins when the server is able to answer: it greets who connects, the Sentinels name the new
master, the slot has its new owner, a new connection would be let in. It ends when a message has
arrived. What this machine took away from this process in between, as a heartbeat of the event loop
shows, is not counted: these tests run on machines that are busy.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from tests.waiting import soon

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import ChannelLayer

RECOVERY_SECONDS: Final = 2.0
BEAT: Final = 0.01
_numbers = itertools.count()


@asynccontextmanager
async def recovery() -> AsyncGenerator[None]:
    """What is inside takes less than ``RECOVERY_SECONDS``."""
    late = 0.0

    async def beat() -> None:
        nonlocal late
        while True:
            began = time.monotonic()
            await asyncio.sleep(BEAT)
            late += max(0.0, time.monotonic() - began - 2 * BEAT)

    heart = asyncio.create_task(beat())
    began = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - began
        heart.cancel()
    assert took - late < RECOVERY_SECONDS, f"{took:.2f} s, of which {late:.2f} s were not ours"


async def heard_again(here: ChannelLayer, there: ChannelLayer, channel: str) -> list[Any]:
    """Send to the group ``room`` until something of it arrives; return what came before."""
    first, before = next(_numbers), []

    async def send() -> None:
        while True:
            with suppress(BackendUnavailable):
                await here.group_send("room", {"type": "tick", "n": next(_numbers)})
            await asyncio.sleep(BEAT)

    sending = asyncio.create_task(send())
    try:
        while (message := await soon(there.receive(channel))).get("n", first) <= first:
            before.append(message)
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    return without_ticks(before)


def without_ticks(messages: list[Any]) -> list[Any]:
    """Return the messages that ``heard_again`` did not send."""
    return [message for message in messages if message["type"] != "tick"]
