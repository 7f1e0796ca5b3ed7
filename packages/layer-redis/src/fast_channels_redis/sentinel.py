"""Which server is the master, as Sentinels tell."""

import asyncio

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels_redis.connection import Connection
from fast_channels_redis.hosts import Sentinels
from fast_channels_redis.server import STEP_SECONDS, Server, connect


class MasterFinder:
    """Asks all Sentinels at once, every time: the first that knows decides.

    Whether that server is a master (still, or already) its own handshake tells.
    """

    def __init__(self, spec: Sentinels) -> None:
        self._spec = spec

    async def __call__(self) -> Server:
        """Return the master; raises ``BackendUnavailable`` when no Sentinel knows one."""
        asking = [asyncio.create_task(self._ask(sentinel)) for sentinel in self._spec.sentinels]
        problems: list[str] = []
        try:
            for answer in asyncio.as_completed(asking):
                try:
                    host, port = await answer
                except BackendUnavailable as error:
                    problems.append(str(error))
                else:
                    return self._spec.server.at(host, port)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        raise BackendUnavailable(
            f"no Sentinel knows the master {self._spec.master!r}: {'; '.join(problems)}"
        )

    async def _ask(self, sentinel: Server) -> tuple[str, int]:
        connection = await connect(sentinel, Connection)
        try:
            async with asyncio.timeout(STEP_SECONDS):
                address = await connection.call(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._spec.master
                )
        except hiredis.ReplyError as error:
            raise BackendUnavailable(f"the Sentinel of {sentinel.name} refused: {error}") from error
        except TimeoutError:
            raise BackendUnavailable(f"{sentinel.name} does not answer") from None
        finally:
            await connection.close()
        if address is None:
            raise BackendUnavailable(f"the Sentinel of {sentinel.name} knows no such master")
        return address[0].decode(), int(address[1])
