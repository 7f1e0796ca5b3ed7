"""The RabbitMQ layer against aio-pika itself and channels_rabbitmq.

One private node on loopback, uvloop, messages of 100 bytes; CPU is that of the measured Python
process, in microseconds for each.

- one group, 1,000 groups: 64 concurrent senders and the members in one process; messages for each
  second until all have arrived, and how many did not.
- hot group: 64 concurrent senders to a group whose members are elsewhere; CPU for each message.
- durable: the hot group with a history, against aio-pika's confirmed publishes to a stream, and
  against a group that is not kept.
- replay: 10,000 kept messages in pages of 200, against aio-pika's consumer of a stream; messages
  for each second.
- two processes: as the scenario ``two_processes``, 100 members; deliveries for each second.
- lone: as the scenario of that name, the median from one send to its arrival; aio-pika publishes
  with confirms.
- joins: 10,000 groups at once, by the time of one binding after another; seconds.
"""

from collections.abc import Iterator

from benchmarks.comparisons.layers import Layers, durable
from benchmarks.comparisons.redis_layers import ACROSS, LONE
from benchmarks.comparisons.table import Row
from benchmarks.comparisons.turns import in_turns
from benchmarks.launch.brokers import running


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with running("rabbitmq") as broker:
        on = Layers(broker)
        for groups, name, least in ((1, "one group", 8), (1_000, "1,000 groups", 2)):
            ours, peer = on.measured("arrive", "ours-rabbitmq", "channels-rabbitmq", groups=groups)
            yield on.compare(f"{name}, channels_rabbitmq", ours, peer, at_least=least)
            lost, theirs = sum(ours["lost"]), sum(peer["lost"])
            yield Row("rabbitmq", f"{name}, lost", f"{lost:g}", f"{theirs:g}", lost, "", at_most=0)
        [hot] = on.measured("send", "ours-rabbitmq")
        yield on.alone("hot group, CPU", hot, at_most=20)
        sides = "ours-rabbitmq", "ours-rabbitmq-kept", "rabbitmq-stream"
        yield from durable(on, *sides, "aio-pika")
        ours, peer = on.measured("two_processes", "ours-rabbitmq", "channels-rabbitmq", sizes=[100])
        case = "two processes, channels_rabbitmq"
        yield on.compare(case, ours, peer, f"{ACROSS}, rate", at_least=4)
        ours, plain = on.measured("lone", "ours-rabbitmq", "aio-pika", messages=2_000)
        yield on.compare("lone send, p50, aio-pika", ours, plain, LONE, at_most=1.3)
        together, single, plain = in_turns(
            on.way("joins_at_once", "ours-rabbitmq"),
            on.way("joins_in_turn", "ours-rabbitmq"),
            on.way("joins_in_turn", "aio-pika"),
        )
        case = "10,000 joins at once"
        yield on.compare(f"{case}, aio-pika in turn", together, plain, "seconds", at_most=0.45)
        # The server's work is the same.
        yield on.compare(f"{case}, ours in turn", together, single, "seconds")
