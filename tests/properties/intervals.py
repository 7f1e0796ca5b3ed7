"""What must, may and must not arrive where operations overlap.

Everything has a step at which it began and one at which it was certainly over. A message must reach
a channel that was a member all that time, and may not reach one that never was.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["out", "in", "perhaps"]


@dataclass(eq=False)
class Change:
    """A join or a leave."""

    state: State
    """What the channel is when it has succeeded."""
    before: State
    remote: bool
    alone: bool = True
    """No other change of this membership overlapped it."""


@dataclass(eq=False)
class Membership:
    """Whether one channel was a member of one group, step by step."""

    history: list[tuple[int, State]] = field(default_factory=lambda: [(-1, "out")])
    pending: list[Change] = field(default_factory=list)
    haunted: bool = False
    """A change that failed elsewhere may take effect at any time."""

    @property
    def now(self) -> State:
        """The state of this step."""
        return self.history[-1][1]

    def become(self, step: int, state: State) -> None:
        """The state from this step on."""
        self.history.append((step, state))

    def begin(self, step: int, state: State, *, remote: bool) -> Change:
        """A change begins."""
        change = Change(state, self.now, remote)
        for other in self.pending:
            other.alone = change.alone = False
        self.pending.append(change)
        if change.before != state:
            self.become(step, "perhaps")
        return change

    def end(self, step: int, change: Change, *, succeeded: bool) -> None:
        """The change is over."""
        self.pending.remove(change)
        if not succeeded and change.remote:
            self.haunted = True
        certain = change.alone and not self.haunted
        if certain and succeeded:
            self.become(step, change.state)
        elif certain and change.before == "out":
            self.become(step, "out")
        else:
            self.become(step, "perhaps")

    def flush(self, step: int) -> None:
        """The channel has left, but for what is under way."""
        for change in self.pending:
            change.alone = False
        self.become(step, "perhaps" if self.pending or self.haunted else "out")

    def during(self, start: int, end: int | None) -> set[State]:
        """Return every state from ``start`` to ``end`` (None: for ever)."""
        earlier = [state for step, state in self.history if step < start]
        meanwhile = [s for step, s in self.history if step >= start and (not end or step <= end)]
        return {earlier[-1], *meanwhile}


@dataclass(eq=False)
class Sent:
    """One message under way."""

    message: dict[str, Any]
    session: tuple[int, int]
    """The sending node, and how often it had been opened again."""
    target: object
    """A group's name, or a channel."""
    exclude: object
    start: int
    done: int | None = None
    """The sender went on."""
    over: int | None = None
    """It has arrived wherever it is to arrive; None: perhaps it still will."""
    succeeded: bool = False

    @property
    def n(self) -> int:
        """Its number, in the order of sending."""
        return int(self.message["n"])

    def precedes(self, other: "Sent") -> bool:
        """Whether one who gets both must get this one first."""
        if self.session != other.session or self.n >= other.n:
            return False
        return self.target == other.target or (self.done is not None and self.done < other.start)


def misplaced(received: list[Sent]) -> list[tuple[int, int]]:
    """Return the pairs that came in the wrong order, or twice."""
    return [
        (first.n, second.n)
        for place, first in enumerate(received)
        for second in received[place + 1 :]
        if first is second or second.precedes(first)
    ]
