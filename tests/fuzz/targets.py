"""What is fuzzed: each target takes any bytes, and raises only where something is wrong.

Wrong is an exception that the documentation of what is called does not name, a bound that does not
hold, a secret that is told, or something that was accepted and cannot be.
"""

from collections.abc import Callable
from typing import NamedTuple

from . import brokers, clients, wire


class Target(NamedTuple):
    """One thing that strangers can reach."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    """Input to begin with."""
    covered: bool = False
    """A decoder of what brokers bring, so worth the guidance of coverage."""


TARGETS = {
    target.name: target
    for target in (
        Target("frames", wire.frames, wire.FRAMES, covered=True),
        Target("messages", wire.messages, wire.MESSAGES, covered=True),
        Target("presence", wire.presence, wire.PRESENCE_MESSAGES, covered=True),
        Target("fragments", wire.fragments, wire.FRAGMENT_ROWS),
        Target("sealing", wire.sealing, wire.SEALED, covered=True),
        Target("positions", wire.positions, wire.POSITIONS),
        Target("names", wire.names, wire.NAMES),
        Target("session", wire.session, wire.ARRIVING),
        Target("urls", brokers.urls, brokers.URLS),
        Target("json", clients.json_frames, clients.FRAMES),
        Target("resumable", clients.resumable, clients.QUESTIONS),
        Target("events", clients.events, clients.EVENT_IDS),
        Target("origins", clients.origins, clients.ORIGINS),
    )
}
