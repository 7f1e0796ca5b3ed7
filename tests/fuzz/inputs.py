"""Input for a target: any bytes, and what it begins with, spoiled in a few places."""

import random
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

SPICE = (
    *(b"\x00", b"\xff", b"\x7f", b"\x91", b"\xc1", b"\xed\xa0\x80", b"\xe2\x84\x80"),
    *(b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 2_000, b"[" * 2_000),
    *(b"{", b"[", b'"', b",", b":", b"@", b"/", b"?", b"%", b"\n"),
    *(b"9" * 30, b"-1", b"1e999", b"null"),
)

KINDS = ("replace", "insert", "cut", "double", "flip")

Edit = tuple[str, float, int, bytes]

edits: st.SearchStrategy[Edit] = st.tuples(
    st.sampled_from(KINDS),
    st.floats(0, 1, exclude_max=True, width=32),
    st.integers(1, 40),
    st.sampled_from(SPICE) | st.binary(min_size=1, max_size=8),
)


def edited(data: bytes, edit: Edit) -> bytes:
    """Return the data with one change, at a place from 0 (its begin) to 1 (its end)."""
    kind, place, length, piece = edit
    at = int(place * (len(data) + 1))
    before, inside, after = data[:at], data[at : at + length], data[at + length :]
    match kind:
        case "insert":
            return before + piece + inside + after
        case "cut":
            return before + after
        case "double":
            return before + inside + inside + after
        case "flip":
            return before + bytes(byte ^ piece[0] for byte in inside) + after
        case _:
            return before + piece + after


def spoiled(data: bytes, changes: Sequence[Edit]) -> bytes:
    """Return the data with all these changes."""
    for change in changes:
        data = edited(data, change)
    return data[:65_536]


def random_input(seeds: Sequence[bytes], numbers: random.Random) -> bytes:
    """Return what ``inputs`` could have made, a hundred times as fast."""
    if numbers.random() < 0.1:
        return numbers.randbytes(numbers.randrange(200))
    changes = [
        (
            numbers.choice(KINDS),
            numbers.random(),
            numbers.randint(1, 40),
            numbers.choice(SPICE) if numbers.random() < 0.5 else numbers.randbytes(4),
        )
        for _ in range(numbers.randint(1, 5))
    ]
    return spoiled(numbers.choice(seeds), changes)


def smaller(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """Return the data without what is not needed for it to fail."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if fails(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def inputs(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return what makes input out of these seeds, and out of nothing."""
    changed = st.builds(spoiled, st.sampled_from(seeds), st.lists(edits, min_size=1, max_size=5))
    return st.one_of(changed, changed, changed, st.binary(max_size=200))
