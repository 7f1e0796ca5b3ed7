"""The suite for backends: every law of ``Backend``, and whether the class declares what is so."""

from fast_channels.testing.conformance.backend_delivery import DeliveryClauses
from fast_channels.testing.conformance.backend_life import LifeClauses
from fast_channels.testing.conformance.backend_order import OrderClauses
from fast_channels.testing.conformance.backend_subscriptions import SubscriptionClauses
from fast_channels.testing.conformance.broker import POWERS
from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.outages import OutageClauses


class BackendTests(DeliveryClauses, SubscriptionClauses, OrderClauses, LifeClauses, OutageClauses):
    """Subclass it in your tests, write ``build``, and pytest runs every clause."""

    @clause
    async def test_the_declared_capabilities_are_the_real_ones(self) -> None:
        """Usual cause: a power was lost by mistake (its attribute is None before ``open``), or
        ``capabilities`` was not told of a new one."""
        process = await self.process()
        backends = {"open": process.backend, "unopened": self.build()}
        for state, backend in backends.items():
            real = {power for power in POWERS if getattr(backend, power, None) is not None}
            assert real == self.capabilities, f"of an {state} backend"

    @clause
    async def test_the_declared_sizes_are_ones_that_core_can_use(self) -> None:
        """``max_payload`` is None or at least 512 bytes, ``frame_bytes`` is positive, and both are
        known before ``open`` and stay. Usual cause: a size is read from the broker at opening;
        core has read it before."""
        backend = self.build()
        sizes = backend.max_payload, backend.frame_bytes
        process = await self.process()
        assert sizes == (process.backend.max_payload, process.backend.frame_bytes)
        limit, frame = sizes
        assert limit is None or (type(limit) is int and limit >= 512)
        assert type(frame) is int
        assert frame > 0
