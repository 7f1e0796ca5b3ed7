"""The NATS layer against nats-py itself, and against peers on NATS and on Redis.

One private nats-server on loopback, uvloop, messages of 100 bytes; CPU is that of the measured
Python process.

- one group: 64 concurrent senders to one group; nats-py publishes 64 messages and flushes.
- lone: from one send to its arrival in the same process, median.
- groups: 10,000 joined one after another, each confirmed by the server; memory for each.
- durable: the first case to a group with a history, against nats-py's acknowledged publishes to
  a JetStream stream, 64 at a time, and what a message costs more than one that is not kept.
- replay: 10,000 kept messages in pages of 200, against nats-py's pull consumer.
- any broker: against the best of the peers, each on a broker of its own; one of them,
  channels-nats, on this one. "Arrivals" are 64 concurrent senders to one group with one member in
  that process, until all have arrived; "two processes" are 100 members in one process with the
  sender in another, as redis_layers measures it. "One group" is the first without the member,
  which compares promises as well: when ours returns, the server has the message, and when
  channels-nats' returns, a buffer of the process has it (the time of its last flush counts). So
  that one has no target.
"""

from collections.abc import Iterator
from statistics import median

from benchmarks.layers_compared import Figures, alone, take, worker
from benchmarks.processes import in_turns
from benchmarks.servers import running
from benchmarks.table import Row, compare
from benchmarks.table import measure as text

PEERS = ("channels", "channels_core", "litestar", "fast_channels", "broadcaster", "channels_nats")


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with running("nats") as broker:

        def measured(case: str, *sides: str) -> list[Figures]:
            return take(broker.url, case, *(f"nats/{side}" for side in sides))

        ours, plain = measured("send", "ours", "plain")
        yield compare("nats", "one group, nats-py", ours["rate"], plain["rate"], "/s", at_least=0.4)
        cpu = median(ours["cpu"])
        yield alone("nats", "one group, CPU", cpu, "us", 10)
        ours, plain = measured("lone", "ours", "plain")
        case = "lone send, p50, nats-py"
        yield compare("nats", case, ours["p50"], plain["p50"], "us", at_most=1.3)
        ours, plain = measured("joins_in_turn", "groups", "plain")
        yield compare("nats", "joins, nats-py", ours["rate"], plain["rate"], "/s", at_least=1)
        mine, theirs = median(ours["kib"]), median(plain["kib"])
        units = text(mine, "KiB"), text(theirs, "KiB")
        yield Row("nats", "memory of a group", *units, mine, " KiB", at_most=1.5)
        for case, label in (("send", "durable group"), ("pages", "replay")):
            ours, plain = measured(case, "durable", "stream")
            rates = ours["rate"], plain["rate"]
            yield compare("nats", f"{label}, nats-py", *rates, "/s", at_least=1)
            yield compare("nats", f"{label}, nats-py, CPU", ours["cpu"], plain["cpu"], "us")
            if case == "send":
                kept = median(ours["cpu"])
                units = text(kept, "us"), text(cpu, "us")
                yield Row("nats", "durable group, another, CPU", *units, kept / cpu)
        yield from any_broker(broker.url)


def any_broker(url: str) -> Iterator[Row]:
    """Yield the rows against the best of all peers; ours first, as in every round."""
    with running("redis") as redis:
        sides = {peer: f"redis/{peer}" for peer in PEERS} | {"channels_nats": "nats/channels_nats"}
        at = {"nats/channels_nats": url}
        for case, name, least in (
            ("arrive_all", "arrivals", 1.0),
            ("two_processes", "two processes", 1.2),
            ("send", "one group", None),
        ):
            ours, *others = in_turns(
                worker(url, case, "nats/ours"),
                *(worker(at.get(side, redis.url), case, side) for side in sides.values()),
            )
            found = dict(zip(sides, others, strict=True))
            best = max(found, key=lambda peer: median(found[peer]["rate"]))
            for peer, theirs in found.items():
                label = f"{name}, {peer}{' (best peer)' if peer == best else ''}"
                rates = ours["rate"], theirs["rate"]
                yield compare("nats", label, *rates, "/s", at_least=least)
                yield compare("nats", f"{label}, CPU", ours["cpu"], theirs["cpu"], "us")
