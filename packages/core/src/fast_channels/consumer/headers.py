"""The headers of an HTTP response, as applications give them and as servers take them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

Headers: TypeAlias = (
    Mapping[str, str]
    | Mapping[bytes, bytes]
    | Iterable[tuple[bytes, bytes]]
    | Iterable[tuple[str, str]]
)
"""Pairs of name and value, or a dict; of bytes, or of text in ISO 8859-1."""

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(rb"[\r\n\0]")


def header_pairs(headers: Headers | None) -> list[tuple[bytes, bytes]]:
    """Return the headers as pairs of bytes, in order.

    ``TypeError`` or ``ValueError`` that names a header which is none (RFC 9110, 5.1 and 5.5).
    """
    given = cast("Iterable[Any]", headers or ())
    if isinstance(headers, Mapping):
        given = cast("Iterable[Any]", headers.items())
    return [_pair(header) for header in given]


def _pair(header: Any) -> tuple[bytes, bytes]:
    pair = cast("Sequence[Any]", header if isinstance(header, tuple | list) else ())
    if len(pair) != 2:
        raise TypeError(f"a header is a pair of a name and a value, got {header!r}")
    name, value = _as_bytes(pair[0], pair), _as_bytes(pair[1], pair)
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header: it is empty, or has a bad character")
    if _CONTROL.search(value):
        raise ValueError(f"the value of header {name!r} has a line break or a NUL: {value!r}")
    return name, value


def _as_bytes(part: Any, header: object) -> bytes:
    if isinstance(part, bytes):
        return part
    if not isinstance(part, str):
        raise TypeError(f"a header's name and value are str or bytes, got {header!r}")
    try:
        return part.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"header {header!r} has a character that is not in ISO 8859-1") from None
