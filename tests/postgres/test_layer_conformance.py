"""The conformance kit's clauses about layers, over one server, its outages included."""

from typing import Any

import pytest

from fast_channels.testing.conformance import LayerTests, PresenceTests
from fast_channels_postgres import PostgresChannelLayer

from .test_conformance import Broken


class Layers(Broken):
    """What the suites over layers share."""

    capabilities = frozenset({"queues", "history"})

    def build_layer(self, **options: Any) -> PostgresChannelLayer:
        return PostgresChannelLayer(self.server.url, **options)


class TestLayer(Layers, LayerTests):
    pass


@pytest.mark.long  # nothing in it is this broker's: it is made of topics alone
class TestPresence(Layers, PresenceTests):
    pass
