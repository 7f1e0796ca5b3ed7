"""Bodies in pieces: what comes together is what was cut, or it does not come at all."""

from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.codec import FRAGMENT, OVERHEAD, Fragment, decode_fragment, encode_frame
from fast_channels.layers.fragments import Reassembly, split

from .budget import examples

MIB = 1_048_576
limits = st.integers(2 * OVERHEAD, 2 * OVERHEAD + 100) | st.integers(2 * OVERHEAD, 9_000)
KEYS = [("m", "t"), ("m", "u"), ("n", "t")]


def cut(body: bytes, limit: int) -> list[Fragment]:
    """Return the pieces of the body as they arrive."""
    return [decode_fragment(piece) for piece in split(body, limit)]


def body_of(number: int, length: int) -> bytes:
    """Return a body that shares no piece with one of another number."""
    return b"".join(b"%d.%d;" % (number, place) for place in range(length // 4))[:length]


@given(st.integers(0, 20_000), st.integers(0, 9), limits, st.integers(1, 2**63))
@examples(150)
def test_any_body_is_put_together_again_from_frames_that_fit(
    length: int, number: int, limit: int, seq: int
) -> None:
    body = body_of(number, length).ljust(limit - OVERHEAD + 1, b".")  # a smaller one is not cut
    pieces = list(split(body, limit))
    for piece in pieces:
        assert len(encode_frame("f" * 16, seq, seq - 1, piece, FRAGMENT)) <= limit
    given_up: list[str] = []
    reassembly = Reassembly(MIB, given_up.append)
    results = [
        reassembly.add("n", "t", number, decode_fragment(piece))
        for number, piece in enumerate(pieces, seq)
    ]
    assert results == [None] * (len(pieces) - 1) + [body]
    reassembly.drop("n", "t")
    assert given_up == []


@given(
    st.lists(
        st.tuples(st.sampled_from(KEYS), st.integers(1, 2_500), limits), min_size=1, max_size=5
    ),
    st.lists(
        st.tuples(st.sampled_from(["lose", "repeat", "swap"]), st.integers(0, 60)), max_size=5
    ),
    st.integers(0, 99),
)
@examples(300)
def test_lost_repeated_or_displaced_pieces_never_make_a_wrong_body(
    sent: list[tuple[tuple[str, str], int, int]], faults: list[tuple[str, int]], weave: int
) -> None:
    bodies: dict[tuple[str, str], list[bytes]] = {key: [] for key in KEYS}
    lanes: dict[tuple[str, str], list[tuple[int, Fragment]]] = {key: [] for key in KEYS}
    seq = 0
    for number, (key, length, limit) in enumerate(sent):
        body = body_of(number, length).ljust(limit - OVERHEAD + 1, b".")
        bodies[key].append(body)
        for piece in cut(body, limit):
            seq += 1
            lanes[key].append((seq, piece))
    arriving: list[tuple[tuple[str, str], int, Fragment]] = []
    while any(lanes.values()):  # the pieces of one node and topic stay in order, as they are sent
        open_lanes = [key for key in KEYS if lanes[key]]
        weave = (weave * 1_103_515_245 + 12_345) % 2**31
        key = open_lanes[weave % len(open_lanes)]
        arriving.append((key, *lanes[key].pop(0)))
    for fault, at in faults:
        place = at % len(arriving)
        if fault == "lose" and len(arriving) > 1:
            del arriving[place]
        elif fault == "repeat":
            arriving.insert(place, arriving[place])
        elif place:
            arriving[place - 1 : place + 1] = reversed(arriving[place - 1 : place + 1])
    given_up: list[str] = []
    reassembly = Reassembly(MIB, given_up.append)
    complete: dict[tuple[str, str], list[bytes]] = {key: [] for key in KEYS}
    for key, number, fragment in arriving:
        body = reassembly.add(*key, number, fragment)
        if body is not None:
            complete[key].append(body)
    for key in KEYS:
        if not faults:
            assert complete[key] == bodies[key]
        assert set(complete[key]) <= set(bodies[key])
    assert faults or not given_up
    for key in KEYS:
        reassembly.drop(*key)
    assert reassembly._bytes == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.builds(Fragment, st.integers(0, 3), st.integers(2, 4), st.binary(max_size=3)),
        )
    )
)
@examples(200)
def test_whatever_pieces_arrive_only_consecutive_ones_make_a_body(
    pieces: list[tuple[int, Fragment]],
) -> None:
    reassembly = Reassembly(MIB, lambda topic: None)
    for place, (seq, piece) in enumerate(pieces):
        body = reassembly.add("n", "t", seq, piece)
        if body is not None:
            parts = pieces[place + 1 - piece.total : place + 1]
            assert [part.index for _, part in parts] == list(range(piece.total))
            assert [seq - part.index for seq, part in parts] == [parts[0][0]] * piece.total
            assert {part.total for _, part in parts} == {piece.total}
            assert body == b"".join(part.chunk for _, part in parts)
