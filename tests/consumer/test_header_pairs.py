"""Headers as consumers may give them, and what is none."""

import pytest

from fast_channels.consumer.headers import header_pairs


@pytest.mark.parametrize(
    "headers",
    [
        {"X-One": "1", "x-two": "zwei ü"},
        {b"X-One": b"1", b"x-two": "zwei ü".encode("latin-1")},
        [("X-One", "1"), ("x-two", "zwei ü")],
        [[b"X-One", b"1"], (b"x-two", "zwei ü".encode("latin-1"))],
        (["X-One", b"1"], (b"x-two", "zwei ü")),
    ],
    ids=["dict of text", "dict of bytes", "pairs of text", "pairs of bytes", "mixed"],
)
def test_headers_are_a_dict_or_pairs_of_text_or_bytes(headers):
    assert header_pairs(headers) == [(b"X-One", b"1"), (b"x-two", b"zwei \xfc")]


def test_no_headers_are_none_at_all():
    assert header_pairs(None) == header_pairs([]) == header_pairs({}) == []


@pytest.mark.parametrize(
    ("headers", "error", "text"),
    [
        ({"x": 1}, TypeError, "('x', 1)"),
        ({"x": None}, TypeError, "('x', None)"),
        ([("x",)], TypeError, "('x',)"),
        (["ab"], TypeError, "'ab'"),
        ([("x", "1", "2")], TypeError, "('x', '1', '2')"),
        ({"": "1"}, ValueError, "b''"),
        ({"a b": "1"}, ValueError, "b'a b'"),
        ({"a:": "1"}, ValueError, "b'a:'"),
        ({"a\r\nb": "1"}, ValueError, "b'a\\r\\nb'"),
        ({"set-cookie": "a\r\nx-evil: 1"}, ValueError, "b'set-cookie'"),
        ({"x": b"\0"}, ValueError, "b'x'"),
        ({"x": "€"}, ValueError, "('x', '€')"),
    ],
)
def test_a_header_that_is_none_is_named(headers, error, text):
    with pytest.raises(error) as refused:
        header_pairs(headers)
    assert text in str(refused.value)
