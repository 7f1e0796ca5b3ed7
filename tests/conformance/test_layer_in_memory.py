"""The memory layer keeps every clause of the kit, on asyncio and on uvloop."""

import uvloop

from .layers import MemoryLayerTests


class TestMemoryLayer(MemoryLayerTests):
    """On asyncio's loop."""


class TestMemoryLayerOnUvloop(MemoryLayerTests):
    """On uvloop's."""

    loop_factory = staticmethod(uvloop.new_event_loop)
