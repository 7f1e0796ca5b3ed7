"""What applications see of history: how much is kept, messages with positions, positions as text.

A position's text says which group it is of, so that one is never taken for another's, and which
history, so that what was lost and made anew is never taken for what it was. It gives no right to
anything: the group is named by who reads, the position only tells from where.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, cast

from fast_channels.layers.backend import Position

MAX_LAST: Final = 1_000
"""Messages that ``since="last:n"`` may ask for: they are read at once."""

MAX_ID: Final = 100
"""Characters of a message's ``id``."""

_POSITION: Final = re.compile(r"([0-9a-f]{1,40})\.([A-Za-z0-9_-]{1,64})\.([0-9a-f]{12})")
_LAST: Final = re.compile(r"last:([0-9]{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPolicy:
    """How much of a group's past is kept."""

    keep: int = 1_000
    """The newest messages that are kept."""

    ttl: float = 3_600.0
    """Seconds for which a message is kept."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for what keeps nothing."""
        keep, ttl = cast("object", self.keep), cast("object", self.ttl)
        if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1:
            raise ValueError(f"keep must be an int of at least 1, got {keep!r}")
        seconds = ttl if isinstance(ttl, int | float) and not isinstance(ttl, bool) else -1
        if not 0 < seconds < float("inf"):  # NaN compares False
            raise ValueError(f"ttl must be seconds above 0, got {ttl!r}")


class Message(dict[str, Any]):
    """A message of a durable group: a dict that knows where it came from."""

    __slots__ = ("_place", "group")

    def __init__(self, fields: dict[str, Any], group: str, topic: str, position: Position) -> None:
        super().__init__(fields)
        self.group = group
        self._place = topic, position

    @property
    def position(self) -> str:
        """The place right after this message, to be given back as ``since``; opaque."""
        return encode_position(*self._place)


class GroupMessage(dict[str, Any]):
    """A message of a group that is not kept, for those readers that ask for its name."""

    __slots__ = ("context", "group")

    def __init__(self, fields: dict[str, Any], group: str) -> None:
        super().__init__(fields)
        self.group = group
        self.context = getattr(fields, "context", None)  # what travelled with it

    @property
    def position(self) -> None:
        """None: nobody can resume after it."""
        return


def encode_position(topic: str, position: Position) -> str:
    """Return the text of a position in that topic: letters, digits, ``-``, ``_`` and ``.``."""
    return f"{position.offset:x}.{position.epoch}.{position_tag(topic)}"


def decode_position(topic: str, text: object) -> Position:
    """Return the position of the text; ``ValueError`` unless it is one of that topic."""
    if not isinstance(text, str):
        raise TypeError(f"a position must be a str, got {type(text).__name__}: {text!r:.100}")
    match = _POSITION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r:.100} is no position; give one that a message of the group had, or 'last:20'"
        )
    offset, epoch, tag = match.groups()
    if tag != position_tag(topic):
        raise ValueError(
            f"position {text!r} belongs to another group, or to a layer with another prefix"
        )
    return Position(epoch, int(offset, 16))


def decode_since(topic: str, since: object) -> Position | int:
    """Return the position, or how many of the newest messages ``last:n`` means."""
    last = _LAST.fullmatch(since) if isinstance(since, str) else None
    if last is None:
        return decode_position(topic, since)
    count = int(last[1])
    if count > MAX_LAST:
        raise ValueError(f"since={since!r} asks for more than {MAX_LAST} messages")
    return count


def check_id(message_id: object) -> None:
    """Raise ``TypeError`` or ``ValueError`` for what is no message's id."""
    if not isinstance(message_id, str):
        raise TypeError(f"id must be a str, got {type(message_id).__name__}: {message_id!r:.100}")
    if not 0 < len(message_id) <= MAX_ID:
        raise ValueError(f"id must have 1 to {MAX_ID} characters, got {len(message_id)}")


def check_limit(limit: object) -> None:
    """Raise ``ValueError`` for what is no number of messages."""
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"limit must be an int of at least 1, got {limit!r}")


@lru_cache(maxsize=4_096)
def position_tag(topic: str) -> str:
    """Return what stands after the last dot of every position in that topic."""
    return blake2b(topic.encode(), digest_size=6).hexdigest()
