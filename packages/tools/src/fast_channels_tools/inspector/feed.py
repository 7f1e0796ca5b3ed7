"""The WebSockets behind the page: what all layers count, and what comes to a group.

Law: no layer is looked at, and no message is read, for a page that nobody has open.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any, Final

from fast_channels.consumer import AsyncJsonWebsocketConsumer, Refused, ResumableWebsocketConsumer
from fast_channels.type_defs import ChannelMessage

from .watching import Watching

logger = logging.getLogger("fast_channels.inspector")

EVERY: Final = 1.0
"""Seconds between two looks at the counters."""

ASKED_EVERY: Final = 2.0
"""Seconds between two questions whether a layer hears: each is a message through the broker."""

FLUSHED_EVERY: Final = 0.25
FLUSHED: Final = 25
"""Messages that a page gets at a time; of more, the newest."""

COUNTED_EVERY: Final = 2.0
"""Seconds between two looks at who is present, if that has changed."""

SHOWN_MEMBERS: Final = 12
"""Members whose presence is shown; of the others, how many there are."""

MAX_QUESTION: Final = 1_024
"""Characters of what a page may say."""

_CHANGES: Final = ("presence.join", "presence.leave")
_PING: Final = {"channels": "ping"}


class Feed(AsyncJsonWebsocketConsumer):
    """Sends a page what all layers count, once a second.

    The page says which layer's groups it wants, and with which part of the name.
    """

    channel_layer_alias = None
    max_frame_size = MAX_QUESTION
    watching: Watching

    def __init__(self, watching: Watching) -> None:
        super().__init__()
        self.watching = watching
        self._alias = ""
        self._wanted = ""
        self._health: dict[str, dict[str, Any]] = {}
        self._work: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"kind": "hello", **self.watching.process()})
        self._work = asyncio.create_task(_lasting(self, self._watch()))

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"layer": str(alias), "filter": str(wanted)}:
                self._alias, self._wanted = alias, wanted
                await self._show()
            case _ if content == _PING:
                await self.send_json({"channels": "pong"})
            case _:
                await self.close(1007, "not a question of this page")

    async def disconnect(self, code: int) -> None:
        await _end(self._work)

    async def _watch(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask())
            while True:
                await self._show()
                await asyncio.sleep(EVERY)

    async def _show(self) -> None:
        layers = self.watching.look()
        for each in layers:
            each["health"] = self._health.get(each["alias"])
        known = [each["alias"] for each in layers]
        alias = self._alias if self._alias in known else next(iter(known), "")
        groups = {"layer": alias, **self.watching.groups(alias, self._wanted)}
        look = {"kind": "look", "at": time.monotonic(), "layers": layers, "groups": groups}
        await self.send_json(look)

    async def _ask(self) -> None:
        while True:
            async with asyncio.TaskGroup() as asking:
                for alias in self.watching.aliases():
                    asking.create_task(self._ask_one(alias))
            await asyncio.sleep(ASKED_EVERY)

    async def _ask_one(self, alias: str) -> None:
        before = self._health.get(alias, {"state": "asking"})
        self._health[alias] = now = await self.watching.ask(alias)
        if now["state"] != before["state"]:
            await self._show()


class Tail(ResumableWebsocketConsumer):
    """Sends a page what comes to the one group that it asks for, redacted and not too much of it.

    It is a member of the group as everyone else, and the page of a group with a history first gets
    what it asks for of that.
    """

    max_groups = 1
    max_frame_size = MAX_QUESTION
    watching: Watching

    def __init__(self, watching: Watching, channel_layer_alias: str) -> None:
        super().__init__()
        self.watching = watching
        self.channel_layer_alias = channel_layer_alias
        self._waiting: deque[ChannelMessage] = deque()
        self._left_out: Counter[str] = Counter()
        self._some = asyncio.Event()
        self._changed = False
        self._work: asyncio.Task[None] | None = None

    def groups_of(self, alias: str) -> list[str]:
        """Return the layer's groups that this is a member of."""
        mine = alias == self.channel_layer_alias
        return [each.group for each in self.subscriptions.values()] if mine else []

    async def connect(self) -> None:
        await self.accept()
        self._work = asyncio.create_task(_lasting(self, self._flush()))
        self.watching.tails.add(self)

    async def disconnect(self, code: int) -> None:
        self.watching.tails.discard(self)
        await _end(self._work)

    async def authorize_group(self, name: str) -> str | None:
        if not name.isascii():
            raise Refused("there can be no such group")
        return name

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.close(1007, "not a question of this page")

    def client_data(self, message: ChannelMessage) -> Any:
        group = getattr(message, "group", "")
        return self.watching.redacted(group, dict(message))

    async def forward(self, message: ChannelMessage, data: Any = None) -> None:
        # Only noted: encoding and sending happen at the page's pace, not at the group's.
        if len(self._waiting) >= FLUSHED:
            self._left_out[getattr(self._waiting.popleft(), "group", "")] += 1
        self._waiting.append(message)
        self._some.set()

    async def pass_on(self, message: ChannelMessage) -> None:
        """Show what the group would have sent to its clients as it is."""
        if getattr(message, "group", None) is None:
            await super().pass_on(message)
        else:
            await self.unknown_message(message)

    async def unknown_message(self, message: ChannelMessage) -> None:
        """Note a message of the group, or that somebody came or went; others are none of ours."""
        if message["type"] in _CHANGES:
            self._look_who_is_there()
        elif getattr(message, "group", None) is not None:
            await super().unknown_message(message)

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        """Send all but who is present, which may be many and is told at the page's pace, too."""
        if content.get("channels") == "presence":
            self._look_who_is_there()
        else:
            await super().send_json(content, close)

    def _look_who_is_there(self) -> None:
        self._changed = True
        self._some.set()

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        counted = -COUNTED_EVERY
        while True:
            await self._some.wait()
            self._some.clear()
            for group, count in self._left_out.items():
                await self.send_json({"kind": "left_out", "group": group, "count": count})
            self._left_out.clear()
            while self._waiting:
                await super().forward(self._waiting.popleft())
            if self._changed and loop.time() - counted >= COUNTED_EVERY:
                self._changed = False
                counted = loop.time()
                await self._show_who_is_there()
            await asyncio.sleep(FLUSHED_EVERY)
            if self._changed:
                self._some.set()

    async def _show_who_is_there(self) -> None:
        for subscription in list(self.subscriptions.values()):
            group = subscription.group
            members = list((await self.channel_layer.presence(group)).values())
            some = [self.watching.redacted(group, dict(each)) for each in members[:SHOWN_MEMBERS]]
            await self.send_json({"kind": "present", "count": len(members), "some": some})


async def _lasting(consumer: AsyncJsonWebsocketConsumer, work: Coroutine[Any, Any, None]) -> None:
    """Do what lasts as long as the consumer; when it fails, the page may come back."""
    try:
        await work
    except Exception:
        logger.exception("%s cannot go on", type(consumer).__name__)
        await consumer.close(1011)


async def _end(work: "asyncio.Task[None] | None") -> None:
    """The task is cancelled and has ended."""
    if work is not None:
        work.cancel()
        await asyncio.wait([work])
