"""The PostgreSQL layer against a floor, plain asyncpg, channels_postgres and Litestar.

One private server on loopback, uvloop, messages of 100 bytes; CPU is that of the measured Python
process, the server's where it says so, in microseconds for each.

- one group, many groups: 64 concurrent senders, messages for each second, and CPU for each.
- one group, peers: the same with one member there, until all have arrived.
- four processes: the same in four at once, which share the cores with the server.
- 10,000 groups: as the scenario ``many_groups``, with two members each, against 100 groups; CPU for
  a delivery.
- durable groups: as the first two; the floor inserts and notifies by one statement for each batch,
  and neither trims nor sees to the order of several processes. The server runs without fsync.
- replay: one member that resumes 20,000 messages behind; messages for each second.
- lone: as the scenario of that name, the median from one send to its arrival.
- group's size: the server's CPU for a message to 1,000 members in another process, against one.

The floor is ``sides.drivers.AsyncpgBatched``: one prepared statement for each batch of 64.
"""

from collections.abc import Iterator

from benchmarks.comparisons.layers import Layers
from benchmarks.comparisons.redis_layers import LONE
from benchmarks.comparisons.table import Row
from benchmarks.comparisons.turns import in_turns
from benchmarks.launch.brokers import running

BEHIND = 20_000


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with running("postgres") as broker:
        on = Layers(broker)
        ours, floor = on.measured("send", "ours-postgres", "asyncpg-batched")
        yield on.compare("one group, floor", ours, floor, at_least=0.25)
        yield on.alone("one group, CPU", ours, at_most=15)
        ours, channels, litestar = on.measured(
            "arrive", "ours-postgres", "channels-postgres", "litestar-asyncpg"
        )
        yield on.compare("one group, channels_postgres", ours, channels, at_least=5)
        yield on.compare("one group, Litestar", ours, litestar, at_least=100)
        ways = (on.way(case, "ours-postgres") for case in ("four_processes", "send"))
        four, one = in_turns(*ways)
        yield on.compare("four processes, one process", four, one, at_least=1)
        yield on.compare("four processes, one process, CPU", four, one, "cpu_us")
        ours, floor = on.measured("send", "ours-postgres", "asyncpg-batched", groups=64)
        yield on.alone("many groups, CPU", ours, at_most=15)
        yield on.compare("many groups, floor", ours, floor)
        many, few = in_turns(
            *(on.way("many_groups", "ours-postgres", groups=groups) for groups in (10_000, 100))
        )
        case = "10,000 groups, 100 groups, CPU"
        yield on.compare(case, many, few, "64 senders, cpu_us", at_most=2)
        durable, ours, floor = on.measured(
            "send", "ours-postgres-kept", "ours-postgres", "postgres-kept-floor"
        )
        yield on.compare("durable group, floor", durable, floor, at_least=0.25)
        yield on.compare("durable group, other group, CPU", durable, ours, "cpu_us")
        durable, ours = on.measured("send", "ours-postgres-kept", "ours-postgres", groups=64)
        yield on.compare("many durable groups, other groups", durable, ours)
        [replay] = on.measured("resume", "ours-postgres-kept", behind=BEHIND)
        yield on.alone("replay", replay, "rate")
        yield on.alone("replay, CPU", replay, at_most=15)
        ours, plain = on.measured("lone", "ours-postgres", "asyncpg", messages=2_000)
        yield on.compare("lone send, p50, asyncpg", ours, plain, LONE, at_most=1.3)
        many, one = in_turns(
            *(on.way("server_cpu", "ours-postgres", members=members) for members in (1_000, 1))
        )
        case = "server's CPU, 1,000 members, one"
        yield on.compare(case, many, one, "broker_cpu_us", at_most=1.3)
