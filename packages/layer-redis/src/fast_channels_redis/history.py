"""Topics whose messages are kept, each in a stream; a position is an entry's id."""

from collections.abc import Sequence
from typing import Final

import hiredis

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels.layers import Append, Kept, Page, Position, is_history_topic
from fast_channels_redis.connection import Reply, explained
from fast_channels_redis.routes import Routes, failure, unlink
from fast_channels_redis.scripts import ANEW, LAST, READ, Script

BITS: Final = 64
"""An id is ``<milliseconds>-<n>``, each of so many bits."""


class RedisHistory:
    """The histories on one server, on several, or in a Cluster."""

    exact = True

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def publish(self, appends: Sequence[Append], /) -> None:
        """The servers have the entries."""
        errors = await self._routes.spread(
            [append.topic for append in appends],
            lambda place, mine: place.streams.append([appends[index] for index in mine]),
        )
        if errors:
            raise failure(errors, len(appends))

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        """Return the entries after the position."""
        if after is None:
            epoch, end, found = await self._ask(READ, topic, "", "", limit)
            entries = _entries(epoch, found)
            position = entries[-1].position if entries else Position(epoch, _offset(end))
            return Page(entries, position, position.offset < _offset(end))
        if not 0 <= after.offset < 1 << 2 * BITS:
            raise HistoryLost(f"the history of {topic} gave no position {after.offset:#x}")
        where = b"%d-%d" % (after.offset >> BITS, after.offset & (1 << BITS) - 1)
        epoch, end, found = await self._ask(READ, topic, after.epoch, where, limit + 1)
        if found is None:
            lost = f"the history of {topic} is another one than that of {after.epoch}"
            raise HistoryLost(lost, anew=epoch if epoch.startswith(ANEW) else "")
        if found and found[0][0] == where:
            del found[0]
        elif (found[0][1][3:4] if found else [end]) != [where]:  # what came before it
            raise HistoryLost(
                f"the history of {topic} lacks {where.decode()}, or what came right after it"
            )
        entries = _entries(epoch, found[:limit])
        position = entries[-1].position if entries else after
        return Page(entries, position, position.offset < _offset(end))

    async def last(self, topic: str, count: int, /) -> Page:
        """Return the newest entries."""
        epoch, end, found = await self._ask(LAST, topic, count)
        return Page(_entries(epoch, found[::-1]), Position(epoch, _offset(end)), False)

    async def clear(self, prefix: str, /) -> None:
        """Histories of topics whose names begin so are gone."""
        await unlink(self._routes.everywhere(), b"{%b*" % prefix.encode(), belongs_to_history)

    async def _ask(
        self, script: Script, topic: str, *args: bytes | str | int
    ) -> tuple[str, bytes, Reply]:
        try:
            epoch, end, found = await self._routes.at(
                topic, lambda place: place.streams.ask(script, topic, *args)
            )
        except hiredis.ReplyError as error:
            raise BackendUnavailable(explained(error)) from error
        return epoch.decode(), end, found


def belongs_to_history(key: bytes) -> bool:
    """True for the keys of a topic's history; a worker queue has another hash tag."""
    return is_history_topic(key[1:].partition(b"}")[0].decode(errors="replace"))


def published(message: bytes) -> tuple[bytes, Position]:
    """Return the payload and the place of an entry that came live; raises ``ValueError``."""
    epoch, place, payload = message.split(b" ", 2)
    return payload, Position(epoch.decode("ascii"), _offset(place))


def _entries(epoch: str, found: list[Reply]) -> list[Kept]:
    return [Kept(Position(epoch, _offset(entry[0])), entry[1][1]) for entry in found]


def _offset(where: bytes) -> int:
    milliseconds, _, number = where.partition(b"-")
    return (int(milliseconds) << BITS) | int(number)
