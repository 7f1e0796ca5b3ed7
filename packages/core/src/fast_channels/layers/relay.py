"""Worker queues as members of groups: what the group gets is put into the queue.

A queue belongs to no process, so the session that added it to a group passes the group's messages
on, for as long as that session lasts.
"""

import asyncio
from collections.abc import Awaitable, Callable

from fast_channels.exceptions import ChannelFull
from fast_channels.layers.counters import LossReport
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.messages import encode_message
from fast_channels.layers.options import LayerOptions

Put = Callable[[str, bytes], Awaitable[None]]


class Relays:
    """The queues that one session has put into groups."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: LayerOptions, losses: LossReport
    ) -> None:
        self._loop = loop
        self._options = options
        self._losses = losses
        self._relays: dict[str, tuple[Mailbox, asyncio.Task[None]]] = {}

    def mailbox(self, queue: str, put: Put) -> Mailbox:
        """Return the mailbox whose messages are passed on to the queue."""
        if queue not in self._relays:
            mailbox = Mailbox(queue, self._options, self._losses)
            mailbox.capacity = self._options.queue_capacity_of(queue)
            mailbox.overflow = "drop_newest"  # as a queue does
            task = self._loop.create_task(self._run(mailbox, put), name="fast-channels-relay")
            self._relays[queue] = mailbox, task
        return self._relays[queue][0]

    def left(self, queue: str) -> None:
        """The queue left a group; after the last one nothing is passed on any more."""
        relay = self._relays.get(queue)
        if relay is not None and not relay[0].topics:
            del self._relays[queue]
            relay[1].cancel()

    async def close(self) -> None:
        """No task is left."""
        tasks = [task for _, task in self._relays.values()]
        self._relays.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, mailbox: Mailbox, put: Put) -> None:
        while True:
            message = await mailbox.get()
            if message["type"] == "channels.gap":
                continue  # a fact about this process's connection, not a job
            try:
                await put(mailbox.name, encode_message(message, self._options.max_message_size))
            except ChannelFull as error:
                self._losses.note("overflowed", str(error))
            except Exception as error:  # counted as a loss; the next message is passed on
                self._losses.note("undeliverable", f"queue {mailbox.name}: {error}")
