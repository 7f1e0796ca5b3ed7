"""Sealed frames: who has no key can neither read, change, make nor move one.

The body is encrypted with AES-256-GCM (NIST SP 800-38D) under a key of the sending node, derived
with HKDF-SHA256 (RFC 5869) from one of the layer's keys. So the bound on random nonces, 2**32 for
one key, counts for one session of one process. Everything else of the frame, and the topic, is
associated data: a frame on another topic, or with another number, does not open. What a receiver
that subscribes afresh has not seen, an old frame of the same topic, opens: numbers show repeats,
and only while the subscription lasts.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fast_channels.layers.codec import (
    FRAGMENT,
    SEALED,
    VERSION,
    Frame,
    SealError,
    decode_frame,
    pack_frame,
)
from fast_channels.layers.sequence import NODES_REMEMBERED

NONCE: Final = 12
"""Bytes of the random nonce before each sealed body; 16 bytes of tag follow it."""

_encode = msgspec.msgpack.Encoder().encode


class SealedFrames:
    """Seals with the first key; any of the keys opens."""

    def __init__(self, keys: Sequence[bytes], accept_plain: bool) -> None:
        self.plain = accept_plain
        self._keys = tuple(keys)
        self._sealing: tuple[str, AESGCM] | None = None
        """The one node that seals here, and its cipher."""
        self._opening: OrderedDict[str, AESGCM] = OrderedDict()
        """The cipher of each node that has proved to have one of the keys."""

    def encode(
        self, topic: str, node: str, seq: int, prev: int, body: bytes, flags: int = 0
    ) -> bytes:
        """Return the payload of one sealed frame, which opens on this topic only."""
        if self._sealing is None or self._sealing[0] != node:
            self._sealing = node, _cipher(self._keys[0], node)
        flags |= SEALED
        frame = Frame(node, seq, prev, time.time(), b"")
        nonce = os.urandom(NONCE)
        frame.body = nonce + self._sealing[1].encrypt(nonce, body, _bound(topic, flags, frame))
        return pack_frame(flags, frame)

    def decode(self, topic: str, payload: bytes) -> tuple[int, Frame]:
        """Return the flags and the opened frame; ``SealError`` says why it is refused."""
        flags, frame = decode_frame(payload, FRAGMENT | SEALED)
        if flags & SEALED:
            frame.body = self._open(topic, flags, frame)
        elif not self.plain:
            raise SealError("frame is not sealed, and accept_plain is off")
        return flags & ~SEALED, frame

    def _open(self, topic: str, flags: int, frame: Frame) -> bytes:
        nonce, sealed = frame.body[:NONCE], frame.body[NONCE:]
        bound = _bound(topic, flags, frame)
        known = self._opening.get(frame.node)
        ciphers = (_cipher(key, frame.node) for key in self._keys) if known is None else (known,)
        for cipher in ciphers:
            try:
                body = cipher.decrypt(nonce, sealed, bound)
            except (InvalidTag, ValueError):  # ValueError: too short to be sealed at all
                continue
            self._remember(frame.node, cipher)
            return body
        raise SealError(
            f"frame of node {frame.node!r:.40} opens with none of the {len(self._keys)} "
            "encryption_keys: another key, or it was changed or moved"
        )

    def _remember(self, node: str, cipher: AESGCM) -> None:
        self._opening.pop(node, None)
        self._opening[node] = cipher
        if len(self._opening) > NODES_REMEMBERED:
            self._opening.popitem(last=False)


def _cipher(key: bytes, node: str) -> AESGCM:
    info = b"fast-channels frame 1 " + node.encode()
    return AESGCM(HKDF(SHA256(), length=32, salt=None, info=info).derive(key))


def _bound(topic: str, flags: int, frame: Frame) -> bytes:
    """Return the associated data: all that is readable of the frame, and where it belongs.

    One msgpack array, so that no two different lists of values are the same bytes.
    """
    return _encode((VERSION, flags, topic, frame.node, frame.seq, frame.prev, frame.sent_at))
