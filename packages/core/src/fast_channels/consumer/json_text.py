"""JSON as consumers write and read it: msgspec's, and the standard library's where that refuses."""

import json
from typing import Any

import msgspec

to_json = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode
"""As ``from_text``, stricter; raises ``msgspec.DecodeError``."""


def to_text(content: Any) -> str:
    """Return compact JSON; raises ``TypeError`` or ``ValueError`` for what has no JSON form."""
    try:
        return to_json(content).decode()
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        return json.dumps(content)  # the standard encoder takes more kinds of keys, or explains


def from_text(text: str) -> Any:
    """Return what the text says; raises ``json.JSONDecodeError``."""
    try:
        return decode(text)
    except msgspec.DecodeError:
        # The stricter and faster decoder refused; the standard one explains, or takes NaN.
        return json.loads(text)
