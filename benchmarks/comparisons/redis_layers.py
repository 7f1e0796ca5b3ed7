"""The Redis layer against a floor, plain redis-py, channels_redis and Litestar.

One private redis-server on loopback, uvloop, messages of 100 bytes; CPU is that of the measured
Python process, in microseconds for each.

- one group: 64 concurrent senders to one group, messages for each second, and CPU for each.
- many groups: 64 concurrent senders to 64 groups, CPU for each message.
- two processes: as the scenario ``two_processes``, 100 members; deliveries for each second, and the
  CPU that each costs the receiver. Every member gets a dict of its own, but for Litestar's bytes:
  all members get the same undecoded bytes, which is what its iter_events gives; "Litestar,
  decoded" makes dicts of them. channels_redis is measured with both of its layers; elsewhere, only
  its faster one, pub/sub.
- groups of two: as the scenario ``many_groups``, 10,000 groups with two members each; CPU for each
  delivery, by one sender and by 64.
- durable group: 64 concurrent senders to one group whose messages are kept; the floor appends to
  a stream and publishes, in one script.
- replay: a member reads 10,000 messages that were kept, CPU for each.
- lone: as the scenario of that name, the median from one send to its arrival.

The floor is ``sides.compared.RedisFloor``: what two bare protocols over hiredis do.
"""

from collections.abc import Iterator
from statistics import median

from benchmarks.comparisons.layers import Layers
from benchmarks.comparisons.table import Row
from benchmarks.launch.brokers import running

PEERS = {
    "litestar-redis-bytes": ("Litestar's bytes", 1),
    "litestar-redis": ("Litestar, decoded", 1),
    "channels-redis-pubsub": ("channels_redis pub/sub", 3),
    "channels-redis-core": ("channels_redis core", 3),
}
"""What each is called, and how many times its deliveries ours have to be."""

KEPT = 9_984
ACROSS = "N=100, at most 50 undelivered"
LONE = "one at a time, p50_us"


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with running("redis") as broker:
        on = Layers(broker)
        ours, floor, channels, litestar = on.measured(
            "send", "ours-redis", "redis-floor", "channels-redis-pubsub", "litestar-redis"
        )
        yield on.compare("one group, floor", ours, floor, at_least=0.5)
        yield on.compare("one group, channels_redis", ours, channels, at_least=5)
        yield on.compare("one group, Litestar", ours, litestar, at_least=2)
        yield on.alone("one group, CPU", ours, at_most=12)
        many, floor = on.measured("send", "ours-redis", "redis-floor", groups=64)
        yield on.alone("many groups, CPU", many, at_most=25)
        yield on.compare("many groups, CPU, floor", many, floor, "cpu_us")
        ours, *others = on.measured("two_processes", "ours-redis", *PEERS, sizes=[100])
        for (name, least), peer in zip(PEERS.values(), others, strict=True):
            case = f"two processes, {name}"
            yield on.compare(case, ours, peer, f"{ACROSS}, rate", at_least=least)
            yield on.compare(f"{case}, CPU", ours, peer, f"{ACROSS}, cpu_us")
        ours, *others = on.measured(
            "many_groups", "ours-redis", "litestar-redis", "channels-redis-pubsub"
        )
        for senders, limit in (("one sender", 0.8), ("64 senders", 0.5)):
            cost = f"{senders}, cpu_us"
            best = min(others, key=lambda peer: median(peer[cost]))
            case = f"groups of two, {senders}, CPU, best peer"
            yield on.compare(case, ours, best, cost, at_most=limit)
        durable, floor, ours = on.measured(
            "send", "ours-redis-history", "redis-kept-floor", "ours-redis"
        )
        yield on.compare("durable group, floor", durable, floor, at_least=0.4)
        yield on.compare("durable group, CPU, not durable", durable, ours, "cpu_us", at_most=3)
        [durable] = on.measured("resume", "ours-redis-history", behind=KEPT)
        yield on.alone("replay, CPU", durable, at_most=40)
        ours, plain = on.measured("lone", "ours-redis", "redis-py", messages=2_000)
        yield on.compare("lone send, p50, redis-py", ours, plain, LONE, at_most=1.2)
