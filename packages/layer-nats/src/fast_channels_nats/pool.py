"""The servers to try: those that were named, and those of their cluster that they tell of."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import reconnect_delays
from fast_channels_nats.connection import Connection
from fast_channels_nats.server import Server, connect

HEAD_START: Final = 0.2
"""Seconds after which the next server is tried beside one that has not answered."""

LONGEST_DELAY: Final = 0.5
"""Seconds between two attempts at a server while another one is silent, at most."""


class Pool:
    """Servers in the order in which they are tried, in a circle."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._named = list(servers)
        self._circle = list(servers)
        random.shuffle(self._circle)  # or all processes would sit on the first
        self._last: Server | None = None
        """The one that was connected to last; its neighbour comes first."""

    @property
    def size(self) -> int:
        """How many servers there are."""
        return len(self._circle)

    async def connect(self, seconds: float) -> Connection:
        """Return a connection to the first server that lets us in, from the one whose turn it is.

        Each may take that many seconds; raises ``BackendUnavailable`` that says what is wrong with
        every one of them. A server that is silent keeps us neither from the next one nor from one
        that has refused us and is back.
        """
        at = self._circle.index(self._last) + 1 if self._last in self._circle else 0
        servers = self._circle[at:] + self._circle[:at]
        if len(servers) == 1:
            return await connect(servers[0], seconds)
        problems: dict[int, str] = {}
        came: list[tuple[Server, Connection]] = []

        async def attempt(number: int, server: Server) -> None:
            await asyncio.sleep(number * HEAD_START)
            for pause in reconnect_delays(most=LONGEST_DELAY):
                try:
                    came.append((server, await connect(server, seconds)))
                    return
                except BackendUnavailable as error:
                    problems[number] = str(error)
                if len(problems) == len(servers):
                    return
                await asyncio.sleep(pause)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(attempt(*each)) for each in enumerate(servers)]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
            for _, late in came[1:]:
                await late.close()
        except BaseException:
            for _, connection in came:
                await connection.close()
            raise
        if not came:
            told = "; ".join(problems[number] for number in sorted(problems))
            raise BackendUnavailable(f"no server could be used: {told}")
        self._last, connection = came[0]
        return connection

    def learn(self, info: dict[str, Any]) -> None:
        """Take over the addresses that a server tells of its cluster; the named ones stay."""
        told: Sequence[str] = info.get("connect_urls") or ()
        if not told:
            return  # it tells of nobody, which is not the same as that there is nobody
        known = {(server.host, server.port) for server in self._named}
        circle = [server for server in self._circle if (server.host, server.port) in known]
        here = self._named[0]
        for address in told:
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            if port.isdigit() and (host, int(port)) not in known:
                known.add((host, int(port)))
                circle.append(here.at(host, int(port)))
        self._circle = circle
