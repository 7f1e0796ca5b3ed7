"""Messages of every shape that may be sent, and what a call that refuses one raises."""

import math
from typing import Any

from hypothesis import strategies as st

MIB = 1_048_576

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([-(2**63), 2**63, 2**64 - 1, -1, 0])
floats = st.floats() | st.sampled_from([math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
scalars = st.none() | st.booleans() | integers | floats | text | st.binary(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(text, inner, max_size=4)
        | st.dictionaries(integers | st.binary(max_size=4), inner, max_size=2)
    ),
    max_leaves=12,
)
messages = st.builds(
    lambda fields, kind: {**fields, "type": kind}, st.dictionaries(text, values, max_size=5), text
)


def raised_by(sending: Any) -> Exception:
    """Return what the call raises, which happens before it waits for anything."""
    try:
        sending.send(None)
    except Exception as error:
        return error
    sending.close()
    raise AssertionError("it was not refused before any input or output")
