"""Whatever bytes arrive: the reader goes on, and nobody gets what nobody sent."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.layers.backends import Layer, node_of

from fast_channels.layers.codec import (
    FRAGMENT,
    OVERHEAD,
    Entry,
    FrameError,
    decode_entries,
    decode_fragment,
    decode_frame,
    encode_entries,
    encode_fragment,
    encode_frame,
)
from fast_channels.layers.fragments import split
from fast_channels.layers.messages import decode_message, decode_plain, encode_message
from fast_channels.layers.names import check_channel, check_group, topic_group

from .budget import examples
from .sendable import MIB, messages, scalars, text
from .stepping import SteppedLoop

GROUP = "fc:g.group"
NODE = "0123456789abcdef"


def damaged(frame: bytes, damage: list[tuple[str, int, bytes]]) -> bytes:
    """Return the frame after some bytes were flipped, put in, or taken out."""
    result = bytearray(frame)
    for kind, place, piece in damage:
        at = place % (len(result) + 1)
        if kind == "insert":
            result[at:at] = piece
        elif kind == "delete":
            del result[at : at + len(piece)]
        else:
            result[at : at + len(piece)] = piece
    return bytes(result)


damages = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "delete"]),
        st.integers(0, 400),
        st.binary(min_size=1, max_size=4),
    ),
    max_size=4,
)
entries = st.lists(
    st.builds(
        lambda message, target, exclude: Entry(encode_message(message, MIB), target, exclude),
        messages,
        st.none() | st.sampled_from(["!", "specific.node!1"]),
        st.none() | text,
    ),
    max_size=4,
)
numbers = st.integers(0, 2**64 - 1)
bodies = entries.map(encode_entries)
pieces = st.builds(encode_fragment, numbers, numbers, st.binary(max_size=20))
frames = st.builds(encode_frame, text, numbers, numbers, bodies) | st.builds(
    lambda node, seq, prev, body: encode_frame(node, seq, prev, body, FRAGMENT),
    text,
    numbers,
    numbers,
    pieces,
)
heads = st.sampled_from([b"", b"\x01\x00", b"\x01\x02", b"\x01\x00\x95\xa1n\x01\x00\xcb", b"{"])
payloads = st.one_of(
    st.builds(bytes.__add__, heads, st.binary(max_size=100)),
    st.builds(damaged, frames, damages),
    st.builds(damaged, st.just(b'{"type": "x", "n": [1]}'), damages),
)


@given(payloads | bodies | pieces)
@examples(250)
def test_no_bytes_raise_anything_but_a_frame_error_from_the_decoders(payload: bytes) -> None:
    for decode in (decode_frame, decode_entries, decode_fragment):
        only(FrameError, decode, payload)
    for decode_one in (decode_message, decode_plain):
        only(ValueError, decode_one, payload)


def only(kind: type[Exception], decode: Callable[[bytes], Any], payload: bytes) -> None:
    """Call it; it may raise such an error."""
    try:
        decode(payload)
    except kind:
        pass


@given(st.text(max_size=20), numbers, numbers, st.binary(max_size=50), st.booleans())
@examples(50)
def test_every_frame_is_read_as_it_was_written(
    node: str, seq: int, prev: int, body: bytes, fragment: bool
) -> None:
    assume(node.isprintable())
    flags = FRAGMENT if fragment else 0
    got, frame = decode_frame(encode_frame(node, seq, prev, body, flags))
    assert (got, frame.node, frame.seq, frame.prev, frame.body) == (flags, node, seq, prev, body)


class Attacked:
    """A layer with a channel in the group and one in none, and a model of what they get."""

    def __init__(self) -> None:
        self.loop = SteppedLoop()
        self.layer = Layer(capacity=1_000, capacity_bytes=100 * MIB)
        self.member, self.other = (self.loop.finish(self.layer.new_channel()) for _ in range(2))
        self.loop.finish(self.layer.group_add("group", self.member))
        self.expected: dict[str, list[Any]] = {self.member: [], self.other: []}
        self.lost = 0

    def deliver(self, topic: str, payload: bytes) -> None:
        self.loop.call_soon(self.layer.backend.inbox.deliver, topic, payload)
        self.loop.run()

    def expect(self, topic: str, payload: bytes) -> None:
        """Note what is to come of a payload that is the first of its node."""
        try:
            if payload[:1] == b"{":
                if topic != GROUP:
                    raise ValueError("for groups only")
                message = decode_plain(payload)
                encode_message(message, MIB)
                self.expected[self.member].append(message)
                return
            flags, frame = decode_frame(payload)
            if flags & FRAGMENT:
                decode_fragment(frame.body)  # never the only one of its body
                return
            entries = decode_entries(frame.body)
        except (ValueError, TypeError):
            self.lost += 1
            return
        for entry in entries:
            try:
                self.expect_entry(topic, entry)
            except ValueError:
                self.lost += 1

    def expect_entry(self, topic: str, entry: Entry) -> None:
        if topic != GROUP and entry.target in self.expected:
            self.expected[entry.target].append(decode_message(entry.payload))
        elif (topic == GROUP) is not (entry.target is None):
            raise ValueError("not for this topic")
        elif topic != GROUP and entry.target != "!":
            self.lost += 1  # for a channel that is gone
        else:
            message = decode_message(entry.payload)
            if entry.target == "!":
                raise ValueError("no control message")
            if entry.exclude != self.member:
                self.expected[self.member].append(message)

    def read(self, channel: str) -> list[dict[str, Any]]:
        """Return what came to the channel, up to a message that is sent now."""
        fence = {"type": "test.fence", "of": channel}
        self.loop.finish(self.layer.send(channel, fence))
        got: list[dict[str, Any]] = []
        while not got or got[-1] != fence:
            got.append(self.loop.finish(self.layer.receive(channel)))
        return got[:-1]

    def check(self) -> None:
        """The channels got what they should, and are where they were; the group works."""
        stats = self.layer.stats()
        assert stats["malformed"] + stats["refused"] + stats["undeliverable"] == self.lost
        for channel, expected in self.expected.items():
            assert list(map(repr, self.read(channel))) == list(map(repr, expected))
        self.check_memberships()

    def check_memberships(self) -> None:
        """The group has its member and no other, and is the only one."""
        last = {"type": "test.last"}
        self.loop.finish(self.layer.group_send("group", last))
        assert self.read(self.member)[-1] == last
        assert last not in self.read(self.other)
        assert (self.layer.stats()["groups"], self.layer.stats()["channels"]) == (1, 2)

    def close(self) -> None:
        self.loop.finish(self.layer.close())
        self.loop.end()


@contextmanager
def attacked() -> Generator[Attacked]:
    """Yield a layer that is closed afterwards."""
    layer = Attacked()
    try:
        yield layer
    finally:
        layer.close()


@given(payloads, st.booleans())
@examples(180)
def test_whatever_arrives_brings_legal_messages_only_and_all_else_is_counted(
    payload: bytes, to_node: bool
) -> None:
    with attacked() as layer:
        topic = node_of(layer.member) if to_node else GROUP
        layer.expect(topic, payload)
        layer.deliver(topic, payload)
        layer.check()


@given(st.lists(st.tuples(payloads, st.booleans()), max_size=6))
@examples(50)
def test_whatever_arrives_in_a_row_the_layer_goes_on(arriving: list[tuple[bytes, bool]]) -> None:
    with attacked() as layer:
        for payload, to_node in arriving:
            layer.deliver(node_of(layer.member) if to_node else GROUP, payload)
        layer.check_memberships()


@given(entries, damages, st.sampled_from([0, 200, 2_000]), st.integers(0, 9))
@examples(100)
def test_real_frames_damaged_on_their_way_bring_legal_messages_only(
    packed: list[Entry], damage: list[tuple[str, int, bytes]], size: int, which: int
) -> None:
    """Whole and in fragments; a damaged one never brings a message of something else's bytes."""
    body = encode_entries([*packed, Entry(encode_message({"type": "x", "data": bytes(size)}, MIB))])
    sent = [encode_frame(NODE, 1, 0, body)]
    if size:
        sent = [
            encode_frame(NODE, seq, seq - 1, piece, FRAGMENT)
            for seq, piece in enumerate(split(body, 2 * OVERHEAD), 1)
        ]
    which %= len(sent)
    with attacked() as layer:
        for index, payload in enumerate(sent):
            layer.deliver(GROUP, damaged(payload, damage) if index == which else payload)
        for message in layer.read(layer.member):
            assert isinstance(message["type"], str)
        layer.check_memberships()


words = st.sampled_from(["group", "red", "two words", "", "x" * 100, "!", "a!1!"])


@given(
    kind=st.sampled_from(["add", "discard", "answer", "ad", ""]),
    group=words | scalars,
    channel=st.sampled_from(["member", "other", "gone.node!1"]) | words | scalars,
    number=st.integers(-1, 3) | scalars,
    sender=text | st.sampled_from([NODE, "a b", "x" * 100, "\r\n", ""]),
    asking=st.booleans(),
)
@examples(100)
def test_only_a_legal_control_message_changes_a_membership(
    kind: str, group: Any, channel: Any, number: Any, sender: str, asking: bool
) -> None:
    with attacked() as layer:
        question = None
        if asking:  # an answer may come that nobody gave
            call = layer.layer.group_add("red", "specific.0123456789abcdef!1")
            question = layer.loop.start(call)
        channel = {"member": layer.member, "other": layer.other}.get(channel, channel)
        message = {"type": kind, "group": group, "channel": channel, "number": number, "error": ""}
        entry = Entry(encode_message(message, MIB), "!")
        before = len(layer.layer.backend.publications)
        topic = node_of(layer.member)
        layer.deliver(topic, encode_frame(sender, 0, 0, encode_entries([entry])))
        answers = layer.layer.backend.publications[before:]
        for publication in answers:
            assert check_topic(publication.topic) == f"fc:n.{sender}"
        asks = kind in ("add", "discard") and sender == NODE
        names = is_legal(check_group, group) and is_legal(check_channel, channel)
        legal = isinstance(number, int) and (kind == "answer" or (asks and names))
        assert layer.layer.stats()["malformed"] == (0 if legal else 1)
        assert len(answers) == (1 if legal and kind != "answer" else 0)
        memberships = {layer.member: {"group"}, layer.other: set()}
        if legal and channel in memberships and kind == "add":
            memberships[channel].add(group)
        elif legal and channel in memberships and kind == "discard":
            memberships[channel].discard(group)
        (session,) = layer.layer._sessions.live
        mailboxes = session.hub.mailboxes
        assert memberships == {
            name: {topic_group(topic) for topic in mailbox.topics or ()}
            for name, mailbox in mailboxes.items()
        }
        layer.loop.advance(6.0)
        assert question is None or question.done()
        assert question is None or question.exception() is not None or kind == "answer"


def is_legal(check: Callable[[object], str], name: object) -> bool:
    """Whether the check passes the name."""
    try:
        return check(name) == name
    except TypeError:
        return False


def check_topic(topic: str) -> str:
    """Return the topic if it is one that every backend can carry."""
    assert topic.isascii()
    assert topic.isprintable()
    assert " " not in topic
    assert len(topic) <= 165
    return topic
