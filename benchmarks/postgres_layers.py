"""The PostgreSQL layer against a floor, plain asyncpg, channels_postgres and Litestar.

One private server on loopback, uvloop, messages of 100 bytes; CPU is that of the measured Python
process, the server's where it says so.

- one group, many groups: 64 concurrent senders, messages for each second, and CPU for each.
- one group, peers: the same with one member, without which channels_postgres sends nothing.
- four processes: the same in four at once, which share the cores with the server.
- 10,000 groups with one member each, against 100: CPU for a message, sent and delivered.
- durable groups: as the first two; the floor inserts and notifies by one statement for each batch,
  and neither trims nor sees to the order of several processes. The server runs without fsync.
- replay: one member that resumes 20,000 messages behind.
- lone: from one send to its arrival, median.
- group's size: the server's CPU for a message to 1,000 members in another process, against one.

The floor is ``sides.drivers.AsyncpgBatched``: one prepared statement for each batch of 64.
"""

from collections.abc import Iterator
from statistics import median

from benchmarks.layers_compared import Figures, alone, take, worker
from benchmarks.processes import in_turns
from benchmarks.servers import running
from benchmarks.table import Row, compare

BEHIND = 20_000


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    with running("postgres") as broker:

        def measured(case: str, *sides: str, options: tuple[object, ...] = ()) -> list[Figures]:
            names = (f"postgres/{side}" for side in sides)
            return take(broker.url, case, *names, options=options)

        def ours_in(*cases: tuple[object, ...]) -> list[Figures]:
            ways = (worker(broker.url, str(case), "postgres/ours", *more) for case, *more in cases)
            return in_turns(*ways)

        ours, floor = measured("send", "ours", "floor")
        rate = ours["rate"]
        yield compare("postgres", "one group, floor", rate, floor["rate"], "/s", at_least=0.25)
        yield alone("postgres", "one group, CPU", median(ours["cpu"]), "us", 15)
        ours, channels, litestar = measured("send_with_reader", "ours", "channels", "litestar")
        rate, other = ours["rate"], channels["rate"]
        yield compare("postgres", "one group, channels_postgres", rate, other, "/s", at_least=5)
        other = litestar["rate"]
        yield compare("postgres", "one group, Litestar", rate, other, "/s", at_least=100)
        four, one = ours_in(("processes",), ("send",))
        case = "four processes, one process"
        yield compare("postgres", case, four["rate"], one["rate"], "/s", at_least=1)
        yield compare("postgres", f"{case}, CPU", four["cpu"], one["cpu"], "us")
        ours, floor = measured("send", "ours", "floor", options=(64,))
        yield alone("postgres", "many groups, CPU", median(ours["cpu"]), "us", 15)
        yield compare("postgres", "many groups, floor", ours["rate"], floor["rate"], "/s")
        many, few = ours_in(("many_groups", 10_000), ("many_groups", 100))
        case = "10,000 groups, 100 groups, CPU"
        yield compare("postgres", case, many["cpu"], few["cpu"], "us", at_most=2)
        durable, ours, floor = measured("send", "durable", "ours", "durable_floor")
        case = "durable group, floor"
        yield compare("postgres", case, durable["rate"], floor["rate"], "/s", at_least=0.25)
        case = "durable group, other group, CPU"
        yield compare("postgres", case, durable["cpu"], ours["cpu"], "us")
        durable, ours = measured("send", "durable", "ours", options=(64,))
        case = "many durable groups, other groups"
        yield compare("postgres", case, durable["rate"], ours["rate"], "/s")
        [replay] = measured("resume", "durable", options=(BEHIND,))
        yield alone("postgres", "replay", median(replay["rate"]), "/s")
        yield alone("postgres", "replay, CPU", median(replay["cpu"]), "us", 15)
        ours, plain = measured("lone", "ours", "plain")
        case = "lone send, p50, asyncpg"
        yield compare("postgres", case, ours["p50"], plain["p50"], "us", at_most=1.3)
        many, one = ours_in(("group_of", broker.pid, 1_000), ("group_of", broker.pid, 1))
        case = "server's CPU, 1,000 members, one"
        yield compare("postgres", case, many["cpu"], one["cpu"], "us", at_most=1.3)
