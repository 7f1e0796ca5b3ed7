"""PostgreSQL for Fast Channels: a channel layer over LISTEN and NOTIFY."""

from fast_channels_postgres.backend import PostgresBackend
from fast_channels_postgres.layer import PostgresChannelLayer, postgres_layer

__all__ = ["PostgresBackend", "PostgresChannelLayer", "postgres_layer"]
