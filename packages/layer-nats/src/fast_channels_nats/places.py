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


class Keeps(NamedTuple):
    """What an entry says of itself."""

    keep: int
    milliseconds: int
    number: int


def keeps_line(keep: int, ttl: float) -> bytes:
    """Return the header of a new entry, with a number of its own."""
    number = random.getrandbits(BITS - 1) << 1
    return b"%b: %d %d %d\r\n" % (KEEPS, keep, max(1, round(ttl * 1000)), number)


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
