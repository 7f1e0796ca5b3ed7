"""What servers tell of themselves."""

from collections.abc import Awaitable, Callable, Iterable

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels_redis.connection import Reply, explained
from fast_channels_redis.server import pairs


async def described(
    hosts: Iterable[Callable[..., Awaitable[Reply]]],
) -> dict[str, str | int | float]:
    """Return what the first host tells, and how many there are.

    ``time`` is missing where the user may not ask for it.
    """
    calls = list(hosts)
    if not calls:
        raise BackendUnavailable("the redis backend is not open")
    try:
        told = pairs(await calls[0]("HELLO"))
    except hiredis.ReplyError as error:
        raise BackendUnavailable(explained(error)) from error
    found: dict[str, str | int | float] = {
        name: str(told[name]) for name in ("server", "version", "mode") if name in told
    }
    found["hosts"] = len(calls)
    try:
        seconds, microseconds = await calls[0]("TIME")
    except hiredis.ReplyError:
        return found
    return found | {"time": int(seconds) + int(microseconds) / 1e6}
