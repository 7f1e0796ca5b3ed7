"""Many payloads in one message of the exchange.

RabbitMQ's work is per message, not per byte, so what one call publishes to many topics travels
together (where ``packing`` finds that faster): a message with one routing key for each topic, which
comes once to each queue that is bound to any of them. The body tells the topics, and who gets it
takes those that it wants.

A payload alone is the body as it is: so any client can publish to a group.
"""

from collections.abc import Iterator, Sequence
from struct import Struct, error
from typing import Final

from fast_channels.layers import Publication

MARK: Final = b"\xfcfc\x01"
"""How the body of several begins; a single payload that begins like it travels as one of one."""

MOST_TOPICS: Final = 100
MOST_BYTES: Final = 65_536
LARGEST: Final = 2_048
"""Bytes of a payload above which it travels alone: with others it goes to processes that do not
want it. With eight processes, each of which wants an eighth, 4,000 bytes are as fast either way."""

_SIZES: Final = Struct(">BI")
_LENGTH: Final = Struct(">I")
PLAIN: Final = b"\x00\x00"
"""The properties of a message that has none."""


def split(
    publications: Sequence[Publication], limit: int, topics: int = MOST_TOPICS
) -> Iterator[range]:
    """Return which publications travel together, in order, in at most ``limit`` bytes."""
    if topics == 1:
        for index in range(len(publications)):
            yield range(index, index + 1)
        return
    start, size = 0, len(MARK)
    most = min(MOST_BYTES, limit)
    for index, (topic, payload) in enumerate(publications):
        length = len(payload) + len(topic) + _SIZES.size
        alone = length > LARGEST
        if index > start and (alone or size + length > most or index - start >= topics):
            yield range(start, index)
            start, size = index, len(MARK)
        size += most if alone else length  # nothing has room beside it
    if start < len(publications):
        yield range(start, len(publications))


def pack(publications: Sequence[Publication]) -> tuple[str, bytes, bytes]:
    """Return the routing key, the properties and the body of one message for the publications."""
    first, payload = publications[0]
    if len(publications) == 1 and not payload.startswith(MARK):
        return first, PLAIN, payload
    parts, sizes = [MARK], _SIZES.pack
    for topic, payload in publications:
        parts += (sizes(len(topic), len(payload)), topic.encode(), payload)
    others = {topic: None for topic, _ in publications}
    del others[first]
    return first, _addresses(others) if others else PLAIN, b"".join(parts)


def unpack(body: bytes) -> list[Publication] | None:
    """Return the publications of a body that begins with ``MARK``; None when they are damaged."""
    found, at, end = list[Publication](), len(MARK), len(body)
    try:
        while at < end:
            name, length = _SIZES.unpack_from(body, at)
            at += _SIZES.size
            start = at + name
            topic = body[at:start].decode("ascii")
            at = start + length
            if at > end:
                return None
            found.append(Publication(topic, body[start:at]))
    except (error, UnicodeDecodeError):
        return None
    return found


def _addresses(topics: dict[str, None]) -> bytes:
    """Return properties with the header BCC, which the server takes out of what it delivers."""
    length = _LENGTH.pack
    keys = b"".join([b"S%b%b" % (length(len(topic)), topic.encode()) for topic in topics])
    table = b"\x03BCCA%b%b" % (length(len(keys)), keys)
    return b"\x20\x00%b%b" % (length(len(table)), table)
