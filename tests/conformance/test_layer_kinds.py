"""The kit passes for layers of other kinds than the memory layer."""

from functools import cached_property
from typing import Any

from fast_channels.layers import BaseChannelLayer, ChannelLayer, InMemoryChannelLayer
from fast_channels.layers.in_memory import MemoryBroker
from fast_channels.testing import LayerTests, PresenceTests

from .layers import CutLayerTests, SmallLayer, TwoLayers


class TestLayerThatCanBeCutOff(CutLayerTests):
    """Over a broker with outages."""


class TestLayerOfSmallPayloads(LayerTests, PresenceTests):
    """Without queues, over a broker that takes 2,000 bytes at once."""

    no_outage = "the broker is this process"

    @cached_property
    def broker(self) -> MemoryBroker:
        return MemoryBroker()

    def build_layer(self, **options: Any) -> ChannelLayer:
        return SmallLayer(self.broker, **options)


class TestLayerOverTwoLayers(LayerTests, PresenceTests):
    """A ``ChannelLayer`` that is no ``BaseChannelLayer``."""

    capabilities = frozenset({"queues"})
    no_outage = "the broker is this process"
    no_sync = "its two layers have one each"

    def build_layer(self, **options: Any) -> ChannelLayer:
        live, queues = (InMemoryChannelLayer(url="memory://two", **options) for _ in range(2))
        layer = TwoLayers(live, queues)
        assert isinstance(layer, ChannelLayer)
        assert not isinstance(layer, BaseChannelLayer)
        return layer

    async def inject(self, layer: Any, topic: str, payload: bytes) -> None:
        await super().inject(layer.live, topic, payload)
