"""What all open pages share: what is shown of the layers, read only while somebody looks."""

import heapq
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from fast_channels.layers import BaseChannelLayer, channel_layers
from fast_channels_tools.measurements import DROPS

from .redaction import Redact, shown

if TYPE_CHECKING:
    from .feed import Tail

SHOWN_GROUPS: Final = 100
"""Rows of the table of groups, the largest ones that match what is looked for."""

FRESH: Final = 0.5
"""Seconds for which the groups of one look are those of the next, however many look."""


class Watching:
    """The registered layers, and who tails which of their groups."""

    def __init__(self, redact: Redact | None, tail: bool) -> None:
        self.tails: set[Tail] = set()
        """The WebSockets that show messages now."""
        self._redact = redact
        self._tail = tail
        self._groups: dict[str, tuple[float, dict[str, int]]] = {}

    def process(self) -> dict[str, Any]:
        """Return which process the page shows; a server may have several."""
        return {"pid": os.getpid(), "host": platform.node(), "tail": self._tail, "drops": DROPS}

    def aliases(self) -> list[str]:
        """Return the names of the layers that can be shown, in the order of their registration."""
        return [alias for alias, _ in self._each()]

    def may_tail(self, alias: str) -> bool:
        """Return whether messages of the layer may and can be shown."""
        return self._tail and isinstance(channel_layers.get(alias), BaseChannelLayer)

    def redacted(self, group: str, message: dict[str, Any]) -> Any:
        """Return what is shown of the message, which has a JSON form and is not large."""
        return shown(self._redact, group, message)

    def look(self) -> list[dict[str, Any]]:
        """Return the numbers of every layer; costs a few microseconds each."""
        return [self._look_at(alias, layer) for alias, layer in self._each()]

    def groups(self, alias: str, wanted: str) -> dict[str, Any]:
        """Return the largest groups whose name has ``wanted`` in it, and how many there are.

        Members are counted without those that only tail.
        """
        sizes = self._sizes(alias)
        found = [(size, group) for group, size in sizes.items() if wanted in group]
        largest = heapq.nsmallest(SHOWN_GROUPS, found, key=lambda row: (-row[0], row[1]))
        rows = [{"name": group, "members": size} for size, group in largest]
        return {"rows": rows, "found": len(found), "all": len(sizes)}

    async def ask(self, alias: str) -> dict[str, Any]:
        """Return whether the layer hears, proven by a message to itself."""
        layer: Any = channel_layers.get(alias)
        if not hasattr(layer, "health"):
            return {"state": "unknown", "reason": "the layer cannot tell", "seconds": None}
        try:
            health = await layer.health(timeout=2.0)
        except Exception as error:  # of somebody else's layer
            return {"state": "bad", "reason": repr(error), "seconds": None}
        state = "good" if health else "bad"
        return {"state": state, "reason": health.reason, "seconds": health.seconds}

    def _sizes(self, alias: str) -> dict[str, int]:
        now = time.monotonic()
        before, sizes = self._groups.get(alias, (-FRESH, {}))
        if now - before >= FRESH:
            layer = channel_layers.get(alias)
            held = layer.local_groups() if isinstance(layer, BaseChannelLayer) else {}
            tailed = Counter(group for tail in self.tails for group in tail.groups_of(alias))
            sizes = {
                name: size - tailed[name] for name, size in held.items() if size > tailed[name]
            }
            self._groups[alias] = now, sizes
        return sizes

    def _look_at(self, alias: str, layer: Any) -> dict[str, Any]:
        looked: dict[str, Any] = {"alias": alias, "kind": type(layer).__name__}
        looked["stats"] = stats = dict(layer.stats())
        stats["channels"] = stats.get("channels", 0) - sum(
            tail.channel_layer_alias == alias for tail in self.tails
        )
        looked["tail"] = self.may_tail(alias)
        if isinstance(layer, BaseChannelLayer):
            looked["prefix"] = layer.options.prefix
            looked["publishing"] = {
                "count": layer.publishing.count,
                "seconds": layer.publishing.seconds,
            }
        return looked

    def _each(self) -> Iterator[tuple[str, Any]]:
        """Yield each layer that counts, by every alias."""
        for alias in channel_layers.list_aliases():
            layer: Any = channel_layers.get(alias)
            if hasattr(layer, "stats"):
                yield alias, layer
