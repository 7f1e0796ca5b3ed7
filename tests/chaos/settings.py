"""What all processes of a run share: the broker, the layer, which groups are durable."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from fast_channels import register_channel_layer
from fast_channels.layers import BaseChannelLayer, HistoryPolicy

ROOT = Path(__file__).parents[2]
"""Where the processes of the run find this package."""

DURABLE = "kept."
"""How the names of durable groups begin."""


class Settings(NamedTuple):
    """How the processes of a run reach each other."""

    url: str
    prefix: str
    durable: bool
    """Whether the broker keeps histories."""

    def text(self) -> str:
        """Return what ``read`` reads."""
        return json.dumps(self)

    @classmethod
    def read(cls, text: str) -> "Settings":
        """Return what ``text()`` was made of."""
        return cls(*json.loads(text))

    def register(self) -> BaseChannelLayer:
        """Return the layer of this process, which consumers find, too."""
        options: dict[str, Any] = {"prefix": self.prefix, "capacity": 40}
        options["overflow"] = "disconnect"  # who reads too slowly is told so, by being cut off
        if self.durable:
            options["history"] = {f"{DURABLE}*": HistoryPolicy(keep=5_000)}
        layer = register_channel_layer("default", self.url, **options)
        assert isinstance(layer, BaseChannelLayer)
        return layer
