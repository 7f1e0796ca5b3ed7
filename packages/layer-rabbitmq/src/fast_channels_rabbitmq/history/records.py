"""What a message of a stream holds: entries of several topics, or a note.

RabbitMQ's work is per message, not per byte, so what one call appends to the topics of a stream is
one message of it. A position is the message's offset in the stream, and the entry's place in it.
"""

import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from struct import Struct, error
from typing import Final

from fast_channels.layers import Append

BEGINNING: Final = b"\xfcfch\x01"
ENTRIES, MARK, CLEARED = b"e", b"m", b"c"
"""The kinds of messages: entries; where a reader looked for the end; that topics were cleared."""

BITS: Final = 16
"""Of a position's offset, those for the place in the message."""

WHOLE: Final = (1 << BITS) - 1
"""The place after all that a message can hold."""

LONGEST: Final = 1e15
"""Seconds for which an entry is kept at most."""

MOST_ENTRIES: Final = WHOLE - 1
ID_BYTES: Final = 16

_KIND: Final = len(BEGINNING)
_HEAD: Final = Struct(">QQ")
_SECTION: Final = Struct(">IBHIQB")
_ENTRY: Final = Struct(">IB")


class Section:
    """The entries of one topic in one message."""

    __slots__ = ("_at", "_body", "before", "count", "ends", "has_ids", "keep", "seen", "topic")

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self._at = at
        self.topic = ""
        self.before = 0
        """Entries of other topics that precede them in the message."""
        self.count = 0
        self.keep = 0
        self.ends = 0.0
        """When they expire, in seconds since 1970, by the clock of who published them."""
        self.seen = 0
        """Who published them has looked for their ids in the stream up to this message."""
        self.has_ids = False

    def entries(self) -> Iterator[tuple[int, bytes | None, bytes]]:
        """Yield each entry's place in the message, its id and its payload."""
        body, at = self._body, self._at
        for place in range(self.before, self.before + self.count):
            length, has_id = _ENTRY.unpack_from(body, at)
            at += _ENTRY.size
            known = None
            if has_id:
                known = body[at : at + ID_BYTES]
                at += ID_BYTES
            yield place, known, body[at : at + length]
            at += length


def id_of(topic: str, text: str) -> bytes:
    """Return by what a stream, which has many topics, knows an entry's id."""
    what = f"{topic}\0{text}".encode(errors="surrogatepass")
    return blake2b(what, digest_size=ID_BYTES).digest()


def pack(append: Append, entries: Sequence[tuple[bytes | None, bytes]]) -> bytes:
    """Return a section: these entries, with their ids, for the topic of ``append``."""
    parts: list[bytes] = []
    has_ids = False
    for known, payload in entries:
        has_ids = has_ids or known is not None
        parts += (_ENTRY.pack(len(payload), known is not None), known or b"", payload)
    body, topic = b"".join(parts), append.topic.encode()
    milliseconds = int(min(append.ttl, LONGEST) * 1_000) + 1
    keep = min(append.keep, 0xFFFFFFFF)
    head = _SECTION.pack(len(body), len(topic), len(entries), keep, milliseconds, has_ids)
    return b"".join((head, topic, body))


def message(sections: Sequence[bytes], seen: int) -> bytes:
    """Return the body of a message with these sections."""
    return b"".join((BEGINNING, ENTRIES, _HEAD.pack(int(time.time() * 1_000), seen), *sections))


def note(kind: bytes, text: bytes) -> bytes:
    """Return the body of a message that is no entries."""
    return b"".join((BEGINNING, kind, text))


def kind_of(body: bytes) -> bytes:
    """Return what a message is; empty: none of ours."""
    return body[_KIND : _KIND + 1] if body.startswith(BEGINNING) else b""


def text_of(body: bytes) -> bytes:
    """Return what a note says."""
    return body[_KIND + 1 :]


def sections(body: bytes) -> Iterator[Section]:
    """Yield the sections of a message that has entries; what is damaged ends it."""
    at, end, before = _KIND + 1 + _HEAD.size, len(body), 0
    if kind_of(body) != ENTRIES:
        return
    try:
        stamp, seen = _HEAD.unpack_from(body, _KIND + 1)
        while at < end:
            size, name, count, keep, milliseconds, has_ids = _SECTION.unpack_from(body, at)
            start = at + _SECTION.size + name
            section = Section(body, start)
            section.topic = body[start - name : start].decode("ascii")
            section.before, section.count, section.keep = before, count, keep
            section.ends = (stamp + milliseconds) / 1_000
            section.seen, section.has_ids = seen, bool(has_ids)
            at, before = start + size, before + count
            if at > end:
                return
            yield section
    except (error, UnicodeDecodeError):
        return
