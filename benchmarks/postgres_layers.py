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

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from statistics import median

from tests.postgres.servers import running

from benchmarks.processes import OURS, in_turns, install
from benchmarks.table import Row, compare
from benchmarks.table import measure as text

CHANNELS = ("channels-postgres>=1.1.4,<2", "psycopg[binary]")
LITESTAR = ("litestar>=2.25,<3", "asyncpg", "msgspec")


def rows() -> Iterator[Row]:
    """Yield a row for each comparison."""
    pythons = {
        "litestar": install("litestar-postgres", *LITESTAR),
        "channels": install("channels-postgres", *CHANNELS),
    }
    with server() as (port, pid):

        def take(case: str, *sides: str) -> list[dict[str, list[float]]]:
            return in_turns(
                *((pythons.get(s, OURS), "postgres_worker", "uvloop", s, case, port) for s in sides)
            )

        def cases(*names: str) -> list[dict[str, list[float]]]:
            worker = (OURS, "postgres_worker", "uvloop", "ours")
            return in_turns(*((*worker, name, port) for name in names))

        ours, floor = take("one_group", "ours", "floor")
        rate = ours["rate"]
        yield compare("postgres", "one group, floor", rate, floor["rate"], "/s", at_least=0.25)
        yield alone("one group, CPU", ours["cpu"], 15)
        ours, channels, litestar = take("one_reader", "ours", "channels", "litestar")
        rate, other = ours["rate"], channels["rate"]
        yield compare("postgres", "one group, channels_postgres", rate, other, "/s", at_least=5)
        other = litestar["rate"]
        yield compare("postgres", "one group, Litestar", rate, other, "/s", at_least=100)
        four, one = cases("four_processes", "one_group")
        case = "four processes, one process"
        yield compare("postgres", case, four["rate"], one["rate"], "/s", at_least=1)
        yield compare("postgres", f"{case}, CPU", four["cpu"], one["cpu"], "us")
        ours, floor = take("many_groups", "ours", "floor")
        yield alone("many groups, CPU", ours["cpu"], 15)
        yield compare("postgres", "many groups, floor", ours["rate"], floor["rate"], "/s")
        many, few = cases("many_thousand_groups", "hundred_groups")
        case = "10,000 groups, 100 groups, CPU"
        yield compare("postgres", case, many["cpu"], few["cpu"], "us", at_most=2)
        durable, ours, floor = take("one_group", "durable", "ours", "durable_floor")
        case = "durable group, floor"
        yield compare("postgres", case, durable["rate"], floor["rate"], "/s", at_least=0.25)
        case = "durable group, other group, CPU"
        yield compare("postgres", case, durable["cpu"], ours["cpu"], "us")
        durable, ours = take("many_groups", "durable", "ours")
        case = "many durable groups, other groups"
        yield compare("postgres", case, durable["rate"], ours["rate"], "/s")
        [replay] = take("replay", "durable")
        middle = median(replay["rate"])
        yield Row("postgres", "replay", text(middle, "/s"), "-", middle, " /s")
        yield alone("replay, CPU", replay["cpu"], 15)
        ours, plain = take("lone", "ours", "plain")
        case = "lone send, p50, asyncpg"
        yield compare("postgres", case, ours["p50"], plain["p50"], "us", at_most=1.3)
        worker = (OURS, "postgres_worker", "uvloop", "ours", "group_of", port, pid)
        many, one = in_turns((*worker, 1_000), (*worker, 1))
        case = "server's CPU, 1,000 members, one"
        yield compare("postgres", case, many["cpu"], one["cpu"], "us", at_most=1.3)


def alone(case: str, values: list[float], limit: float) -> Row:
    """Return the row of a figure that is compared with nothing."""
    middle = median(values)
    return Row("postgres", case, text(middle, "us"), "-", middle, " us", at_most=limit)


@contextmanager
def server() -> Generator[tuple[int, int], None, None]:
    """A server of our own for the time of the ``with``; yields its port and its process id."""
    with running("trust", max_connections="200") as own:  # Litestar connects for each message
        assert own.process is not None
        yield own.port, own.process.pid
