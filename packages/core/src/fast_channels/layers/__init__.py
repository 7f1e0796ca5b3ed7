"""Channel layers: register one, look it up, send to channels and groups.

Backend authors import from here, too: ``Backend`` and what its methods speak of.
"""

from fast_channels import plugins as plugins  # which hears of events from now on
from fast_channels.layers.backend import (
    Append,
    Backend,
    Entry,
    History,
    Inbox,
    Job,
    Kept,
    Page,
    Position,
    Publication,
    WorkerQueues,
)
from fast_channels.layers.backoff import reconnect_delays
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.health import Health
from fast_channels.layers.history import HistoryPolicy, Message
from fast_channels.layers.in_memory import InMemoryChannelLayer
from fast_channels.layers.jobs import Lease
from fast_channels.layers.link import Link, LinkConnection
from fast_channels.layers.names import is_history_topic
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.protocol import Channel, ChannelLayer, HistoryLayer, PresenceLayer
from fast_channels.layers.registry import (
    ChannelLayerRegistry,
    channel_layers,
    get_channel_layer,
    has_layers,
    register_channel_layer,
    unregister_channel_layer,
)

__all__ = [
    "Append",
    "Backend",
    "BaseChannelLayer",
    "Channel",
    "ChannelLayer",
    "ChannelLayerRegistry",
    "Entry",
    "Health",
    "History",
    "HistoryLayer",
    "HistoryPolicy",
    "InMemoryChannelLayer",
    "Inbox",
    "Job",
    "Kept",
    "LayerOptions",
    "Lease",
    "Link",
    "LinkConnection",
    "Message",
    "Page",
    "Position",
    "PresenceLayer",
    "Publication",
    "WorkerQueues",
    "channel_layers",
    "get_channel_layer",
    "has_layers",
    "is_history_topic",
    "reconnect_delays",
    "register_channel_layer",
    "unregister_channel_layer",
]
