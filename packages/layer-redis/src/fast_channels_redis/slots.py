"""Which node of a Cluster has which slot, as far as is known here."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

import hiredis
from redis.crc import key_slot

from fast_channels.exceptions import BackendUnavailable
from fast_channels_redis.connection import Connection, Reply
from fast_channels_redis.hosts import Cluster
from fast_channels_redis.server import STEP_SECONDS, Server, connect

logger = logging.getLogger("fast_channels.redis")

Address = tuple[str, int]

SLOTS: Final = 16_384
OLDEST: Final = 7
"""The first Redis with sharded pub/sub."""


class Slots:
    """The owners of slots; asks all known nodes at once, the first answer counts."""

    def __init__(self, spec: Cluster) -> None:
        self._seeds = spec.nodes
        self._owners: list[Address | None] = [None] * SLOTS
        self._refreshing: asyncio.Task[None] | None = None

    def owner(self, name: bytes) -> Address | None:
        """Return the master that has the name's slot; None: nobody is known to."""
        return self._owners[key_slot(name)]

    def masters(self) -> set[Address]:
        """Return every master that has a slot."""
        return {owner for owner in self._owners if owner is not None}

    def server(self, address: Address) -> Server:
        """Return how to reach a node."""
        return self._seeds[0].at(*address)

    def moved(self, error: str) -> bool:
        """Learn from ``MOVED <slot> <host>:<port>``; False if the error is none."""
        parts = error.split()
        if len(parts) != 3 or parts[0] != "MOVED" or not parts[1].isdigit():
            return False
        host, _, port = parts[2].rpartition(":")
        old = self._owners[int(parts[1])]
        self._owners[int(parts[1])] = (host or (old[0] if old else self._seeds[0].host), int(port))
        return True

    async def refresh(self) -> None:
        """The table is what a node says now; raises ``BackendUnavailable`` when none answers.

        Callers that come at once share one question.
        """
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._ask_all())
            self._refreshing.add_done_callback(self._refreshed)
        await asyncio.shield(self._refreshing)

    async def close(self) -> None:
        """Nothing is asked any more."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    def _refreshed(self, task: "asyncio.Task[None]") -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # seen: who asked may have been cancelled

    async def _ask_all(self) -> None:
        known = [self.server(address) for address in self.masters()]
        servers = dict.fromkeys(replace(server, role=None) for server in (*known, *self._seeds))
        asking = [asyncio.create_task(self._ask(server)) for server in servers]
        problems: list[str] = []
        try:
            for answer in asyncio.as_completed(asking):
                try:
                    owners = await answer
                except BackendUnavailable as error:
                    problems.append(str(error))
                else:
                    self._owners = owners
                    return
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        raise BackendUnavailable(f"no node of the Cluster answers: {'; '.join(problems)}")

    async def _ask(self, server: Server) -> list[Address | None]:
        connection = await connect(server, Connection)
        try:
            check_version(server, connection.info)
            async with asyncio.timeout(STEP_SECONDS):
                ranges = await connection.call("CLUSTER", "SLOTS")
        except hiredis.ReplyError as error:
            raise BackendUnavailable(f"{server.name} refused CLUSTER SLOTS: {error}") from error
        except TimeoutError:
            raise BackendUnavailable(f"{server.name} does not answer") from None
        finally:
            await connection.close()
        if not ranges:
            raise BackendUnavailable(f"{server.name} knows of no slots")
        return _table(ranges, server.host)


def check_version(server: Server, info: dict[str, Reply]) -> None:
    """Raise ``BackendUnavailable`` for a server without sharded pub/sub."""
    version = str(info.get("version", ""))
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST:
        raise BackendUnavailable(
            f"{server.name} is version {version}; a Cluster needs Redis {OLDEST} or newer, "
            "or Valkey, for its sharded pub/sub"
        )


def _table(ranges: list[Reply], asked: str) -> list[Address | None]:
    owners: list[Address | None] = [None] * SLOTS
    for first, last, (host, port, *_), *_ in ranges:
        address = (host.decode() if host else asked, int(port))
        owners[first : last + 1] = [address] * (last + 1 - first)
    return owners
