"""What is compared: one module a library, each behind the methods of ``Side``.

``ENTRIES`` is the list; a scenario measures those that have the broker it asks for. This module and
all of this package run in every environment, so they import a library only where it is measured.

To add a library: a module here with a subclass of ``Side`` for each of its backends, an ``Entry``
for each, and its requirements in ``benchmarks/launch/environments.py``.
"""

import importlib
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.sides.side import Side

BROKERS: Final = ("memory", "redis", "postgres", "rabbitmq", "nats")
"""In the order of tables and plots; ``memory`` is one process without a broker."""

NO_CHANNEL: Final = "it has no channel in the process: what it delivers goes to a client's socket"
NO_PACKAGE: Final = "no package of Debian, PyPI or npm has it"
PACKETS: Final = "it delivers encoded packets to a connection, no dicts to a reader"

Promises = dict[str, tuple[str, ...]]
"""What a peer does not promise and we do, and the scenarios in which that counts; none: in all."""

BYTES: Final[Promises] = {"it hands over bytes, no dicts": ()}
TEXT: Final[Promises] = {"it hands over text, no dicts": ()}
UNANSWERED: Final[Promises] = {"its join returns before the server has answered": ("joins",)}


@dataclass(frozen=True)
class Entry:
    """One library on one broker."""

    name: str
    """Names it on the command line and in results."""

    label: str
    """Names it in tables and plots, beside the broker."""

    broker: str
    role: str
    """``ours``, ``peer``, ``driver`` (the library below ours, used plainly) or ``floor``."""

    source: str
    """``module:class`` of this package."""

    environment: str | None = None
    """Of ``launch.environments.LIBRARIES``; None is where this runs."""

    other_promise: Promises = field(default_factory=dict)
    """Where a target does not compare with this peer, and why; empty: it promises what we do."""

    cannot: dict[str, str] = field(default_factory=dict)
    """Why it cannot be measured in a scenario, by the scenario's name."""

    only: tuple[str, ...] = ()
    """The scenarios that it is measured in; empty: all."""

    def make(self, url: str, roomy: bool) -> Side:
        """Return the side, not opened; ``roomy``: with room for all that is sent, not as it comes.

        Call it in the entry's environment.
        """
        module, _, name = self.source.partition(":")
        side: Any = getattr(importlib.import_module(f"benchmarks.sides.{module}"), name)
        made: Side = side(url, roomy)
        return made


def _peer(name: str, label: str, broker: str, source: str, where: str, *more: Any) -> Entry:
    return Entry(name, label, broker, "peer", source, where, *more)


def _ours(broker: str, label: str = "Fast Channels", **more: Any) -> Entry:
    name = more.pop("name", f"ours-{broker}" + ("-history" if "history" in label else ""))
    return Entry(name, label, broker, "ours", more.pop("source"), **more)


HISTORY: Final = {"only": ("senders", "two_processes", "latency", "lone", "burst")}
"""Where keeping messages makes a difference."""

ENTRIES: Final = (
    Entry("bare", "bare loop", "memory", "floor", "bare:Bare"),
    _ours("memory", source="ours:Memory"),
    _peer(
        "fast-channels-1.1-memory", "fast-channels 1.1", "memory",
        "layers:FastChannelsMemory", "fast-channels",
    ),
    _peer(
        "channels-memory", "Django Channels", "memory",
        "layers:ChannelsMemory", "channels",
    ),
    _peer("litestar-memory", "Litestar", "memory", "litestar:Memory", "litestar", BYTES),
    _peer(
        "broadcaster-memory", "broadcaster", "memory",
        "broadcaster:Memory", "broadcaster", TEXT,
    ),
    # Redis
    Entry("hiredis", "bare protocol (hiredis)", "redis", "floor", "drivers:Hiredis"),
    Entry("redis-py", "redis-py", "redis", "driver", "drivers:RedisPy"),
    _ours("redis", source="ours:Redis"),
    _ours("redis", "Fast Channels, history", source="ours:RedisHistory", **HISTORY),
    _peer(
        "channels-redis-pubsub", "channels_redis pub/sub", "redis",
        "layers:ChannelsRedisPubSub", "channels", UNANSWERED,
    ),
    _peer(
        "channels-redis-core", "channels_redis core", "redis",
        "layers:ChannelsRedisCore", "channels",
    ),
    _peer(
        "fast-channels-1.1-redis", "fast-channels 1.1 pub/sub", "redis",
        "layers:FastChannelsRedisPubSub", "fast-channels", UNANSWERED,
    ),
    _peer(
        "litestar-redis", "Litestar pub/sub", "redis",
        "litestar:Redis", "litestar", BYTES | UNANSWERED,
    ),
    _peer(
        "litestar-streams", "Litestar streams", "redis",
        "litestar:RedisStreams", "litestar", BYTES | UNANSWERED,
    ),
    _peer(
        "broadcaster-redis", "broadcaster", "redis",
        "broadcaster:Broker", "broadcaster", TEXT | UNANSWERED,
    ),
    Entry(
        "socketio-redis", "python-socketio", "redis", "peer", "socketio:Redis", "socketio",
        {PACKETS: ()},
        {**dict.fromkeys(("joins", "footprint", "burst"), NO_CHANNEL), "latency": PACKETS},
    ),
    # PostgreSQL
    Entry("asyncpg-batched", "asyncpg, batched", "postgres", "floor", "drivers:AsyncpgBatched"),
    Entry("asyncpg", "asyncpg", "postgres", "driver", "drivers:Asyncpg"),
    _ours("postgres", source="ours:Postgres"),
    _ours("postgres", "Fast Channels, history", source="ours:PostgresHistory", **HISTORY),
    _peer(
        "channels-postgres", "channels_postgres", "postgres",
        "layers:ChannelsPostgres", "channels-postgres",
        {"what is sent before a member's first receive is lost": ("joins",)},
    ),
    _peer(
        "litestar-asyncpg", "Litestar asyncpg", "postgres",
        "litestar:Asyncpg", "litestar", BYTES,
    ),
    _peer(
        "litestar-psycopg", "Litestar psycopg", "postgres",
        "litestar:Psycopg", "litestar", BYTES,
    ),
    _peer(
        "broadcaster-postgres", "broadcaster", "postgres",
        "broadcaster:Broker", "broadcaster",
        {"two sends at once raise asyncpg's InterfaceError": ()} | TEXT,
    ),
    # RabbitMQ
    Entry("aio-pika", "aio-pika", "rabbitmq", "driver", "drivers:AioPika"),
    _ours("rabbitmq", source="ours:RabbitMQ"),
    _ours("rabbitmq", "Fast Channels, history", source="ours:RabbitMQHistory", **HISTORY),
    _peer(
        "channels-rabbitmq", "channels_rabbitmq", "rabbitmq",
        "layers:ChannelsRabbitMQ", "channels-rabbitmq",
    ),
    # NATS
    Entry("nats-py", "nats-py", "nats", "driver", "drivers:NatsPy"),
    _ours("nats", source="ours:Nats"),
    _ours("nats", "Fast Channels, history", source="ours:NatsHistory", **HISTORY),
    _peer("channels-nats", "channels_nats", "nats", "layers:ChannelsNats", "channels-nats"),
    # The brokers' own tools
    Entry("redis-benchmark", "redis-benchmark", "redis", "tool", ""),
    Entry("pgbench", "pgbench", "postgres", "tool", ""),
    Entry(
        "rabbitmq-perf-test", "PerfTest", "rabbitmq", "tool", "",
        cannot={"tools": f"{NO_PACKAGE}: it is a Java archive to download"},
    ),
    Entry(
        "nats-bench", "nats bench", "nats", "tool", "",
        cannot={"tools": f"{NO_PACKAGE}: it is part of the nats command"},
    ),
)  # fmt: skip

QUICK: Final = (
    *("bare", "ours-memory", "litestar-memory"),
    *("redis-py", "ours-redis", "channels-redis-pubsub", "litestar-redis", "broadcaster-redis"),
    *("asyncpg", "ours-postgres", "channels-postgres"),
    *("aio-pika", "ours-rabbitmq", "channels-rabbitmq"),
    *("nats-py", "ours-nats", "channels-nats"),
    *("redis-benchmark", "pgbench", "rabbitmq-perf-test", "nats-bench"),
)
"""The sides of a quick run: we, the plain drivers, and the peers that come closest."""


COMPARED: Final = (
    Entry("redis-floor", "bare protocol, msgpack", "redis", "floor", "compared:RedisFloor"),
    Entry("redis-kept-floor", "and a stream", "redis", "floor", "compared:RedisKeptFloor"),
    _peer(
        "litestar-redis-bytes", "Litestar, not decoded", "redis",
        "compared:LitestarBytes", "litestar", BYTES,
    ),
    _ours("postgres", name="ours-postgres-kept", source="compared:PostgresKept"),
    Entry(
        "postgres-kept-floor", "asyncpg, batched inserts", "postgres", "floor",
        "compared:PostgresKeptFloor",
    ),
    _ours("rabbitmq", name="ours-rabbitmq-kept", source="compared:RabbitMQKept"),
    Entry(
        "rabbitmq-stream", "aio-pika on a stream", "rabbitmq", "driver",
        "compared:RabbitMQStream",
    ),
    _ours("nats", name="ours-nats-groups", source="compared:NatsGroups"),
    _ours("nats", name="ours-nats-kept", source="compared:NatsKept"),
    Entry("jetstream", "nats-py on JetStream", "nats", "driver", "compared:JetStream"),
)  # fmt: skip
"""Sides that only comparisons measure."""


def entry(name: str) -> Entry:
    """Return the entry of that name; raises ``KeyError``."""
    return {one.name: one for one in (*ENTRIES, *COMPARED)}[name]
