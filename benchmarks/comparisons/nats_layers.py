"""The NATS layer against nats-py itself, and against peers on NATS and on Redis.

One private nats-server on loopback, uvloop, messages of 100 bytes; CPU is that of the measured
Python process, in microseconds for each.

- one group: 64 concurrent senders to one group; nats-py publishes 64 messages and flushes.
- lone: as the scenario of that name, the median from one send to its arrival.
- groups: 10,000 joined one after another, each confirmed by the server; joins for each second, and
  KiB of memory for each.
- durable: the first case to a group with a history, against nats-py's acknowledged publishes to
  a JetStream stream, 64 at a time, and what a message costs more than one that is not kept.
- replay: 10,000 kept messages in pages of 200, against nats-py's pull consumer.
- any broker: against the best of the peers, each on a broker of its own; one of them,
  channels-nats, on this one. "Arrivals" are 64 concurrent senders to one group with one member in
  that process, until all have arrived; "two processes" is the scenario of that name with 100
  members. "One group" is the first without the member, which compares promises as well: when ours
  returns, the server has the message, and when channels-nats' returns, a buffer of the process has
  it (the time of its last flush counts). So that one has no target.
"""

from collections.abc import Iterator
from statistics import median

from benchmarks.comparisons.layers import Layers, durable
from benchmarks.comparisons.redis_layers import ACROSS, LONE
from benchmarks.comparisons.table import Row
from benchmarks.comparisons.turns import in_turns
from benchmarks.launch.brokers import running

PEERS = (
    *("channels-redis-pubsub", "channels-redis-core", "litestar-redis"),
    *("fast-channels-1.1-redis", "broadcaster-redis", "channels-nats"),
)


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with running("nats") as broker:
        on = Layers(broker)
        ours, plain = on.measured("send", "ours-nats", "nats-py")
        yield on.compare("one group, nats-py", ours, plain, at_least=0.4)
        yield on.alone("one group, CPU", ours, at_most=10)
        yield from durable(on, "ours-nats", "ours-nats-kept", "jetstream", "nats-py")
        ours, plain = on.measured("lone", "ours-nats", "nats-py", messages=2_000)
        yield on.compare("lone send, p50, nats-py", ours, plain, LONE, at_most=1.3)
        ours, plain = on.measured("joins_in_turn", "ours-nats-groups", "nats-py")
        yield on.compare("joins, nats-py", ours, plain, at_least=1)
        yield on.alone("memory of a group", ours, "kib", at_most=1.5)
        yield on.compare("memory of a group, nats-py", ours, plain, "kib")
        yield from any_broker(on)


def any_broker(on: Layers) -> Iterator[Row]:
    """Yield the rows against the best of all peers; ours first, as in every round."""
    with running("redis") as broker:
        there = Layers(broker)
        for what, name, figure, least in (
            ("arrive", "arrivals", "", {"at_least": 1.0}),
            ("two_processes", "two processes", f"{ACROSS}, ", {"at_least": 1.2}),
            ("send", "one group", "", {}),
        ):
            params = {"sizes": [100]} if what == "two_processes" else {}
            ours, *others = in_turns(
                on.way(what, "ours-nats", **params),
                *((on if "nats" in p else there).way(what, p, **params) for p in PEERS),
            )
            if lost := sum(sum(each.get("lost", ())) for each in (ours, *others)):
                raise RuntimeError(f"{name}: {lost:.0f} messages have not arrived")
            found = dict(zip(PEERS, others, strict=True))
            best = max(found, key=lambda peer: median(found[peer][f"{figure}rate"]))
            for peer, theirs in found.items():
                label = f"{name}, {peer}{' (best peer)' if peer == best else ''}"
                yield on.compare(label, ours, theirs, f"{figure}rate", **least)
                yield on.compare(f"{label}, CPU", ours, theirs, f"{figure}cpu_us")
