"""The Redis layer against a floor, plain redis-py, channels_redis and Litestar.

One private redis-server on loopback, uvloop, messages of 100 bytes; CPU is that of the measured
Python process.

- one group: 64 concurrent senders to one group, messages for each second, and CPU for each.
- many groups: 64 concurrent senders to 64 groups, CPU for each message.
- two processes: 100 members in one, the sender in another, at most 50 messages undelivered;
  deliveries for each second, and the CPU that each costs the receiver. Every member gets a dict of
  its own, but for Litestar's bytes: all members get the same undecoded bytes, which is what its
  iter_events gives; "Litestar, decoded" makes dicts of them. channels_redis is measured with both
  of its layers; elsewhere, only its faster one, pub/sub.
- groups of two: 10,000 groups with two members each, CPU for each delivery, by one sequential
  sender and by 64.
- durable group: 64 concurrent senders to one group whose messages are kept; the floor appends to
  a stream and publishes, in one script.
- replay: a member reads 10,000 messages that were kept, CPU for each.
- lone: from one send to its arrival, median.

The floor is ``sides.compared.Floor``: what two bare protocols over hiredis do.
"""

from collections.abc import Iterator
from statistics import median

from benchmarks.layers_compared import Figures, alone, take
from benchmarks.servers import running
from benchmarks.table import Row, compare

PEERS = {
    "litestar_bytes": "Litestar's bytes",
    "litestar": "Litestar, decoded",
    "channels": "channels_redis pub/sub",
    "channels_core": "channels_redis core",
}
KEPT = 9_984


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with running("redis") as broker:

        def measured(case: str, *sides: str, options: tuple[object, ...] = ()) -> list[Figures]:
            names = (f"redis/{side}" for side in sides)
            return take(broker.url, case, *names, options=options)

        ours, floor, theirs, other = measured("send", "ours", "floor", "channels", "litestar")
        yield compare("redis", "one group, floor", ours["rate"], floor["rate"], "/s", at_least=0.5)
        yield compare(
            "redis", "one group, channels_redis", ours["rate"], theirs["rate"], "/s", at_least=5
        )
        yield compare("redis", "one group, Litestar", ours["rate"], other["rate"], "/s", at_least=2)
        yield alone("redis", "one group, CPU", median(ours["cpu"]), "us", 12)
        ours, floor = measured("send", "ours", "floor", options=(64,))
        yield alone("redis", "many groups, CPU", median(ours["cpu"]), "us", 25)
        yield compare("redis", "many groups, CPU, floor", ours["cpu"], floor["cpu"], "us")
        ours, *others = measured("two_processes", "ours", *PEERS)
        for name, peer, least in zip(PEERS.values(), others, (1, 1, 3, 3), strict=True):
            case = f"two processes, {name}"
            yield compare("redis", case, ours["rate"], peer["rate"], "/s", at_least=least)
            yield compare("redis", f"{case}, CPU", ours["cpu"], peer["cpu"], "us")
        ours, other, theirs = measured("groups_of_two", "ours", "litestar", "channels")
        for senders, limit in (("one", 0.8), ("64", 0.5)):
            best = min((other[senders], theirs[senders]), key=median)
            case = f"groups of two, {senders} sender{'' if senders == 'one' else 's'}, CPU"
            yield compare("redis", f"{case}, best peer", ours[senders], best, "us", at_most=limit)
        durable, floor, ours = measured("send", "durable", "durable_floor", "ours")
        rates = durable["rate"], floor["rate"]
        yield compare("redis", "durable group, floor", *rates, "/s", at_least=0.4)
        costs = durable["cpu"], ours["cpu"]
        yield compare("redis", "durable group, CPU, not durable", *costs, "us", at_most=3)
        [durable] = measured("resume", "durable", options=(KEPT,))
        yield alone("redis", "replay, CPU", median(durable["cpu"]), "us", 40)
        ours, plain = measured("lone", "ours", "plain")
        yield compare(
            "redis", "lone send, p50, redis-py", ours["p50"], plain["p50"], "us", at_most=1.2
        )
