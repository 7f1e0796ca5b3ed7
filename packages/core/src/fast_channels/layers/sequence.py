"""Numbers on frames, by which a receiver sees that a broker dropped or repeated one.

Brokers drop silently: full queues, slow consumers, a frozen server. Every node numbers its frames
with one rising counter, and each frame carries the number of the one before it to the same topic.
Both tables are bounded; an evicted entry reads as unknown, which is never a false alarm.
"""

from collections import OrderedDict
from typing import Final, Literal

Verdict = Literal["new", "gap", "repeat"]

TOPICS_REMEMBERED: Final = 65_536
NODES_REMEMBERED: Final = 1_024


class Sequencer:
    """Numbers the frames of one node."""

    __slots__ = ("_last", "_seq")

    def __init__(self) -> None:
        self._seq = 0
        # Not a dict: finding its first key takes as long as there are deleted ones before it.
        self._last: OrderedDict[str, int] = OrderedDict()

    def next(self, topic: str) -> tuple[int, int]:
        """Return the ``seq`` and ``prev`` of the next frame to ``topic``."""
        self._seq += 1
        last = self._last
        prev = last.pop(topic, 0)
        last[topic] = self._seq
        if len(last) > TOPICS_REMEMBERED:
            last.popitem(last=False)
        return self._seq, prev


class Tracker:
    """The last number seen on one subscribed topic, per sending node."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def check(self, node: str, seq: int, prev: int) -> Verdict:
        """Note the frame and say whether it is new, comes after a loss, or is a repeat."""
        last = self._last
        seen = last.pop(node, 0)
        if seen and seq <= seen:
            last[node] = seen
            return "repeat"
        last[node] = seq
        if len(last) > NODES_REMEMBERED:
            del last[next(iter(last))]
        return "gap" if seen and prev and prev != seen else "new"

    def forget(self) -> None:
        """Start afresh: the loss of everything until now has been told."""
        self._last.clear()
