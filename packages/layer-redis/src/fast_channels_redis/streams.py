"""The histories on one server: its scripts, and what is known of the server's own past."""

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Append, Link
from fast_channels_redis.connection import Connection, Reply, bulk, explained, pack
from fast_channels_redis.scripts import LAST, READ, Script, append_script

MOST: Final = 1 << 62
"""Entries that the server can count; what is to keep more keeps so many."""

LONGEST_TTL: Final = 10 * 365 * 86_400.0
"""Seconds; what is to be kept for longer is kept for this long."""

TRIES: Final = 3
"""How often scripts are loaded that the server has forgotten."""

NO_ID: Final = "0" * 40


class Command(NamedTuple):
    """One run of a script."""

    script: Script
    topic: str
    number: int
    args: bytes
    """Arguments besides those that every script gets: how many, and packed."""


class _Server(NamedTuple):
    """A connection whose server was asked about itself."""

    connection: Connection
    run: str
    """One run of one server process, in which nothing is rolled back; and how it saves."""
    from_log: bool
    """It began with what it had appended to its own log."""


class Streams:
    """The histories on one server, over the connection of its publisher."""

    def __init__(
        self, link: Link[Connection], space: bytes = b"", command: bytes = b"PUBLISH"
    ) -> None:
        self._link = link
        self._space = space
        self._script = append_script(command.decode())
        self._greeting = b"".join(
            [
                *(pack("INFO", section) for section in ("server", "replication", "persistence")),
                *(pack("SCRIPT", "LOAD", each.text) for each in (self._script, READ, LAST)),
                pack("CONFIG", "GET", "appendfsync"),
            ]
        )
        self._server: _Server | None = None
        self._lock = asyncio.Lock()  # what is asked for first is sent first
        self._epoch = secrets.token_hex(8)
        self._epochs = itertools.count()

    async def append(self, appends: Sequence[Append]) -> list[Reply]:
        """Return the reply to each: how many entries are new, or the server's error."""
        return await self._run([self._command(each) for each in appends])

    async def ask(self, script: Script, topic: str, *args: bytes | str | int) -> Reply:
        """Return what the script answers; raises ``ReplyError``."""
        [reply] = await self._run([Command(script, topic, len(args), bulk(*args))])
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def _command(self, append: Append) -> Command:
        ttl = max(1, round(min(append.ttl, LONGEST_TTL) * 1000))
        args = [bulk(self._space + append.topic.encode(), min(append.keep, MOST), ttl)]
        for payload, name in append.entries:
            if name is None:
                args.append(b"$0\r\n\r\n$%d\r\n%b\r\n" % (len(payload), payload))
            else:
                args.append(bulk(b"=" + name.encode("utf-8", "surrogatepass"), payload))
        return Command(self._script, append.topic, 3 + 2 * len(append.entries), b"".join(args))

    async def _run(self, commands: Sequence[Command]) -> list[Reply]:
        replies: list[Reply] = [None] * len(commands)
        left = list(range(len(commands)))
        for _ in range(TRIES):
            async with self._lock:
                server = await self._asked()
                data = b"".join([self._packed(server, commands[index]) for index in left])
                sending = server.connection.send(data, len(left))
            for index, reply in zip(left, await sending, strict=True):
                replies[index] = reply
            errors = [i for i in left if isinstance(replies[i], hiredis.ReplyError)]
            if any("READONLY" in str(replies[index]) for index in errors):
                name = server.connection.name
                server.connection.abort(BackendUnavailable(f"{name} is a replica by now"))
            left = [index for index in errors if str(replies[index]).startswith("NOSCRIPT")]
            if not left:
                break
            self._server = None
        return replies

    def _packed(self, server: _Server, command: Command) -> bytes:
        script, topic, number, args = command
        epoch = f"{self._epoch}{next(self._epochs):x}"
        tag = f"{{{topic}}}"
        head = bulk(
            *("EVALSHA", script.sha, 3, tag, f"{tag}m", f"{tag}i"),
            *(server.run, int(server.from_log), epoch),
        )
        return b"*%d\r\n%b%b" % (9 + number, head, args)

    async def _asked(self) -> _Server:
        """Return the connection, with its server's own past and the scripts loaded."""
        connection = self._link.connection or await self._link.ready()
        if self._server is None or self._server.connection is not connection:
            *replies, saves = await connection.send(self._greeting, 7)
            for reply in replies:
                if isinstance(reply, hiredis.ReplyError):
                    text = "history needs the commands INFO and SCRIPT LOAD"
                    raise BackendUnavailable(f"{explained(reply)} ({text})")
            self._server = _server(connection, b"".join(replies[:3]), saves)
        return self._server


def _server(connection: Connection, info: bytes, saves: Reply) -> _Server:
    pairs = (line.partition(b":") for line in info.splitlines())
    told = {key: value.decode() for key, _, value in pairs}
    # A server that took over from another, or began with a snapshot, has a second id.
    own = told.get(b"master_replid2", NO_ID) == NO_ID
    # Who may not ask for it (NOPERM) is told of a gap after each restart.
    logs = told.get(b"aof_enabled") == "1"
    always = logs and isinstance(saves, list) and saves[1:] == [b"always"]
    return _Server(connection, told[b"run_id"] + "always" * always, own and logs)
