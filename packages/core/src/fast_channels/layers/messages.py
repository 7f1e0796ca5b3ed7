"""Messages: what may be sent, and how it becomes bytes and a dict again (msgpack).

Law: what arrives equals what was sent, on every layer, or the send fails. Values are str, bytes,
bool, None, float, 64-bit int, and lists and dicts of these (a tuple arrives as a list). Everything
else, such as datetime, Decimal or UUID, is refused: each codec would make something else of it.
"""

from collections.abc import Callable
from enum import Enum
from types import NoneType
from typing import Any, Final, cast

import msgspec

from fast_channels.exceptions import MessageTooLarge

_SCALARS: Final = frozenset({str, int, float, bool, bytes, NoneType})
_STR: Final = frozenset({str})

_PLAIN: Final[dict[type, Callable[[Any], object]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: bytes.__bytes__,
}


def _plain(value: object) -> object:
    """Return what a subclass of a type that can be sent stands for (Django's SafeString)."""
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    raise TypeError(f"{type(value).__name__} cannot be sent")


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
decode_fields = msgspec.msgpack.Decoder(dict[Any, Any]).decode
_decode: Callable[[bytes], dict[Any, Any]] = decode_fields
_decode_json = msgspec.json.Decoder(dict[str, Any]).decode


def encode_message(message: object, max_size: int) -> bytes:
    """Return the message's payload.

    Raises ``TypeError`` for what is no dict or holds a value that cannot be sent (naming where),
    ``ValueError`` for a missing ``type``, ``MessageTooLarge`` above ``max_size`` bytes.
    """
    if not isinstance(message, dict):
        raise TypeError(f"message must be a dict, got {type(message).__name__}: {message!r:.100}")
    # No cast, whose call takes as long as one of these checks.
    fields: dict[object, object] = message  # pyright: ignore[reportUnknownVariableType]
    if type(fields.get("type")) is not str:
        _check_type(fields)
    # Flat messages of plain types pass these two C-speed checks; all others are walked.
    if not (_SCALARS.issuperset(map(type, fields.values())) and _STR.issuperset(map(type, fields))):
        _check(fields, "message")
    try:
        payload = _encode(fields)
    except (TypeError, ValueError, OverflowError):
        _check(fields, "message", deep=True)
        raise
    if len(payload) > max_size:
        raise MessageTooLarge(
            f"message of type {fields['type']!r} has {len(payload)} bytes, "
            f"more than max_message_size={max_size}"
        )
    return payload


def encode_dict(value: object, name: str) -> bytes:
    """Return the bytes of a dict that is part of a message; ``TypeError`` names what is wrong."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a dict, got {type(value).__name__}: {value!r:.100}")
    _check(cast("object", value), name, deep=True)
    return _encode(value)


def decode_message(payload: bytes) -> dict[str, Any]:
    """Return the message; raises ``ValueError`` when the bytes are none."""
    try:
        message: dict[str, Any] = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"payload is no message: {error}") from error
    return _with_type(message)


def decode_with(decode: Callable[[bytes], dict[Any, Any]] | None) -> None:
    """Payloads are read by this from now on; None: as always. It raises what msgspec raises."""
    global _decode
    _decode = decode or decode_fields


def decode_plain(payload: bytes) -> dict[str, Any]:
    """Return the message of a plain JSON payload; raises ``ValueError`` when it is none."""
    try:
        message = _decode_json(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"plain payload is no JSON object: {error}") from error
    return _with_type(message)


def is_flat(message: dict[str, Any]) -> bool:
    """True when a shallow copy of the decoded message shares nothing mutable with it."""
    return _SCALARS.issuperset(map(type, message.values()))


def _with_type(message: dict[str, Any]) -> dict[str, Any]:
    if type(message.get("type")) is not str:
        raise ValueError(f"message has no 'type' that is a str: {message!r:.100}")
    return message


def _check_type(message: dict[object, object]) -> None:
    if "type" not in message:
        raise ValueError(
            "message has no 'type'; add one, such as 'chat.message', which is handled by the "
            f"consumer's method chat_message: {message!r:.100}"
        )
    if not isinstance(message["type"], str):
        raise TypeError(f"message['type'] must be a str, got {message['type']!r}")


def _check(value: object, path: str, *, deep: bool = False, depth: int = 0) -> None:
    """Raise ``TypeError`` naming the first key or value that cannot be sent."""
    kind = type(value)
    if kind in _SCALARS and not deep:
        return
    if depth > 200:
        raise TypeError(f"{path[:60]}... is nested deeper than 200 levels, or contains itself")
    if isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            if deep or type(key) is not str:
                _check_key(key, path)
            _check(item, f"{path}[{key!r}]", deep=deep, depth=depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[object]", value)):
            _check(item, f"{path}[{index}]", deep=deep, depth=depth + 1)
    elif isinstance(value, Enum) or not isinstance(
        value, str | int | float | bytes | bytearray | memoryview | NoneType
    ):
        raise TypeError(
            f"{path} is a {kind.__name__}, which cannot be sent: {value!r:.60}; "
            "convert it to str, int, float, bytes, list or dict"
        )
    elif isinstance(value, int) and not _fits(value):
        raise TypeError(f"{path} is an int that does not fit 64 bits: {value!r:.60}")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise TypeError(f"{path} holds text that is no valid unicode: {error}") from error


def _check_key(key: object, path: str) -> None:
    if isinstance(key, Enum) or not isinstance(key, str | int | float | bytes | NoneType):
        raise TypeError(f"{path} has the key {key!r:.60} of type {type(key).__name__}; use str")
    if isinstance(key, int) and not _fits(key):
        raise TypeError(f"{path} has the key {key!r:.60}, an int that does not fit 64 bits")
    if isinstance(key, str):
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise TypeError(f"{path} has the key {key!r:.60}, no valid unicode: {error}") from error


def _fits(value: int) -> bool:
    return -(2**63) <= value < 2**64
