"""Channel layers: register one, look it up, send to channels and groups.

Backend authors import from here, too: ``Backend`` and what its methods speak of.
"""

from fast_channels import plugins as plugins
from fast_channels.layers.backend import Backend, Inbox, Job, Publication, WorkerQueues
from fast_channels.layers.backoff import reconnect_delays
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.in_memory import InMemoryChannelLayer
from fast_channels.layers.jobs import Lease
from fast_channels.layers.link import Link, LinkConnection
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.protocol import Channel, ChannelLayer
from fast_channels.layers.registry import (
    ChannelLayerRegistry,
    channel_layers,
    get_channel_layer,
    has_layers,
    register_channel_layer,
    unregister_channel_layer,
)

__all__ = [
    "Backend",
    "BaseChannelLayer",
    "Channel",
    "ChannelLayer",
    "ChannelLayerRegistry",
    "InMemoryChannelLayer",
    "Inbox",
    "Job",
    "LayerOptions",
    "Lease",
    "Link",
    "LinkConnection",
    "Publication",
    "WorkerQueues",
    "channel_layers",
    "get_channel_layer",
    "has_layers",
    "reconnect_delays",
    "register_channel_layer",
    "unregister_channel_layer",
]
