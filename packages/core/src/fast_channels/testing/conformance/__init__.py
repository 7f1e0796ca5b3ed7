"""The conformance kit: what a backend, its powers and its layer must do, as tests to subclass.

An author writes one class and one method; every law of ``Backend`` is a clause, named as a
sentence. Clauses bring their own event loop, so no pytest plugin and no setting is needed.
"""

from fast_channels.testing.conformance.backend import BackendTests
from fast_channels.testing.conformance.history import HistoryTests
from fast_channels.testing.conformance.layer import LayerTests
from fast_channels.testing.conformance.presence import PresenceTests
from fast_channels.testing.conformance.queues import QueueTests

__all__ = ["BackendTests", "HistoryTests", "LayerTests", "PresenceTests", "QueueTests"]
