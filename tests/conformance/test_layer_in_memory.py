"""The memory layer keeps every clause of the kit, on asyncio and on uvloop."""

from typing import Any

import uvloop

from fast_channels.layers import ChannelLayer, InMemoryChannelLayer
from fast_channels.testing import LayerTests


class TestMemoryLayer(LayerTests):
    capabilities = frozenset({"queues"})
    no_outage = "the broker is this process"

    def build_layer(self, **options: Any) -> ChannelLayer:
        return InMemoryChannelLayer(url="memory://conformance", **options)


class TestMemoryLayerOnUvloop(TestMemoryLayer):
    loop_factory = staticmethod(uvloop.new_event_loop)
