"""Whether the other servers of a cluster know of a subscription.

A server's PONG proves what it knows itself; it tells the others a moment later, and what is
published at one of them until then is lost. But what it sends to another server stays in order. So
a question that is sent after a subscription, and that a process at the other server answers, shows
that the other server knows of the subscription, too. One process for each server answers: all at
one server share a queue group.

Who connects says which server it has come to, and asks before it publishes anything: so servers
where nobody sat until now are waited for, too.
"""

import asyncio
import itertools
import os
from typing import Final

from fast_channels_nats.connection import Connection, Message
from fast_channels_nats.link import logger
from fast_channels_nats.requests import packed

QUESTION: Final = b"_fast_channels.question"
HELLO: Final = b"_fast_channels.hello"
ANSWERED, ASKED, GREETED = b"a", b"e", b"h"
"""The ids of the subscriptions; those of topics are numbers."""

FIRST_SECONDS: Final = 0.1
"""How long a new connection waits to learn of the servers at which others sit."""

PATIENCE: Final = 0.5
"""How long a server is waited for; one that does not answer is left out until it does."""


class Everywhere:
    """Asks the servers of a cluster, and answers for the own one."""

    def __init__(self) -> None:
        self._others: set[str] = set()
        """The servers at which processes of ours sit, as far as we heard."""
        self._inbox = f"_fast_channels.answer.{os.urandom(11).hex()}".encode()
        self._numbers = itertools.count(1)
        self._missing: dict[bytes, tuple[set[str], asyncio.Future[None]]] = {}
        self._refused = False

    async def prepare(self, connection: Connection) -> None:
        """The new connection's server knows what others subscribed to, and they know of us."""
        if "cluster" not in connection.info:
            return
        hold = connection.message

        def meanwhile(message: Message) -> None:
            if not self.take(message, connection):
                hold(message)

        connection.message = meanwhile
        server = connection.info["server_id"].encode()
        refusals = await connection.flush(
            b"SUB %b %b %b\r\nSUB %b %b\r\nSUB %b.* %b\r\n"
            % (QUESTION, server, ASKED, HELLO, GREETED, self._inbox, ANSWERED)
            + packed(HELLO, server)
        )
        self._refused = bool(refusals)
        if refusals:
            logger.warning(
                "joining a group is confirmed by the own server only, not by the cluster's others: "
                "%s refused %s",
                connection.name,
                refusals[0],
            )
        else:
            await self._ask(connection, {""}, FIRST_SECONDS)  # "": whoever there may be

    async def confirm(self, connection: Connection) -> None:
        """Every other server knows what the connection has subscribed to."""
        others = self._others - {connection.info.get("server_id", "")}
        if others and not self._refused:
            self._others -= await self._ask(connection, others, PATIENCE)

    def take(self, message: Message, connection: Connection | None) -> bool:
        """Handle what is for us; return whether it was."""
        if message.sid == ASKED:
            if connection is not None:
                server = connection.info["server_id"].encode()
                connection.write(packed(message.reply, server))
        elif message.sid == GREETED:
            self._others.add(message.payload.decode(errors="replace"))
        elif message.sid == ANSWERED:
            server = message.payload.decode(errors="replace")
            self._others.add(server)
            missing, done = self._missing.get(message.subject, (set[str](), None))
            missing.discard(server)
            if not missing and done is not None and not done.done():
                done.set_result(None)
        else:
            return False
        return True

    async def _ask(self, connection: Connection, whom: set[str], patience: float) -> set[str]:
        """Return which of the servers did not answer in time."""
        missing = set(whom)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reply = b"%b.%d" % (self._inbox, next(self._numbers))
        self._missing[reply] = missing, done
        connection.write(packed(QUESTION, b"", reply))
        try:
            await asyncio.wait([done], timeout=patience)
        finally:
            del self._missing[reply]
        return missing
