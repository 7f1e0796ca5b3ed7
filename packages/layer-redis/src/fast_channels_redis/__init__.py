"""Redis and Valkey for Fast Channels: a channel layer over one server, Sentinels or a Cluster."""

from fast_channels_redis.backend import RedisBackend
from fast_channels_redis.layer import RedisChannelLayer, RedisPubSubChannelLayer, redis_layer
from fast_channels_redis.sharding import consistent_hash
from fast_channels_redis.type_defs import (
    ChannelDecodedRedisHost,
    ChannelRawRedisHost,
    SymmetricEncryptionKeys,
)

__all__ = [
    "ChannelDecodedRedisHost",
    "ChannelRawRedisHost",
    "RedisBackend",
    "RedisChannelLayer",
    "RedisPubSubChannelLayer",
    "SymmetricEncryptionKeys",
    "consistent_hash",
    "redis_layer",
]
