"""Reads a client's frames no faster than it may send them.

Nothing is lost: what comes faster waits with the server and the client, whose socket fills.
"""

import asyncio

from fast_channels.type_defs import ASGIReceiveCallable, ChannelMessage


def paced(receive: ASGIReceiveCallable, rate: int | None) -> ASGIReceiveCallable:
    """Return ``receive`` with a pause after each ``rate`` events that came within a second."""
    if rate is None:
        return receive
    if rate < 1:
        raise ValueError(f"max_frame_rate must be at least 1 frame a second, or None, got {rate}")
    clock = asyncio.get_running_loop().time
    left, began = rate, clock()

    async def paced_receive() -> ChannelMessage:
        nonlocal left, began
        if left == 0:
            await asyncio.sleep(began + 1.0 - clock())
            left, began = rate, clock()
        left -= 1
        return await receive()

    return paced_receive
