"""Bytes as a row of decisions, so that what mutates bytes can make up anything."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Choices:
    """Takes decisions from bytes; when they are used up, every decision is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def __bool__(self) -> bool:
        """True while there is something left."""
        return self._place < len(self._data)

    def number(self, below: int) -> int:
        """Return an int from 0 on."""
        size = 1 if below <= 256 else 2 if below <= 65_536 else 8
        return int.from_bytes(self._take(size), "big") % below

    def of(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.number(len(options))]

    def bytes(self, most: int = 255) -> bytes:
        """Return some bytes."""
        return self._take(self.number(most + 1))

    def text(self, most: int = 255) -> str:
        """Return some text; what is no UTF-8 is surrogates."""
        return self.bytes(most).decode("utf-8", "surrogateescape")

    def value(self, words: Sequence[Any], depth: int = 3) -> Any:
        """Return something that has a JSON form; as a rule of these words."""
        kind = self.number(10 if depth else 6)
        if kind < 4:
            return self.of(words)
        if kind == 4:
            return self.text(20).encode("utf-8", "replace").decode()
        if kind == 5:
            return self.of(
                [None, True, False, 0, -1, 1, 2**53, 2**64, -(2**70), 0.5, 1e308, "", []]
            )
        inside = [self.value(words, depth - 1) for _ in range(self.number(4))]
        if kind < 8:
            return {str(self.of(words)): item for item in inside}
        return inside

    def _take(self, count: int) -> bytes:
        taken = self._data[self._place : self._place + count]
        self._place += count
        return taken


def text_of(value: Any) -> str:
    """Return the value as JSON."""
    return json.dumps(value)
