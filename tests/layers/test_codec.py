"""The wire format: what is on the wire, and that nothing else is taken for a frame."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.codec import (
    FRAGMENT,
    OVERHEAD,
    SEALED,
    Entry,
    FrameError,
    decode_entries,
    decode_fragment,
    decode_frame,
    encode_entries,
    encode_fragment,
    encode_frame,
)

NODE = "0123456789abcdef"


def plain(payload: bytes) -> Any:
    return msgspec.msgpack.decode(payload)


def test_a_frame_is_a_version_flags_and_five_fields() -> None:
    before = time.time()
    payload = encode_frame(NODE, 7, 3, b"body")
    assert payload[:2] == b"\x01\x00"
    node, seq, prev, sent_at, body = plain(payload[2:])
    assert (node, seq, prev, body) == (NODE, 7, 3, b"body")
    assert before <= sent_at <= time.time()


def test_a_body_is_the_array_of_its_messages() -> None:
    body = encode_entries([Entry(b"one"), Entry(b"two", "a!1", "b!2", "id")])
    assert plain(body) == [[b"one", None, None, None], [b"two", "a!1", "b!2", "id"]]


def test_a_fragment_is_its_place_and_its_piece() -> None:
    assert plain(encode_fragment(2, 9, b"piece")) == [2, 9, b"piece"]


def test_a_frame_is_read_as_it_was_written() -> None:
    flags, frame = decode_frame(encode_frame(NODE, 7, 3, b"body", FRAGMENT))
    assert flags == FRAGMENT
    assert (frame.node, frame.seq, frame.prev, frame.body) == (NODE, 7, 3, b"body")


def test_messages_are_read_as_they_were_written() -> None:
    entries = [Entry(b"one"), Entry(b"two", "a!1", "b!2", "id")]
    assert decode_entries(encode_entries(entries)) == entries


def test_a_frame_with_unknown_later_fields_is_read() -> None:
    """A later version may add fields at the end without a new version number."""
    payload = b"\x01\x00" + msgspec.msgpack.encode([NODE, 1, 0, 0.0, b"", "more"])
    assert decode_frame(payload)[1].node == NODE


@pytest.mark.parametrize("seq", [1, 2**64 - 1])
@pytest.mark.parametrize("size", [0, 1, 255, 70_000])
def test_a_frame_adds_at_most_its_overhead(seq: int, size: int) -> None:
    one_large_message = encode_entries([Entry(bytes(size), "x" * 99)])
    frame = encode_frame(NODE, seq, seq, one_large_message)
    assert len(frame) <= len(one_large_message) + OVERHEAD
    fragment = encode_fragment(2**32, 2**32, bytes(size))
    assert len(encode_frame(NODE, seq, seq, fragment, FRAGMENT)) <= size + OVERHEAD


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "frame of 0 bytes is too short"),
        (b"\x01\x00", "frame of 2 bytes is too short"),
        (b"\x02\x00rest", "frame has version 2, this side reads version 1"),
        (b"\x01\x80rest", "frame has the flags 0x80, which this layer does not read"),
        (bytes((1, SEALED)) + b"rest", "frame is sealed, and this layer has no encryption_keys"),
        (b"\x01\x00\xc1", "frame is truncated or malformed"),
        (b"\x01\x00\x93\x01\x02\x03", "frame is truncated or malformed"),
        (b"\x01\x00" + msgspec.msgpack.encode([NODE, -1, 0, 0.0, b""]), "truncated or malformed"),
        (b"\x01\x00" + msgspec.msgpack.encode([NODE, "1", 0, 0.0, b""]), "truncated or malformed"),
        (b"\x01\x00" + msgspec.msgpack.encode([5, 1, 0, 0.0, b""]), "truncated or malformed"),
        (b"\x01\x00" + msgspec.msgpack.encode([NODE, 1, 0, 0.0, "text"]), "truncated or malformed"),
        (b"\x01\x00" + msgspec.msgpack.encode([NODE, 1, 0, 0.0, b""]) + b"tail", "malformed"),
    ],
)
def test_anything_else_is_a_frame_error_with_its_reason(payload: bytes, text: str) -> None:
    with pytest.raises(FrameError, match=text):
        decode_frame(payload)


def test_a_frame_cut_anywhere_is_a_frame_error() -> None:
    payload = encode_frame(NODE, 300, 299, encode_entries([Entry(b"payload", "a!1")]))
    for length in range(len(payload)):
        with pytest.raises(FrameError):
            decode_frame(payload[:length])


def test_a_body_cut_anywhere_is_a_frame_error() -> None:
    body = encode_entries([Entry(b"payload", "a!1"), Entry(b"more")])
    for length in range(len(body)):
        with pytest.raises(FrameError, match="frame body is malformed"):
            decode_entries(body[:length])


def test_a_fragment_cut_anywhere_is_a_frame_error() -> None:
    body = encode_fragment(1, 2, b"piece")
    for length in range(len(body)):
        with pytest.raises(FrameError, match="fragment is malformed"):
            decode_fragment(body[:length])


@pytest.mark.parametrize("fragment", [[0, 1, b""], [-1, 2, b""], [0, -5, b""], [0, 2, "text"]])
def test_a_fragment_with_an_impossible_place_is_a_frame_error(fragment: list[Any]) -> None:
    with pytest.raises(FrameError, match="fragment is malformed"):
        decode_fragment(msgspec.msgpack.encode(fragment))


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x01\x00", b"\x01\x02", b"\x01\x00\x95"]))
def test_random_bytes_are_a_frame_or_a_frame_error(tail: bytes, head: bytes) -> None:
    for decode in (decode_frame, decode_entries, decode_fragment):
        try:
            decode(head + tail)
        except FrameError:
            pass
