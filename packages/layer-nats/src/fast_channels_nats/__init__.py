"""NATS for Fast Channels: groups on core NATS, worker queues on JetStream."""

from fast_channels_nats.backend import NatsBackend
from fast_channels_nats.layer import NatsChannelLayer, nats_layer

__all__ = ["NatsBackend", "NatsChannelLayer", "nats_layer"]
