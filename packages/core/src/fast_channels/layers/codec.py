"""The wire format of a broker message, version 1 (``docs/wire-format.md``).

A frame is one version byte, one byte of flags, then a msgpack array: the sending node, ``seq`` (one
rising counter per node), ``prev`` (the ``seq`` of that node's frame before this one to the same
topic; 0: unknown), the time of sending (for metrics only), and the body. The body is the msgpack
array of the packed messages, or one fragment. A payload that begins with ``{`` is no frame but one
plain JSON message, so that anything that can publish can send to a group.
"""

import time
from collections.abc import Callable
from typing import Annotated, Final, Protocol

import msgspec

VERSION: Final = 1
SEALED: Final = 1
FRAGMENT: Final = 2
PLAIN: Final = b"{"
CONTROL: Final = "!"
"""The target of a message that is for the node itself; no channel can have this name."""
PRESENCE: Final = "!p"
"""The target of what nodes tell each other about presence; no channel can have this name."""

OVERHEAD: Final = 160
"""Bytes that a frame adds to its body at most, sealing included."""


class FrameError(ValueError):
    """The payload is no frame of this version."""


class SealError(FrameError):
    """The payload is not sealed, or by none of this layer's keys, or was changed or moved."""


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One packed message."""

    payload: bytes
    target: str | None = None
    exclude: str | None = None
    id: str | None = None


class Frame(msgspec.Struct, array_like=True, gc=False):
    """What precedes and holds the packed messages."""

    node: str
    seq: Annotated[int, msgspec.Meta(ge=0)]
    prev: Annotated[int, msgspec.Meta(ge=0)]
    sent_at: float
    body: bytes


class Fragment(msgspec.Struct, array_like=True, gc=False):
    """One piece of a body that was too large for the broker."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    total: Annotated[int, msgspec.Meta(ge=2)]
    chunk: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_frame = msgspec.msgpack.Decoder(Frame).decode
_decode_plain_entries = msgspec.msgpack.Decoder(list[Entry]).decode
_decode_entries: Callable[[bytes], list[Entry]] = _decode_plain_entries
_decode_fragment = msgspec.msgpack.Decoder(Fragment).decode
_HEAD: Final = bytes((VERSION, 0))


def encode_frame(node: str, seq: int, prev: int, body: bytes, flags: int = 0) -> bytes:
    """Return the payload of one frame, sent now."""
    return pack_frame(flags, Frame(node, seq, prev, time.time(), body))


def pack_frame(flags: int, frame: Frame) -> bytes:
    """Return the payload of the frame."""
    return (bytes((VERSION, flags)) if flags else _HEAD) + _encode(frame)


def decode_frame(payload: bytes, known: int = FRAGMENT) -> tuple[int, Frame]:
    """Return the flags and the frame; raises ``FrameError`` for anything else.

    A flag that is not in ``known`` is an error.
    """
    if len(payload) < 3:
        raise FrameError(f"frame of {len(payload)} bytes is too short")
    version, flags = payload[0], payload[1]
    if version != VERSION:
        raise FrameError(f"frame has version {version}, this side reads version {VERSION}")
    if flags & ~known:
        if flags & SEALED:
            raise SealError("frame is sealed, and this layer has no encryption_keys")
        raise FrameError(f"frame has the flags {flags:#x}, which this layer does not read")
    try:
        return flags, _decode_frame(memoryview(payload)[2:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"frame is truncated or malformed: {error}") from error


class Frames(Protocol):
    """How one session makes frames of bodies, and reads them."""

    plain: bool
    """True when payloads that anyone could have made are read, too."""

    def encode(
        self, topic: str, node: str, seq: int, prev: int, body: bytes, flags: int = 0
    ) -> bytes:
        """Return the payload of one frame for the topic."""
        ...

    def decode(self, topic: str, payload: bytes) -> tuple[int, Frame]:
        """Return the flags and the frame, its body readable; raises ``FrameError``."""
        ...


class OpenFrames:
    """Frames as they are."""

    plain = True

    def encode(
        self, topic: str, node: str, seq: int, prev: int, body: bytes, flags: int = 0
    ) -> bytes:
        """Return the payload of one frame; the topic is not part of it."""
        return encode_frame(node, seq, prev, body, flags)

    def decode(self, topic: str, payload: bytes) -> tuple[int, Frame]:
        """Return the flags and the frame; raises ``FrameError``."""
        return decode_frame(payload)


def encode_entries(entries: list[Entry]) -> bytes:
    """Return the body that packs the messages."""
    return _encode(entries)


def decode_entries(body: bytes) -> list[Entry]:
    """Return the packed messages; raises ``FrameError`` for anything else."""
    try:
        return _decode_entries(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"frame body is malformed: {error}") from error


def decode_entries_with(decode: Callable[[bytes], list[Entry]] | None) -> None:
    """Bodies are read by this from now on; None: as always. It raises what msgspec raises."""
    global _decode_entries
    _decode_entries = decode or _decode_plain_entries


def encode_fragment(index: int, total: int, chunk: bytes) -> bytes:
    """Return the body of one fragment."""
    return _encode(Fragment(index, total, chunk))


def decode_fragment(body: bytes) -> Fragment:
    """Return the fragment; raises ``FrameError`` for anything else."""
    try:
        return _decode_fragment(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"fragment is malformed: {error}") from error
