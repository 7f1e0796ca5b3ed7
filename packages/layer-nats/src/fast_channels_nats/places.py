"""Offsets of what a stream keeps: the sequence, and a random even number of whoever published it.

A server that is set back, by a loss of power or by a backup, gives the same sequences to other
messages.
The number tells them apart. An odd offset is the place right before the next one's entry.
"""

import random
from typing import Final, NamedTuple

KEEPS: Final = b"Fast-Channels-Keeps"
"""Header: how many entries of the topic are kept, for how many milliseconds each, the number."""

BITS: Final = 32

MOST: Final = 1 << 62
LONGEST: Final = 30 * 365 * 86_400.0
"""Entries, and seconds, that a topic can keep: of more, so many. JetStream counts nanoseconds, in
signed integers of 64 bits, and a stream keeps everything for twice as long."""


class Keeps(NamedTuple):
    """What an entry says of itself."""

    keep: int
    milliseconds: int
    number: int


def keeps_line(keep: int, ttl: float) -> bytes:
    """Return the header of a new entry, with a number of its own."""
    number = random.getrandbits(BITS - 1) << 1
    milliseconds = max(1, round(min(ttl, LONGEST) * 1000))
    return b"%b: %d %d %d\r\n" % (KEEPS, min(keep, MOST), milliseconds, number)


def keeps_of(head: bytes) -> Keeps | None:
    """Return what the entry says of itself; None: it is of a foreign client."""
    at = head.find(KEEPS)
    if at < 0:
        return None
    words = head[at + len(KEEPS) + 1 : head.find(b"\r", at)].split()
    try:
        keep, milliseconds, number = map(int, words)
    except ValueError:
        return None
    return Keeps(keep, milliseconds, number)


def offset_of(sequence: int, keeps: Keeps | None) -> int:
    """Return the offset of an entry."""
    return sequence << BITS | (keeps.number if keeps is not None else 0)


def sequence_of(offset: int) -> int:
    """Return the sequence of an entry."""
    return offset >> BITS
