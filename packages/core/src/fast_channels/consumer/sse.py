"""The form of Server-Sent Events: WHATWG HTML, section 9.2."""

import re
from typing import Any, Final, cast

from fast_channels.consumer.json_text import to_text

COMMENT: Final = b":\n\n"
"""What a client reads and ignores."""

_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")


def encode_event(
    data: Any, event: str | None = None, id: str | int | None = None, retry: int | None = None
) -> bytes:
    """Return an event as it goes over the wire; text as it is, anything else as JSON.

    Raises ``TypeError`` or ``ValueError`` for what the format cannot carry.
    """
    if isinstance(data, bytes | bytearray):
        raise TypeError(f"data of an event is text, or goes as JSON; got {data!r:.50}")
    lines: list[str] = []
    if event is not None:
        lines.append(f"event: {_one_line('event', event)}")
    if id is not None:
        lines.append(f"id: {_one_line('id', str(id))}")
    if retry is not None:
        if type(cast("object", retry)) is not int or retry < 0:
            raise ValueError(f"retry must be a whole number of milliseconds, got {retry!r}")
        lines.append(f"retry: {retry}")
    text = data if isinstance(data, str) else to_text(data)
    lines += [f"data: {line}" for line in _LINE_BREAK.split(text)]
    return "\n".join([*lines, "", ""]).encode()


def _one_line(field: str, value: str) -> str:
    if not isinstance(cast("object", value), str):
        raise TypeError(f"{field} of an event must be a str, got {value!r}")
    if _LINE_BREAK.search(value) or "\0" in value:
        raise ValueError(f"{field} of an event may have no line break and no NUL, got {value!r}")
    return value
