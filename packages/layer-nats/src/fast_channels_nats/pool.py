"""The servers to try: those that were named, and those of their cluster that they tell of."""

import random
from collections.abc import Sequence
from typing import Any

from fast_channels_nats.server import Server


class Pool:
    """Servers in the order in which they are tried, in a circle."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._named = list(servers)
        self._circle = list(servers)
        random.shuffle(self._circle)  # or all processes would sit on the first
        self._at = 0

    def __len__(self) -> int:
        return len(self._circle)

    def next(self) -> Server:
        """Return the server to try now; the one after it comes next."""
        server = self._circle[self._at % len(self._circle)]
        self._at = (self._at + 1) % len(self._circle)
        return server

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
