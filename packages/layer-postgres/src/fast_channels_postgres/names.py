"""Which notification channel carries a topic, and what a notification looks like.

A server's work for one notification grows with the number of names that a session LISTENs to, so
topics share 128 of them. Which one is the first byte of the topic's SHA-256, modulo 128: SQL can
compute that, too. One more name, ``fast_channels``, is heard by every process.

A notification is ``<topic> <payload>``, the payload in base64; or plain JSON as it is, which begins
with ``{``. What follows a ``#`` in the topic only keeps notifications apart: PostgreSQL folds equal
ones of one transaction into one.
"""

import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

COMMON: Final = "fast_channels"
SHARDS: Final = 128

NOTIFY_BYTES: Final = 7_999
"""The longest notification that PostgreSQL takes."""

MAX_TOPIC: Final = 165
MAX_PAYLOAD: Final = (NOTIFY_BYTES - MAX_TOPIC - len("#9999999 ")) // 4 * 3
"""Bytes of a payload that fit into one notification, whatever its topic."""

_LEGAL: Final = re.compile(r"[A-Za-z0-9\-_.:]{1,165}")


def shard_name(topic: str) -> str:
    """Return the name that carries the topic."""
    return f"{COMMON}_{sha256(topic.encode()).digest()[0] % SHARDS:03d}"


def check_topic(topic: str) -> str:
    """Return the topic if it can be part of a statement as it is; raise ``ValueError`` if not."""
    if not _LEGAL.fullmatch(topic):
        raise ValueError(
            f"topic {topic!r:.200} must be 1 to 165 ASCII letters, digits, '-', '_', '.' and ':'"
        )
    return topic


def text(topic: str, payload: bytes) -> str:
    """Return the notification: letters, digits and ``-_.:+/= `` alone, so no SQL quotes it."""
    return f"{topic} {b2a_base64(payload, newline=False).decode()}"


def command(name: str, topic: str, payload: bytes) -> str:
    """Return the statement that notifies."""
    return f"NOTIFY {name},'{text(topic, payload)}'"


def decode(body: str) -> bytes:
    """Return the payload of a notification; what is not base64 is returned as it is."""
    if not body.startswith("{"):
        try:
            return a2b_base64(body, strict_mode=True)
        except (Error, ValueError):
            pass  # somebody else's: whoever reads the payload finds that it is no frame
    return body.encode()


def distinct(commands: Sequence[str]) -> Sequence[str]:
    """Return the commands such that no two are equal."""
    if len(set(commands)) == len(commands):
        return commands
    apart: list[str] = []
    for number, each in enumerate(commands):
        head, _, tail = each.rpartition(" ")
        apart.append(f"{head}#{number} {tail}")
    return apart
