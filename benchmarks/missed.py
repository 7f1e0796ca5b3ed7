"""Why a target is missed: one reason for each scenario or case, shown where a run has missed it.

Beside each stands the floor of the same case, from the same run: the best of the bare loop, the
bare protocol and the plain driver, which have no bounds, no reconnecting and no isolation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.results import Result, Row

FLOORS: Final = ("floor", "driver")


@dataclass(frozen=True)
class Reason:
    """What explains a miss; what is empty fits everything."""

    text: str
    scenario: str = ""
    case: str = ""
    """The case contains it."""

    ours: str = ""
    against: str = ""

    def fits(self, target: dict[str, Any]) -> bool:
        """Return whether it speaks of this target."""
        return (
            self.scenario in ("", target["scenario"])
            and self.case in target["case"]
            and self.ours in ("", target["ours"])
            and self.against in ("", target["against"])
        )


BUFFERED: Final = (
    "channels_nats' send returns when a buffer of its process has the message; ours when the "
    "server has it, or raises."
)
TWICE_BUFFERED: Final = (
    " Twice its rate is above the plain client's, which waits for the server once in 64 messages."
)
ONE_BY_ONE: Final = (
    "One sender waits for one answer of the broker after another. It, the broker and the wake-ups "
    "between them take turns, on every library: together they keep about one core busy."
)
ALONE_IN_RABBITMQ: Final = (
    " Of bare frames, too, such a message takes the broker some 100 microseconds of CPU and its "
    "sender 50, on one channel, on two or over two connections: that is all the time that the "
    "target leaves."
)
BINDINGS: Final = (
    "RabbitMQ makes each binding in a transaction, and the join returns when that is done. For "
    "bare frames, too, it works some 180 microseconds on one that comes alone, and 130 on each of "
    "many, on one channel or on eight. "
)
ENCODED: Final = (
    "The memory layer encodes and decodes as every broker does, so that what works on it works "
    "elsewhere; the other hands over the sender's object, or a copy of it."
)
OWN_TOPIC: Final = (
    "Every message goes to another group, so what waits together cannot share a frame: the broker "
    "routes each by itself."
)
REASONS: Final = (
    Reason(
        "Text of the publisher is handed to each socket there; here, each reader gets a dict, and "
        "its handler encodes its own text. The rest is the server's write to the socket, which "
        "the bare application pays, too.",
        "websockets", against="broadcaster-redis",
    ),
    Reason(
        "What the layer's frame, a dict for each reader and a handler that encodes its own text "
        "add to the server's write to the socket.",
        "websockets",
    ),
    Reason(
        "More objects than fit into a core's cache: boxes and copies here, boxes alone there.",
        "group_size", against="bare",
    ),
    Reason("A larger group made more messages: this is a fault.", "group_size", against="N=1"),
    Reason(ENCODED, "group_size", ours="ours-memory"),
    Reason(ENCODED, "lone", ours="ours-memory"),
    Reason(ENCODED, "many_groups", ours="ours-memory"),
    Reason(
        "Each reader gets a copy of the message in a mailbox with bounds, and is woken.",
        "group_size", ",000",
    ),
    Reason(BUFFERED + " " + ONE_BY_ONE, "group_size", ours="ours-nats"),
    Reason(BUFFERED + " " + ONE_BY_ONE, "many_groups", "one sender", "ours-nats"),
    Reason(BUFFERED + " " + OWN_TOPIC, "many_groups", ours="ours-nats"),
    Reason(BUFFERED + TWICE_BUFFERED, "senders", ours="ours-nats"),
    Reason(BUFFERED + TWICE_BUFFERED, "two_processes", ours="ours-nats"),
    Reason(ONE_BY_ONE + ALONE_IN_RABBITMQ, "group_size", ours="ours-rabbitmq"),
    Reason(ONE_BY_ONE + ALONE_IN_RABBITMQ, "many_groups", "one sender", "ours-rabbitmq"),
    Reason(ONE_BY_ONE, "group_size"),
    Reason(ONE_BY_ONE, "many_groups", "one sender"),
    Reason(OWN_TOPIC, "many_groups"),
    Reason(
        "A group there is a dict of names, and a channel is nothing until a message comes. Here a "
        "channel has its bounded mailbox from the start, and a new group its topic, which the "
        "broker has before the join returns.",
        "joins", ours="ours-memory",
    ),
    Reason(
        "No broker is asked, so what is compared is a mailbox and an entry of a dict.",
        "joins", "same group",
    ),
    Reason(
        BINDINGS + "What comes meanwhile goes out together when it has answered, so it waits while "
        "the next members are made.",
        "joins", "at once", "ours-rabbitmq",
    ),
    Reason(
        BINDINGS + "The rest is ours: a mailbox with bounds, a topic, and three wake-ups.",
        "joins", "distinct", "ours-rabbitmq",
    ),
    Reason(
        "Each new group is a subscription that the broker has to confirm before the join returns; "
        "most of it is the broker's own work.",
        "joins", "distinct",
    ),
    Reason(
        "At a low rate each message wakes cores that were idle; how much of it that is shows the "
        "floor, which does little else.",
        "latency",
    ),
    Reason(
        "The broker's round trip and the loop's wake-ups are the driver's, too; the frame, the "
        "mailbox and the copy of the message are ours.",
        "lone",
    ),
    Reason("Senders that come together share a frame; the broker's round trip is left.", "senders"),
    Reason(
        "The receiver unpacks a frame, and copies a dict for each of its members.",
        "two_processes",
    ),
    Reason("A mailbox with its bounds, and its memberships.", "footprint"),
    Reason("Most of a connection is the server's, as the bare application shows.", "idle"),
    Reason("Something was lost and nobody told: this is a fault, please report it."),
)  # fmt: skip
"""The first that fits is the reason; the last one is for losses, which have none."""

PACED: Final = ("latency", "websockets")
"""Scenarios at a fixed rate, in which nobody is busy."""

NOISE: Final = "The rounds lie on both sides of the limit."


def missed(result: Result) -> list[dict[str, Any]]:
    """Return the targets that are not met."""
    return [one for one in result.targets if not one["met"]]


def why(target: dict[str, Any]) -> str:
    """Return the reason; empty where nobody has written one yet."""
    text = next((reason.text for reason in REASONS if reason.fits(target)), "").strip()
    low, high = target["spread"]
    limit = target["at_least"] if "at_least" in target else target["at_most"]
    both = low < high and low <= limit <= high
    return f"{text} {NOISE}".strip() if both else text


def busy(result: Result, target: dict[str, Any]) -> str:
    """Return how much of a core our process and the broker used meanwhile, where that says much."""
    for row in () if target["scenario"] in PACED else result.of(target["scenario"]):
        if (row.case, row.side) == (target["case"], target["ours"]) and row.middle("rate"):
            rate, ours, theirs = map(row.middle, ("rate", "cpu_us", "broker_cpu_us"))
            shares = [rate * cost / 1e6 for cost in (ours, theirs) if rate and cost]
            return " + ".join(f"{share:.2f}" for share in shares)
    return "-"


def floor(result: Result, target: dict[str, Any]) -> Row | None:
    """Return the row of the floor that came best in the target's case, if there is one."""
    measure = target["measure"]
    broker = result.side(target["ours"])["broker"]
    rows = [row for row in floors(result, target, broker) if row.middle(measure) is not None]
    choose = min if "at_most" in target else max
    return choose(rows, key=lambda row: row.middle(measure) or 0.0, default=None)


def floors(result: Result, target: dict[str, Any], broker: str) -> Iterator[Row]:
    """Yield the rows of floors in the same case; the bare application counts for every broker."""
    for row in result.of(target["scenario"]):
        side = result.side(row.side)
        same = side["broker"] == broker or target["scenario"] in ("websockets", "idle")
        if row.case == target["case"] and side["role"] in FLOORS and same:
            yield row
