"""What of a message is shown."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels_tools.inspector.redaction import HIDDEN, MAX_SHOWN, is_secret, shown


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "new_password",
        "passwordConfirm",
        "PASSWORD",
        "accessToken",
        "X-Api-Key",
        "api key",
        "apikey",
        "client_secret",
        "Authorization",
        "cookie",
        "session_id",
        "sessionid",
        "privateKey",
        "csrf-token",
        "otp",
    ],
)
def test_what_looks_like_a_secret_is_hidden_at_every_depth(key: str) -> None:
    message = {"type": "a", key: "x", "inside": [{"deeper": {key: {"value": "x"}}}]}
    assert shown(None, "g", message) == {
        "type": "a",
        key: HIDDEN,
        "inside": [{"deeper": {key: HIDDEN}}],
    }


@pytest.mark.parametrize("key", ["text", "author", "tokenize", "shipping", "key", "pinned", "id"])
def test_what_does_not_is_shown(key: str) -> None:
    assert not is_secret(key)


def test_values_without_a_json_form_are_shown_as_text() -> None:
    message = {"type": "a", "b": b"\x00\xff", "n": math.nan, "i": 2**60, "t": (1, None, True)}
    assert shown(None, "g", message) == {
        "type": "a",
        "b": "2 bytes: 00 ff",
        "n": "nan",
        "i": str(2**60),
        "t": [1, None, True],
    }


def test_a_large_message_is_cut_and_says_how_much_is_missing() -> None:
    cut = shown(None, "g", {"type": "a", "text": "x" * 100_000, "more": 1})
    assert cut["text"].endswith("\u2026 (100000 characters)")
    assert cut["\u2026"] == "1 more keys"
    deep: Any = "bottom"
    for _ in range(100):
        deep = {"in": deep}
    assert "bottom" not in json.dumps(shown(None, "g", {"type": "a", "deep": deep}))
    items = shown(None, "g", {"type": "a", "items": list(range(100_000))})["items"]
    assert len(items) < 1_000
    assert "more items" in items[-1]


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), anything, max_size=4))
def test_whatever_a_message_is_what_is_shown_has_a_json_form_and_is_small(
    message: dict[str, Any],
) -> None:
    text = json.dumps(shown(None, "g", message), allow_nan=False, ensure_ascii=False)
    assert len(text) < 8 * MAX_SHOWN
