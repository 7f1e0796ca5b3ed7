"""What was sent, what came to whom, and the verdict.

Laws that the verdict holds every client to, per publisher and group:

* Nothing comes twice, nothing comes after a later number, and nothing comes that nobody sent.
* Durable: everything that was sent is there, whatever the client was told.
* Not durable: what the sender was told is sent is there, or the client was told of a gap in that
  stretch: between the neighbours of what is missing, and not before its sending began. What the
  sender was told is perhaps not sent may be missing.

Times are of ``time.monotonic()``, which the processes of one machine share.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Stream(NamedTuple):
    """The numbered messages of one publisher to one group: 1, 2, 3, ..."""

    group: str
    publisher: int


class Told(NamedTuple):
    """From here on the client knows that something may be missing before."""

    at: float


class Number(NamedTuple):
    """A message that came."""

    publisher: int
    number: int


@dataclass
class Sent:
    """One message, as its publisher saw it."""

    began: float
    confirmed: bool = False


@dataclass
class Findings:
    """What is wrong, in words; nothing, if all is well."""

    duplicates: list[str] = field(default_factory=list)
    disorders: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        """All of it."""
        return iter([*self.duplicates, *self.disorders, *self.strangers, *self.losses])


class Ledger:
    """Everything that the publishers and the clients told."""

    def __init__(self) -> None:
        self.sent: dict[Stream, dict[int, Sent]] = defaultdict(dict)
        self.gaps = 0
        """How often a client was told of a gap while it was connected, or not recovered."""
        self._seen: dict[tuple[str, str], list[Number | Told]] = {}
        self._last: dict[tuple[str, Stream], int] = {}
        self._told: dict[tuple[str, str], float] = {}

    # --- what publishers tell -----------------------------------------------------------------

    def began(self, stream: Stream, number: int, at: float) -> None:
        """A publisher sends this from now on."""
        self.sent[stream].setdefault(number, Sent(at))

    def confirmed(self, stream: Stream, number: int) -> None:
        """The layer told the publisher that the broker has it."""
        self.sent[stream][number].confirmed = True

    # --- what clients tell --------------------------------------------------------------------

    def joined(self, client: str, group: str) -> None:
        """Whatever begins to be sent to the group from now on is the client's."""
        self._seen.setdefault((client, group), [])

    def came(self, client: str, stream: Stream, number: int) -> None:
        """The client has read this message."""
        self._seen[client, stream.group].append(Number(stream.publisher, number))
        self._last[client, stream] = max(number, self._last.get((client, stream), 0))

    def told(self, client: str, group: str, at: float) -> None:
        """The client learned now that it may have missed something."""
        self._seen[client, group].append(Told(at))
        self._told[client, group] = at

    # --- what comes of it ---------------------------------------------------------------------

    @property
    def messages(self) -> int:
        """How many were sent."""
        return sum(map(len, self.sent.values()))

    @property
    def deliveries(self) -> int:
        """How many came, to all clients together."""
        return sum(isinstance(one, Number) for seen in self._seen.values() for one in seen)

    def complete(self, durable: frozenset[str]) -> bool:
        """Whether every client has the newest confirmed message of every publisher.

        Outside ``durable`` groups it is enough that it was told of a gap after that began.
        """
        for stream, sent in self.sent.items():
            newest = max((n for n, one in sent.items() if one.confirmed), default=0)
            for client, group in self._seen:
                if group == stream.group and self._last.get((client, stream), 0) < newest:
                    told = 0.0 if group in durable else self._told.get((client, group), 0.0)
                    if told <= sent[newest].began:
                        return False
        return True

    def verdict(self, durable: frozenset[str]) -> Findings:
        """Return what is wrong with what every client saw; ``durable`` groups are kept."""
        findings = Findings()
        for (client, group), seen in self._seen.items():
            for stream, sent in self.sent.items():
                if stream.group == group:
                    mine = [
                        one
                        for one in seen
                        if isinstance(one, Told) or one.publisher == stream.publisher
                    ]
                    who = f"{client} in {group}, publisher {stream.publisher}"
                    _examine(who, mine, sent, group in durable, findings)
        return findings


def _examine(
    who: str, seen: list[Number | Told], sent: dict[int, Sent], durable: bool, findings: Findings
) -> None:
    highest, got = 0, set[int]()
    told = [0.0]
    """When the client was last told of a gap, in each stretch that ends with a new highest."""
    missing: dict[int, float] = {}
    """By number: when the client was last told of a gap between its neighbours."""
    for one in seen:
        if isinstance(one, Told):
            told.append(one.at)
            continue
        number = one.number
        if number not in sent:
            findings.strangers.append(f"{who}: {number} was never sent")
        elif number in got:
            findings.duplicates.append(f"{who}: {number} came again")
        elif number < highest:
            findings.disorders.append(f"{who}: {number} came after {highest}")
        got.add(number)
        if number > highest:
            missing.update(dict.fromkeys(range(highest + 1, number), told[-1]))
            highest, told = number, [0.0]
    missing.update(dict.fromkeys(range(highest + 1, max(sent, default=0) + 1), told[-1]))
    for number in sorted((set(missing) & set(sent)) - got):
        excused = not sent[number].confirmed or sent[number].began < missing[number]
        if durable or not excused:
            findings.losses.append(
                f"{who}: {number} is missing, sending began at {sent[number].began:.3f}"
                + (f", told of a gap at {missing[number]:.3f}" if missing[number] else "")
            )
