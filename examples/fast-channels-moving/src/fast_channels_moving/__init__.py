"""Moves Fast Channels from one broker to another without downtime."""

from fast_channels_moving.layer import MovingChannelLayer

__all__ = ["MovingChannelLayer"]
