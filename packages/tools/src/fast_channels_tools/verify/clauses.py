"""What pytest collects: the kit's suites over the target. Loaded by ``running`` only."""

from typing import Any, ClassVar

from fast_channels.layers import Backend, BaseChannelLayer, ChannelLayer
from fast_channels.testing.conformance import BackendTests, LayerTests, PresenceTests
from fast_channels.testing.conformance.broker import POWERS

from .running import current_target

_target = current_target()


class _Claims:
    """What is claimed of the target, as the attributes of the suites."""

    capabilities = _target.powers
    no_outage: ClassVar[str | None] = "verify does not stop the broker"
    prefixes = _target.place.prefix
    patience = _target.patience
    limit = max(25.0, 5 * _target.patience)
    order_across_topics = _target.order_across_topics
    secret = _target.secret
    queue_capacity = _target.queue_capacity
    redelivers = _target.redelivers
    exact_history = _target.exact_history
    no_backend: ClassVar[str | None] = None
    no_sync: ClassVar[str | None] = None

    def build_layer(self, **options: Any) -> ChannelLayer:
        return _target.build(**options)

    def build(self) -> Backend:
        layer = _target.build()
        assert isinstance(layer, BaseChannelLayer)
        return layer.create_backend()


if not _target.has_backend:
    _Claims.no_backend = "the layer is no BaseChannelLayer"
if not _target.has_sync:
    _Claims.no_sync = "the layer has no attribute sync"
_layer: tuple[type, ...] = (_Claims, LayerTests)
if _target.has_presence:
    _layer = (*_layer, PresenceTests)
TestLayer = type("TestLayer", _layer, {"__module__": __name__})
if _target.has_backend:
    _suites: tuple[type, ...] = (
        _Claims,
        BackendTests,
        *(POWERS[power] for power in sorted(_target.powers)),
    )
    TestBackend = type("TestBackend", _suites, {"__module__": __name__})
