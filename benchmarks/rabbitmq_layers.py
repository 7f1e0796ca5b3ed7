"""The RabbitMQ layer against aio-pika itself and channels_rabbitmq.

One private node on loopback, uvloop, messages of 100 bytes; CPU is that of the measured Python
process.

- one group, 1,000 groups: 64 concurrent senders and the members in one process; messages for each
  second until all have arrived, and how many did not.
- hot group: 64 concurrent senders to a group whose members are elsewhere; CPU for each message.
- durable: the hot group with a history, against aio-pika's confirmed publishes to a stream, and
  against a group that is not kept.
- replay: 10,000 kept messages in pages of 200, against aio-pika's consumer of a stream.
- two processes: 100 members in one, the sender in another, at most 50 messages undelivered;
  deliveries of dicts for each second.
- lone: from one send to its arrival, median; aio-pika publishes with confirms.
- joins: 10,000 groups at once, by the time of one binding after another.
"""

from collections.abc import Iterator
from statistics import median

from benchmarks.layers_compared import Figures, alone, take, worker
from benchmarks.processes import in_turns
from benchmarks.servers import running
from benchmarks.table import Row, compare
from benchmarks.table import measure as text


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with running("rabbitmq") as broker:

        def measured(case: str, *sides: str, options: tuple[object, ...] = ()) -> list[Figures]:
            names = (f"rabbitmq/{side}" for side in sides)
            return take(broker.url, case, *names, options=options)

        for groups, name, least in ((1, "one group", 8), (1_000, "1,000 groups", 2)):
            ours, peer = measured("arrive", "ours", "channels", options=(groups,))
            case, rates = f"{name}, channels_rabbitmq", (ours["rate"], peer["rate"])
            yield compare("rabbitmq", case, *rates, "/s", at_least=least)
            lost, theirs = sum(ours["lost"]), sum(peer["lost"])
            yield Row("rabbitmq", f"{name}, lost", f"{lost:g}", f"{theirs:g}", lost, at_most=0)
        [ours] = measured("send", "ours")
        cpu = median(ours["cpu"])
        yield alone("rabbitmq", "hot group, CPU", cpu, "us", 20)
        for case, name in (("send", "durable group"), ("pages", "replay")):
            kept, floor = measured(case, "durable", "stream")
            rates = kept["rate"], floor["rate"]
            yield compare("rabbitmq", f"{name}, aio-pika", *rates, "/s", at_least=1)
            yield compare("rabbitmq", f"{name}, aio-pika, CPU", kept["cpu"], floor["cpu"], "us")
            if case == "send":
                more = median(kept["cpu"])
                units = text(more, "us"), text(cpu, "us")
                yield Row("rabbitmq", "durable group, another, CPU", *units, more / cpu)
        ours, peer = measured("two_processes", "ours", "channels")
        case, rates = "two processes, channels_rabbitmq", (ours["rate"], peer["rate"])
        yield compare("rabbitmq", case, *rates, "/s", at_least=4)
        ours, plain = measured("lone", "ours", "plain")
        case = "lone send, p50, aio-pika"
        yield compare("rabbitmq", case, ours["p50"], plain["p50"], "us", at_most=1.3)
        together, single, plain = in_turns(
            worker(broker.url, "joins_at_once", "rabbitmq/ours"),
            worker(broker.url, "joins_in_turn", "rabbitmq/ours"),
            worker(broker.url, "joins_in_turn", "rabbitmq/plain"),
        )
        for name, other, limit in (
            ("aio-pika in turn", plain, 0.45),
            ("ours in turn", single, None),  # the server's work is the same
        ):
            case, seconds = f"10,000 joins at once, {name}", (together["seconds"], other["seconds"])
            yield compare("rabbitmq", case, *seconds, "s", at_most=limit)
