"""The layer that the server and the sensors share: the same broker, the same options."""

import os

from fast_channels import register_channel_layer
from fast_channels.layers import HistoryPolicy

layer = register_channel_layer(
    "default",
    os.environ.get("LAYER", "redis://localhost:6379"),
    history={"readings": HistoryPolicy(keep=300, ttl=3_600)},
)
