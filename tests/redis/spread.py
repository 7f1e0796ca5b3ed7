"""The conformance kit where topics live on several servers: order holds on each, not across.

What one process publishes to two servers comes by two connections, and nobody can tell which was
first.
"""

from fast_channels.testing import BackendTests, HistoryTests, LayerTests, PresenceTests, QueueTests


class SpreadBackendTests(BackendTests, QueueTests, HistoryTests):
    """For a backend over several servers."""

    capabilities = frozenset({"queues", "history"})
    order_across_topics = False


class SpreadLayerTests(LayerTests, PresenceTests):
    """For a layer over several servers: its channels and groups may be on different ones."""

    capabilities = frozenset({"queues", "history"})
    order_across_topics = False
