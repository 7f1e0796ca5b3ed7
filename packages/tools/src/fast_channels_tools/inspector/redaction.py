"""What of a message is shown: not what looks like a secret, and never very much."""

import logging
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

logger = logging.getLogger("fast_channels.inspector")

Redact: TypeAlias = Callable[[str, dict[str, Any]], Any]
"""Takes a group and a message of it, which it may change; returns what is shown of that."""

HIDDEN: Final = "(hidden)"
MAX_SHOWN: Final = 4_000
"""Characters that are shown of one message, more or less."""

MAX_DEPTH: Final = 8
"""Containers in containers that are shown."""

_SECRET_WORDS: Final = re.compile(
    r"passw(or)?d|pwd|passphrase|secrets?|tokens?|jwt|apikey|authorization|cookies?|credentials?"
    r"|csrf|otp|pin"
)
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PAIR: Final = re.compile(r"(api|private|access|secret|session|encryption)[\W_]?(key|id)", re.I)


def shown(redact: Redact | None, group: str, message: dict[str, Any]) -> Any:
    """Return what is shown of the message, as something that has a JSON form.

    Values whose keys look like those of secrets are hidden; what ``redact`` fails at is, too.
    """
    content: Any = message
    if redact is not None:
        try:
            content = redact(group, message)
        except Exception:
            logger.exception("redact failed at a message of %s, which is not shown", group)
            return HIDDEN
    return _Abridged().of(content)


class _Abridged:
    """Copies something until there is enough of it, so that a large message costs no more."""

    def __init__(self) -> None:
        self._left = MAX_SHOWN

    def of(self, value: object, depth: int = MAX_DEPTH) -> Any:
        """Return the part of the value that is shown."""
        self._left -= 8
        if value is None or isinstance(value, bool | int | float):
            return value if isinstance(value, bool | None) else self._number(value)
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[object, object]", value), depth)
        if isinstance(value, list | tuple):
            return self._items(cast("list[object] | tuple[object, ...]", value), depth)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes):
            return self._text(f"{len(value)} bytes: {value[:64].hex(' ')}")
        return self._text(repr(value))

    def _number(self, value: float) -> Any:
        exact = abs(value) < 2**53  # False for NaN and infinities, which JSON has not, too
        return value if exact else self._text(repr(value))

    def _text(self, text: str) -> str:
        kept = text[: max(self._left, 0)]
        self._left -= len(kept)
        return kept if len(kept) == len(text) else f"{kept}\u2026 ({len(text)} characters)"

    def _mapping(self, value: Mapping[object, object], depth: int) -> Any:
        if depth == 0:
            return f"\u2026 ({len(value)} keys)"
        copied: dict[str, Any] = {}
        for key, item in value.items():
            if self._left <= 0:
                copied["\u2026"] = f"{len(value) - len(copied)} more keys"
                break
            name = self._text(key if isinstance(key, str) else repr(key))
            copied[name] = HIDDEN if is_secret(name) else self.of(item, depth - 1)
        return copied

    def _items(self, value: list[object] | tuple[object, ...], depth: int) -> Any:
        if depth == 0:
            return f"\u2026 ({len(value)} items)"
        copied: list[Any] = []
        for item in value:
            if self._left <= 0:
                copied.append(f"\u2026 ({len(value) - len(copied)} more items)")
                break
            copied.append(self.of(item, depth - 1))
        return copied


@lru_cache(maxsize=1_024)
def is_secret(key: str) -> bool:
    """Return whether the key looks like that of a secret: ``new_password``, ``X-Api-Key``."""
    words = (word.lower() for word in _WORD.findall(key))
    return any(map(_SECRET_WORDS.fullmatch, words)) or _PAIR.search(key) is not None
