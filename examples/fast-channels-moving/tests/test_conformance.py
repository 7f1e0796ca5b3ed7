"""The conformance kit of Fast Channels, over two memory layers."""

from typing import Any

from fast_channels.testing import LayerTests

from fast_channels_moving import MovingChannelLayer


class TestMoving(LayerTests):
    capabilities = frozenset({"queues"})
    no_outage = "both brokers live in this process"
    no_backend = "what is below are two layers, which have tests of their own"
    no_sync = "synchronous code has to use the two layers themselves"

    def build_layer(self, **options: Any) -> MovingChannelLayer:
        both = {"old": "memory://old", "new": "memory://new", "read": "new"}
        return MovingChannelLayer(**{**both, "gaps": False, **options})
