"""Redis and Valkey for Fast Channels: a channel layer over one server, Sentinels or a Cluster."""

from fast_channels_redis.backend import RedisBackend
from fast_channels_redis.layer import RedisChannelLayer, RedisPubSubChannelLayer, redis_layer

__all__ = ["RedisBackend", "RedisChannelLayer", "RedisPubSubChannelLayer", "redis_layer"]
