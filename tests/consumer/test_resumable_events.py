"""Streams of Server-Sent Events that go on by ``Last-Event-ID``."""

import asyncio
import json
import re

import pytest

from fast_channels import ResumableEventSourceConsumer, register_channel_layer
from fast_channels.exceptions import BackendUnavailable, DenyConnection
from fast_channels.layers import HistoryPolicy

from .http_client import requesting
from .test_event_source import parse

pytestmark = pytest.mark.timeout(20)
ask = pytest.fixture(requesting, name="ask")


class News(ResumableEventSourceConsumer):
    """The groups are named in the query."""

    retry = 50
    keep_alive = None

    async def stream_groups(self):
        if self.scope["query_string"] == b"none":
            raise DenyConnection(status=401)
        return self.scope["query_string"].decode().split(",")

    async def news_loud(self, message):
        await self.forward(message, {"loud": message["n"]}, event="loud")


@pytest.fixture
async def layer():
    """A layer that keeps the groups "kept.*", for the consumers of a test."""
    made = register_channel_layer(
        "default", "memory://events", history={"kept.*": HistoryPolicy(keep=20)}, capacity=10
    )
    yield made
    await made.flush()
    await made.close()


async def publish(layer, group, *numbers, kind="news.item"):
    for n in numbers:
        await layer.group_send(group, {"type": kind, "n": n})


async def begun(ask, groups, last=None, consumer=News):
    """Return the client, when it is in the groups."""
    headers = [] if last is None else [("last-event-id", last)]
    client = await ask(consumer, query_string=groups.encode(), headers=headers)
    await client.has_body(rb"id: [^\n]*\nretry: \d+\n\n")
    return client


async def events(client, count):
    """Wait for so many events: (type, content, id)."""
    await client.news.until(lambda: client.task.done() or len(parse(client.body)) >= count)
    found = [(kind, json.loads(data), last) for kind, data, last, _ in parse(client.body)]
    assert len(found) == count, found
    return found


def numbers(found):
    return [data["n"] for _, data, _ in found]


def last_id(client):
    return re.findall(rb"^id: (.*)$", client.body, re.MULTILINE)[-1].decode()


async def test_a_stream_goes_on_after_the_last_event_in_each_of_its_groups(layer, ask):
    client = await begun(ask, "kept.a,kept.b")
    await publish(layer, "kept.a", 0, 1)
    await publish(layer, "kept.b", 100)
    last = (await events(client, 3))[-1][2]
    await client.end()
    await publish(layer, "kept.a", *range(2, 18))
    await publish(layer, "kept.b", 101)
    client = await begun(ask, "kept.b,kept.a", last)
    await publish(layer, "kept.a", 18)
    found = await events(client, 18)
    assert {kind for kind, _, _ in found} == {"message"}
    assert [n for n in numbers(found) if n < 100] == list(range(2, 19))
    assert numbers(found).count(101) == 1


async def test_a_stream_that_broke_before_its_first_event_misses_nothing(layer, ask):
    client = await begun(ask, "kept.a")
    await client.end()
    await publish(layer, "kept.a", 0)
    client = await begun(ask, "kept.a", last_id(client))
    assert numbers(await events(client, 1)) == [0]


async def test_a_handler_forwards_with_a_type_and_the_place(layer, ask):
    client = await begun(ask, "kept.a")
    await publish(layer, "kept.a", 1, kind="news.loud")
    (found,) = await events(client, 1)
    assert found == ("loud", {"loud": 1}, last_id(client))
    assert found[2] == await layer.group_position("kept.a")


async def test_the_newest_come_first_where_that_is_asked_for(layer, ask):
    class Recent(News):
        since = "last:2"

    await publish(layer, "kept.a", *range(5))
    client = await begun(ask, "kept.a", consumer=Recent)
    assert numbers(await events(client, 2)) == [3, 4]


async def test_who_cannot_be_caught_up_is_told_of_a_gap(layer, ask):
    class Recent(News):
        resync = "last:2"

    old = await layer.group_position("kept.a")
    await publish(layer, "kept.a", *range(30))  # 20 are kept
    foreign = await layer.group_position("kept.c")
    for last in (old, foreign, "nonsense", "a,b", f"{old},-"):
        client = await begun(ask, "kept.a", last, Recent)
        found = await events(client, 3)
        assert found[0][:2] == ("channels.gap", {"group": "kept.a"})
        assert numbers(found[1:]) == [28, 29]


async def test_who_comes_for_the_first_time_has_lost_nothing_and_gets_no_resync(layer, ask):
    class Recent(News):
        resync = "last:2"

    await publish(layer, "kept.a", 1)
    client = await begun(ask, "kept.a", None, Recent)
    await publish(layer, "kept.a", 2)
    assert numbers(await events(client, 1)) == [2]


async def test_a_group_that_is_not_kept_tells_a_gap_on_every_return(layer, ask):
    client = await begun(ask, "live.a,kept.a")
    await publish(layer, "live.a", 1)
    (first,) = await events(client, 1)
    assert first[1]["n"] == 1
    await client.end()
    client = await begun(ask, "live.a,kept.a", first[2])
    await publish(layer, "kept.a", 2)
    gap, item = await events(client, 2)
    assert gap[:2] == ("channels.gap", {"group": "live.a"})
    assert item[1]["n"] == 2


async def test_a_group_that_is_new_in_a_stream_is_no_gap(layer, ask):
    client = await begun(ask, "kept.a")
    await client.end()
    client = await begun(ask, "kept.a,kept.b", last_id(client))
    await publish(layer, "kept.b", 1)
    assert numbers(await events(client, 1)) == [1]


async def test_a_loss_on_the_way_is_a_gap(layer, ask):
    client = await begun(ask, "live.a")
    for backend in layer.open_backends:
        backend._inbox.gap(BackendUnavailable("gone for a moment"))
    assert (await events(client, 1))[0][:2] == ("channels.gap", {"group": "live.a"})


async def test_a_stream_may_be_refused_or_closed_for_good(layer, ask):
    class Over(News):
        async def connect(self, last_event_id):
            await self.close()

    client = await ask(News, query_string=b"none")
    await client.answered()
    assert client.status == 401
    client = await ask(Over, query_string=b"kept.a")
    await client.answered()
    assert client.status == 204


async def test_a_thousand_clients_do_not_come_back_at_once(layer, ask):
    class Patient(News):
        retry = 1000

    clients = await asyncio.gather(*[begun(ask, "kept.a", None, Patient) for _ in range(20)])
    times = [int(re.search(rb"retry: (\d+)", client.body)[1]) for client in clients]
    assert len(set(times)) > 10
    assert all(1000 <= each <= 2000 for each in times)
