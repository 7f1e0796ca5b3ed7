"""The limits of docs/security.md are those of the code, and hold without being asked for."""

import re
from pathlib import Path

import pytest

from fast_channels import AsyncHttpConsumer, AsyncWebsocketConsumer, ResumableWebsocketConsumer
from fast_channels.consumer.connection import READ_AHEAD
from fast_channels.consumer.thread_pool import DEFAULT_SIZE
from fast_channels.layers import HistoryPolicy, LayerOptions
from fast_channels.layers.fragments import MAX_AGE, MAX_BYTES
from fast_channels.layers.history import MAX_ID, MAX_LAST
from fast_channels.layers.hub import MAX_BACKLOG
from fast_channels.layers.names import MAX_NAME_LENGTH, check_prefix
from fast_channels.layers.outbox import MAX_WAITING, MAX_WAITING_BYTES
from fast_channels.layers.presence.wire import MAX_PRESENCE

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", PAGE.partition("## Limits")[2], re.MULTILINE))
MIB = 1_048_576
OPTIONS = LayerOptions()

LIMITS = {
    "`max_frame_size`": [AsyncWebsocketConsumer.max_frame_size],
    "`max_frame_rate`": [AsyncWebsocketConsumer.max_frame_rate],
    "frames read ahead of a slow handler": [READ_AHEAD],
    "`max_body_size`": [AsyncHttpConsumer.max_body_size],
    "`body_timeout`": [AsyncHttpConsumer.body_timeout],
    "`max_groups` of a client": [ResumableWebsocketConsumer.max_groups],
    "`max_name_length`": [ResumableWebsocketConsumer.max_name_length],
    "threads of sync consumers": [DEFAULT_SIZE],
    "`max_groups` of a channel": [OPTIONS.max_groups],
    "`max_message_size`": [OPTIONS.max_message_size],
    "`capacity`, `capacity_bytes`": [OPTIONS.capacity, OPTIONS.capacity_bytes],
    "`expiry`": [OPTIONS.expiry],
    "names of groups and channels": [MAX_NAME_LENGTH - 1],
    "presence of one channel": [MAX_PRESENCE],
    "messages that wait for the broker": [MAX_WAITING, MAX_WAITING_BYTES],
    "messages that wait to be handed out": [MAX_BACKLOG],
    "unfinished large messages": [MAX_BYTES, MAX_AGE],
    "history of a group": [HistoryPolicy().keep, HistoryPolicy().ttl],
    '`since="last:n"`': [MAX_LAST],
    "`id` of a message": [MAX_ID],
}


def numbers_of(text: str) -> list[float]:
    """Return the numbers of a cell: 1 MiB is so many bytes, and 1,000 a thousand."""
    found = re.findall(r"([\d,]*\d)( MiB)?", text)
    return [float(digits.replace(",", "")) * (MIB if unit else 1) for digits, unit in found]


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_is_as_the_page_says(limit: str) -> None:
    assert numbers_of(ROWS[limit]) == LIMITS[limit]


def test_every_limit_of_the_page_is_compared() -> None:
    page = PAGE.partition("## Limits")[2].partition("## TLS")[0]
    listed = set(re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE))
    assert listed - LIMITS.keys() == {"limit", "---", "`queue_capacity`", "`prefix`"}
    assert (OPTIONS.queue_capacity_of("jobs"), ROWS["`queue_capacity`"]) == (100, "as `capacity`")
    check_prefix("x" * int(numbers_of(ROWS["`prefix`"])[0]))
    with pytest.raises(ValueError, match="prefix"):
        check_prefix("x" * 64)
