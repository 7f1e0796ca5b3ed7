"""Joining and leaving groups for a channel of another process.

Membership is local, so the channel's own node is asked, with one message to its topic, and answers
to the asking node's topic.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable, ChannelNotFound, HistoryLost, TooManyGroups
from fast_channels.layers.codec import CONTROL, Entry
from fast_channels.layers.messages import decode_message, encode_message
from fast_channels.layers.names import (
    channel_node,
    check_channel,
    check_group,
    check_node,
    node_topic,
)
from fast_channels.layers.presence.wire import MAX_PRESENCE, Role, check_value

logger = logging.getLogger("fast_channels.layers")

MAX_SIZE: Final = 4_096 + MAX_PRESENCE
"""Bytes of a control message; its longest parts are a presence and two names."""

LOST: Final = "lost: "
"""What an answer begins with where the history does not reach back."""

MANY: Final = "many: "
"""What an answer begins with where the channel is in too many groups."""

Send = Callable[[str, Entry], Awaitable[None]]
Change = Callable[[str, str, str, Any, Role | None], Awaitable[None]]
"""Called with ``"add"`` or ``"discard"``, a group, a channel of this node, since when, and how it
joins."""


class Control:
    """Asks other nodes, and answers them, for one session."""

    def __init__(self, prefix: str, node: str, timeout: float, send: Send, change: Change) -> None:
        self._prefix = prefix
        self._node = node
        self._timeout = timeout
        self._send = send
        self._change = change
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def request(
        self,
        action: str,
        group: str,
        channel: str,
        since: str | None = None,
        role: Role | None = None,
    ) -> None:
        """The channel's node has done it.

        Raises ``ChannelNotFound`` when the channel is gone or its node does not answer within the
        send timeout, ``BackendUnavailable`` when the broker does not, ``TooManyGroups``, and
        ``HistoryLost`` where the group's history does not reach back to ``since``.
        """
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Any] = {"type": action, "group": group, "channel": channel}
        if since is not None:
            message["since"] = since
        if role is not None:
            message |= role._asdict()
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            await self._tell(channel_node(channel) or "", {**message, "number": number})
            async with asyncio.timeout_at(deadline):
                error = await answer
        except TimeoutError:
            raise ChannelNotFound(
                f"the process of channel {channel!r} did not answer within {self._timeout:g} s; "
                "it has probably ended"
            ) from None
        finally:
            del self._asked[number]
        if error == "gone":
            raise ChannelNotFound(f"channel {channel!r} does not exist any more")
        if error.startswith(LOST):
            raise HistoryLost(error.removeprefix(LOST))
        if error.startswith(MANY):
            raise TooManyGroups(error.removeprefix(MANY))
        if error:
            raise BackendUnavailable(f"the process of channel {channel!r} answered: {error}")

    async def probe(self) -> None:
        """A message to this node itself has gone through the broker and come back.

        Waits for it without a limit; raises ``BackendUnavailable`` if the broker does not take it.
        """
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            await self._tell(self._node, {"type": "answer", "number": number, "error": ""})
            error = await answer
        finally:
            del self._asked[number]
        if error:
            raise BackendUnavailable(error)

    def handle(self, sender: str, payload: bytes) -> None:
        """Take a control message; raises ``ValueError`` for anything else."""
        message = decode_message(payload)
        number = message.get("number")
        if not isinstance(number, int):
            raise ValueError("control message has no number")
        if message["type"] == "answer":
            answer = self._asked.get(number)
            if answer is not None and not answer.done():
                answer.set_result(str(message.get("error", "")))
        elif message["type"] in ("add", "discard"):
            check_node(sender)  # the topic of the answer is made of it
            try:
                check_group(message.get("group"))
                check_channel(message.get("channel"))
            except TypeError as error:
                raise ValueError(str(error)) from error
            role = _role(message)
            task = asyncio.get_running_loop().create_task(self._answer(sender, message, role))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            raise ValueError(f"control message has the unknown type {message['type']!r}")

    async def close(self) -> None:
        """No task is left; whoever waits for an answer gets ``BackendUnavailable``."""
        for task in self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result("the layer was closed")

    async def _answer(self, sender: str, message: dict[str, Any], role: Role | None) -> None:
        error = ""
        try:
            change = message["type"], message["group"], message["channel"]
            await self._change(*change, message.get("since"), role)
        except ChannelNotFound:
            error = "gone"
        except HistoryLost as failure:
            error = f"{LOST}{failure}"[:200]
        except TooManyGroups as failure:
            error = f"{MANY}{failure}"[:400]
        except Exception as failure:
            error = str(failure)[:200]
        answer = {"type": "answer", "number": message["number"], "error": error}
        try:
            await self._tell(sender, answer)
        except Exception as failure:
            # The asking side runs into its time-out and says so.
            logger.debug("answering node %s failed: %r", sender, failure)

    async def _tell(self, node: str, message: dict[str, Any]) -> None:
        payload = encode_message(message, MAX_SIZE)
        await self._send(node_topic(self._prefix, node), Entry(payload, CONTROL))


def _role(message: dict[str, Any]) -> Role | None:
    presence, watch = message.get("presence"), message.get("watch", False)
    if presence is None and watch is False:
        return None
    if not isinstance(presence, bytes | None) or not isinstance(watch, bool):
        raise ValueError(f"control message has a malformed presence: {message!r:.100}")
    if presence is not None:
        check_value(presence)
    return Role(presence, watch)
