"""Names of groups, channels and topics: which are legal, and how one is made of another.

A group or channel name has ASCII letters, digits, ``-``, ``_`` and ``.`` and is shorter than 100
characters. A process-bound channel is ``prefix.<node>!<local>``: one mailbox in one process. A
channel name without ``!`` is a worker queue. A topic is what a broker sees: ``<prefix>:g.<group>``
or ``<prefix>:n.<node>``; ``<prefix>:h.<group>`` and ``<prefix>:h.!<node>`` are history topics,
whose messages are kept. No name may hold a ``:``, so two applications never share a topic.
"""

import re
import secrets
from functools import lru_cache
from typing import Final

MAX_NAME_LENGTH: Final = 100
"""Names are shorter than this (characters, which are bytes since names are ASCII)."""

_LEGAL: Final = re.compile(r"[A-Za-z0-9\-_.]+")
_LEGAL_CHANNEL: Final = re.compile(r"[A-Za-z0-9\-_.]+(![A-Za-z0-9\-_.]*)?")
_NODE: Final = re.compile(r"[0-9a-f]{16}")
_LEGAL_PREFIX: Final = re.compile(r"(?!.*:[gnqh]\.)[A-Za-z0-9\-_.:]+")

_REMEMBERED: Final = 16_384
"""Legal names that are not looked at again, for the same come with every message."""

_legal_groups: Final[set[str]] = set()
_legal_channels: Final[set[str]] = set()


def check_group(name: object) -> str:
    """Return ``name`` if it is a legal group name; raise ``TypeError`` that says why not."""
    if not isinstance(name, str):
        raise TypeError(f"group name must be a str, got {type(name).__name__}: {name!r}")
    if name not in _legal_groups:
        _check(name, "group", _LEGAL, _legal_groups)
    return name


def check_channel(name: object) -> str:
    """Return ``name`` if it is a legal channel name; raise ``TypeError`` that says why not."""
    if not isinstance(name, str):
        raise TypeError(f"channel name must be a str, got {type(name).__name__}: {name!r}")
    if name not in _legal_channels:
        _check(name, "channel", _LEGAL_CHANNEL, _legal_channels)
    return name


@lru_cache(maxsize=256)
def check_channel_prefix(prefix: str) -> None:
    """Raise ``TypeError`` unless every channel made with ``prefix`` gets a legal name."""
    check_channel(channel_name(prefix, "0" * 16, 0xFFFF_FFFF))


def check_prefix(prefix: object) -> str:
    """Return ``prefix`` if it can isolate an application; raise ``ValueError`` otherwise."""
    # With a topic's mark in it, what belongs to it would seem to belong to the shorter prefix.
    if isinstance(prefix, str) and len(prefix) < 64 and _LEGAL_PREFIX.fullmatch(prefix):
        return prefix
    raise ValueError(
        "prefix must be 1 to 63 ASCII letters, digits, '-', '_', '.' or ':', without ':g.', ':n.', "
        f"':q.' and ':h.', got {prefix!r}"
    )


def _remember(name: str, known: set[str]) -> None:
    if len(known) >= _REMEMBERED:
        known.clear()
    known.add(name)


def _check(name: str, kind: str, legal: re.Pattern[str], known: set[str]) -> None:
    if len(name) < MAX_NAME_LENGTH and legal.fullmatch(name):
        _remember(name, known)
        return
    if not name:
        raise TypeError(f"{kind} name must not be empty")
    if len(name) >= MAX_NAME_LENGTH:
        raise TypeError(
            f"{kind} name must be shorter than {MAX_NAME_LENGTH} characters, "
            f"got {len(name)}: {name!r}"
        )
    place = next((i for i, c in enumerate(name) if not _LEGAL.match(c)), len(name))
    if kind == "channel" and name[place] == "!":
        # One '!' is legal after the first character: the culprit comes after it.
        rest = (i for i in range(place + 1, len(name)) if not _LEGAL.match(name[i]))
        place = place if place == 0 else next(rest)
    raise TypeError(
        f"{kind} name {name!r} has the illegal character {name[place]!r} at position {place}; "
        "use ASCII letters, digits, '-', '_' and '.'"
    )


def new_node() -> str:
    """Return a fresh random node id (64 bits): one session of a layer in one event loop."""
    return secrets.token_hex(8)


def check_node(node: str) -> str:
    """Return ``node`` if it can be a node's id; raise ``ValueError`` otherwise."""
    if not _NODE.fullmatch(node):
        raise ValueError(f"node {node!r:.40} has not 16 hex digits")
    return node


def channel_name(prefix: str, node: str, number: int) -> str:
    """Return the name of a process-bound channel; ``prefix`` may end in a dot or not."""
    return f"{prefix.removesuffix('.')}.{node}!{number:x}"


def remember_channel(name: str) -> None:
    """``check_channel`` need not look at the name, which was made here and will be given to it."""
    _remember(name, _legal_channels)


def channel_node(name: str) -> str | None:
    """Return the node that a process-bound channel lives on; None for a worker queue."""
    head, mark, _ = name.partition("!")
    return head.rpartition(".")[2] if mark else None


def group_topic(prefix: str, group: str) -> str:
    """Return the topic that carries a group's messages."""
    return f"{prefix}:g.{group}"


def node_topic(prefix: str, node: str) -> str:
    """Return the topic that carries messages for the channels of one node."""
    return f"{prefix}:n.{node}"


def presence_topic(prefix: str, group: str) -> str:
    """Return the topic that carries changes of who is present in a group."""
    return f"{prefix}:p.{group}"


def beat_topic(prefix: str) -> str:
    """Return the topic that carries the beats of all nodes that use presence."""
    return f"{prefix}:b.presence"


def queue_name(prefix: str, channel: str) -> str:
    """Return the broker's name of a worker queue."""
    return f"{prefix}:q.{channel}"


def history_topic(prefix: str, group: str) -> str:
    """Return the topic that carries, and keeps, a durable group's messages."""
    return f"{prefix}:h.{group}"


def node_history_topic(prefix: str, node: str) -> str:
    """Return the topic that carries, and keeps, messages for the channels of one node."""
    return f"{prefix}:h.!{node}"


def is_history_topic(topic: str) -> bool:
    """True for a topic that ``History`` publishes to, reads and keeps."""
    return topic.rpartition(":")[2].startswith("h.")


def topic_group(topic: str) -> str | None:
    """Return the group whose messages the topic carries; None for a node's topic."""
    kind, _, name = topic.rpartition(":")[2].partition(".")
    return name if kind == "g" else None
