"""What goes to which server, as those need it who do not care how many there are."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

import hiredis

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels_redis.connection import Reply, explained
from fast_channels_redis.publisher import Publisher
from fast_channels_redis.streams import Streams

T = TypeVar("T")

SCAN_COUNT: Final = 500


class Place(Protocol):
    """One server."""

    publisher: Publisher
    streams: Streams


Send = Callable[[Place, list[int]], Awaitable[Sequence[Reply]]]
"""Sends the items of those indices to the server, and returns the reply to each."""


class Routes(Protocol):
    """The servers of a backend."""

    async def spread(self, topics: Sequence[str], send: Send) -> dict[int, Exception]:
        """Every topic's server has what belongs to it; return the errors, by index."""
        ...

    async def at(self, topic: str, ask: Callable[[Place], Awaitable[T]]) -> T:
        """Return the answer of the topic's server; raises the server's ``ReplyError``."""
        ...

    def everywhere(self) -> Iterable[Callable[..., Awaitable[Reply]]]:
        """Return what sends a command to each of the servers."""
        ...


async def unlink(
    servers: Iterable[Callable[..., Awaitable[Reply]]],
    pattern: bytes,
    chosen: Callable[[bytes], bool],
) -> None:
    """Every key that matches, and is chosen, is gone from all servers."""
    try:
        for call in servers:
            cursor: Reply = b"0"
            while True:
                cursor, keys = await call("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
                for key in filter(chosen, keys):
                    await call("UNLINK", key)
                if cursor == b"0":
                    break
    except hiredis.ReplyError as error:
        raise BackendUnavailable(explained(error)) from error


def failure(errors: dict[int, Exception], count: int) -> Exception:
    """Return the error of a batch of ``count``: their own if they all have failed."""
    return next(iter(errors.values())) if len(errors) == count else PublishFailed(errors)


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results when all of it has ended; raises the first error."""
    coroutines = list(work)
    if len(coroutines) == 1:
        return [await coroutines[0]]
    results: list[T] = []
    for result in await asyncio.gather(*coroutines, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
