"""The servers to try: those that were named, and those of their cluster that they tell of."""

import random
from collections.abc import Sequence
from typing import Any

from fast_channels.exceptions import BackendUnavailable
from fast_channels_nats.connection import Connection
from fast_channels_nats.server import Server, connect


class Pool:
    """Servers in the order in which they are tried, in a circle."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._named = list(servers)
        self._circle = list(servers)
        random.shuffle(self._circle)  # or all processes would sit on the first
        self._at = 0

    async def connect(self, seconds: float) -> Connection:
        """Return a connection to the first server that lets us in, from the one whose turn it is.

        Each may take that many seconds; raises ``BackendUnavailable`` that says what is wrong with
        every one of them.
        """
        problems: list[str] = []
        for _ in range(len(self._circle)):
            server = self._circle[self._at % len(self._circle)]
            self._at = (self._at + 1) % len(self._circle)
            try:
                return await connect(server, seconds)
            except BackendUnavailable as error:
                problems.append(f"{error}")
        if len(problems) == 1:
            raise BackendUnavailable(problems[0])
        raise BackendUnavailable(f"no server could be used: {'; '.join(problems)}")

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
        self._at %= len(circle)
