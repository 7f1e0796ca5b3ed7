"""Durable groups on JetStream: what servers, operators and limits do to them."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from tests.proxy import Proxy
from tests.waiting import hears, read_until, send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable, HistoryLost, InvalidChannelLayerError
from fast_channels.layers import HistoryPolicy
from fast_channels_nats import NatsChannelLayer

from .conftest import Make
from .rooms import GAP, LAST, history_streams, member
from .servers import Server, running

KEPT = {"few": HistoryPolicy(keep=3, ttl=60), "*": HistoryPolicy(keep=1_000, ttl=60)}


def numbered(number: int) -> dict[str, Any]:
    return {"type": "n", "n": number}


async def heard_again(layer: NatsChannelLayer, channel: str) -> list[Any]:
    """Return what comes up to the first ``LAST``, of several.

    A member goes on behind what a new history has when it learns of it.
    """
    reading = asyncio.create_task(read_until(layer, channel, LAST))
    while not reading.done():
        await send_when_back(layer, "room", LAST)
        await asyncio.wait([reading], timeout=0.05)
    return reading.result()


async def test_positions_and_ids_outlive_a_killed_server(fragile: Server, make: Make) -> None:
    layer = make(fragile.url, history=KEPT)
    for number in range(5):
        await layer.group_send("room", numbered(number), id=f"id-{number}")
    position = (await layer.group_history("room"))[1].position
    fragile.kill()
    fragile.start()
    await send_when_back(layer, "room", LAST)
    await layer.group_send("room", numbered(3), id="id-3")
    found = await layer.group_history("room", since=position)
    assert found == [numbered(2), numbered(3), numbered(4), LAST]


async def test_a_place_that_a_client_has_made_up_is_lost_and_no_outage(
    server: Server, make: Make
) -> None:
    """No entry has the sequence 0, and the server calls it a bad question."""
    layer = make(server.url, history=KEPT)
    await layer.group_send("room", numbered(0))
    position = (await layer.group_history("room"))[0].position
    _, epoch, tag = position.split(".")
    for offset in ("0", "1", "1e5", "ffffffff"):
        with pytest.raises(HistoryLost):
            await layer.group_history("room", since=f"{offset}.{epoch}.{tag}")
    assert await layer.group_history("room") == [numbered(0)]


async def test_a_server_that_lost_its_data_has_another_history(fragile: Server, make: Make) -> None:
    layer = make(fragile.url, history=KEPT)
    channel = await member(layer)
    await layer.group_send("room", numbered(0))
    await layer.group_send("room", numbered(1))
    position = (await layer.group_history("room"))[0].position
    fragile.kill()
    shutil.rmtree(fragile.folder / "jetstream")
    fragile.start()
    await send_when_back(layer, "room", numbered(2))
    await layer.group_send("room", numbered(3))
    with pytest.raises(HistoryLost, match="another one"):
        await layer.group_history("room", since=position)
    assert await layer.group_history("room") == [numbered(2), numbered(3)]
    await layer.group_send("room", LAST)
    came = await read_until(layer, channel, LAST)
    assert came == [numbered(0), numbered(1), GAP, numbered(2), numbered(3)]


async def test_a_deleted_stream_is_made_again_and_members_hear_of_it(
    server: Server, make: Make, prefix: str, operator: Client
) -> None:
    here, there = make(server.url, history=KEPT), make(server.url, history=KEPT)
    channel = await member(there)
    await here.group_send("room", numbered(0))
    [name] = await history_streams(operator, prefix)
    await operator.jetstream().delete_stream(name)
    await here.group_send("room", numbered(1))
    await here.group_send("room", LAST)
    assert await read_until(there, channel, LAST) == [numbered(0), GAP, numbered(1)]


async def test_processes_that_begin_at_once_share_one_stream(
    server: Server, make: Make, prefix: str, operator: Client
) -> None:
    layers = [make(server.url, history=KEPT) for _ in range(8)]
    await asyncio.gather(*(layer.group_send("room", numbered(n)) for n, layer in enumerate(layers)))
    assert len(await history_streams(operator, prefix)) == 1
    found = await layers[0].group_history("room")
    assert sorted(each["n"] for each in found) == list(range(8))


async def test_who_keeps_less_does_not_cut_what_others_keep(server: Server, make: Make) -> None:
    much, little = [
        make(server.url, history={"*": HistoryPolicy(keep=keep, ttl=ttl)})
        for keep, ttl in ((500, 60.0), (5, 9_000.0))
    ]
    for number in range(400):
        await much.group_send("room", numbered(number))
    await little.group_send("other", numbered(0))
    assert len(await much.group_history("room", limit=1_000)) == 400


async def test_topics_that_keep_little_are_cut_in_the_stream(
    server: Server, make: Make, prefix: str, operator: Client
) -> None:
    layer = make(server.url, history=KEPT)
    await layer.group_send("room", numbered(0))
    await asyncio.gather(*(layer.group_send("few", numbered(n)) for n in range(900)))
    assert [each["n"] for each in await layer.group_history("few")] == [897, 898, 899]
    [held] = (await history_streams(operator, prefix)).values()
    assert held.state.messages < 600, "not as many as the largest policy keeps"


async def test_large_messages_keep_their_places(server: Server, make: Make) -> None:
    here, there = make(server.url, history=KEPT), make(server.url, history=KEPT)
    channel = await member(there)
    sent = [
        {"type": "large", "text": f"{number}" * 900_000} if number % 2 else numbered(number)
        for number in range(5)
    ]
    await asyncio.gather(*(here.group_send("room", message) for message in [*sent, LAST]))
    assert await read_until(there, channel, LAST) == sent
    assert there.stats()["repeated"] == 0, "none came late, and was read for that"
    assert await here.group_history("room", since="last:6") == [*sent, LAST]


async def test_pieces_of_what_is_not_kept_are_removed(
    server: Server, make: Make, prefix: str, operator: Client
) -> None:
    layer = make(server.url, history=KEPT)
    sent = [{"type": "large", "text": f"{number}" * 900_000} for number in range(8)]
    for message in sent:
        await layer.group_send("few", message)
    assert await layer.group_history("few") == sent[-3:]
    for _ in range(4):
        await layer.group_send("few", sent[0], id="once")
    assert await layer.group_history("few") == [*sent[-2:], sent[0]], "its pieces, too, once"
    [held] = (await history_streams(operator, prefix)).values()
    assert held.state.bytes < 4_000_000


async def test_a_large_message_of_which_a_piece_is_gone_is_never_half_there(
    server: Server, make: Make, prefix: str, operator: Client
) -> None:
    layer = make(server.url, history=KEPT)
    await layer.group_send("room", numbered(0))
    position = (await layer.group_history("room"))[0].position
    await layer.group_send("room", {"type": "large", "text": "x" * 900_000})
    await layer.group_send("room", LAST)
    [name] = await history_streams(operator, prefix)
    await operator.jetstream().purge_stream(name, subject=f"{prefix}.h-parts.>")
    with pytest.raises(HistoryLost):
        await layer.group_history("room", since=position)
    assert await layer.group_history("room") == [LAST]


async def test_history_without_jetstream_is_refused_clearly(tmp_path: Path, make: Make) -> None:
    with running(tmp_path, jetstream=False) as server:
        layer = make(server.url, history=KEPT)
        channel = await layer.new_channel()
        for call in (
            layer.group_send("room", LAST),
            layer.group_add("room", channel),
            layer.group_history("room"),
        ):
            with pytest.raises(InvalidChannelLayerError, match="start nats-server with -js"):
                await soon(call)


async def test_a_stream_that_takes_the_subjects_is_named(
    server: Server, make: Make, prefix: str, operator: Client
) -> None:
    await operator.jetstream().add_stream(name=f"{prefix}-all", subjects=[f"{prefix}.>"])
    layer = make(server.url, history=KEPT)
    with pytest.raises(InvalidChannelLayerError, match=f"'{prefix}-all' takes {prefix}.h-log"):
        await layer.group_send("room", LAST)


async def test_what_history_is_not_permitted_reaches_who_asked(
    tmp_path: Path, make: Make, prefix: str
) -> None:
    user = (
        'user: app, password: "pw", permissions: { '
        f'publish: {{ allow: ["{prefix}.>", "$JS.API.>"], deny: ["{prefix}.h-log.closed"] }}, '
        f'subscribe: ["{prefix}.>", "_INBOX.>"] }}'
    )
    with running(tmp_path, f"authorization {{ users: [{{ {user} }}] }}") as server:
        layer = make(f"nats://app:pw@{server.address}", history=KEPT)
        channel = await member(layer)
        sends = [layer.group_send(group, LAST) for group in ("room", "closed", "room")]
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(each) for each in results] == [type(None), BackendUnavailable, type(None)]
        assert f'Publish to "{prefix}.h-log.closed"' in str(results[1])
        assert [await soon(layer.receive(channel)) for _ in range(2)] == [LAST, LAST]


async def test_history_without_space_is_told_to_who_sends(tmp_path: Path, make: Make) -> None:
    with running(tmp_path, jetstream=False) as server:
        folder = server.folder / "jetstream"
        server.config = f'jetstream {{ store_dir: "{folder}", max_file: 100000 }}'
        server.kill()
        server.start()
        layer = make(server.url, history=KEPT)
        sent = 0
        with pytest.raises(BackendUnavailable, match="has no space left"):
            for sent in range(50):  # noqa: B007  # how many there was space for
                await layer.group_send("room", {"type": "n", "text": "x" * 20_000})
        assert 0 < sent < 20
        assert len(await layer.group_history("room")) == sent


async def test_a_stalled_subscriber_reads_what_it_missed(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url, history=KEPT), make(fragile.url, history=KEPT)
    channel = await member(there)
    for number in range(10):
        await here.group_send("room", numbered(number))
    fragile.freeze()
    sending = asyncio.create_task(here.group_send("room", numbered(10), id="ten"))
    await until(lambda: here.stats()["published"] == 11)
    fragile.thaw()
    await asyncio.gather(sending, return_exceptions=True)
    await hears(there)
    await send_when_back(here, "room", LAST)
    came = await read_until(there, channel, LAST)
    assert came[:10] == [numbered(n) for n in range(10)]
    assert GAP not in came


async def test_a_server_that_is_set_back_has_another_history(fragile: Server, make: Make) -> None:
    layer = make(fragile.url, history=KEPT)
    channel = await member(layer)
    await layer.group_send("room", numbered(0))
    fragile.kill()
    data, backup = fragile.folder / "jetstream", fragile.folder / "backup"
    shutil.copytree(data, backup)
    fragile.start()
    for number in range(1, 5):
        await send_when_back(layer, "room", numbered(number))
    await until(lambda: layer.stats()["delivered"] == 5)
    position = (await layer.group_history("room", since="last:1"))[0].position
    fragile.kill()
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    fragile.start()
    await send_when_back(layer, "room", {"type": "perhaps"})
    came = await heard_again(layer, channel)
    with pytest.raises(HistoryLost, match="another one"):
        await layer.group_history("room", since=position)
    assert [each for each in came if "n" in each] == [numbered(n) for n in range(5)]
    assert GAP in came


async def test_a_position_of_what_was_set_back_is_good_for_nothing_else(
    fragile: Server, make: Make
) -> None:
    layer = make(fragile.url, history=KEPT)
    await layer.group_send("room", numbered(0))
    fragile.kill()
    data, backup = fragile.folder / "jetstream", fragile.folder / "backup"
    shutil.copytree(data, backup)
    fragile.start()
    await send_when_back(layer, "room", numbered(1))
    position = await layer.group_position("room")
    await layer.close()  # nobody is left who remembers
    fragile.kill()
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    fragile.start()
    other = make(fragile.url, history=KEPT)
    for number in range(2, 5):
        await other.group_send("room", numbered(number))
    with pytest.raises(HistoryLost):
        await other.group_history("room", since=position)


async def test_a_consumer_that_its_servers_do_not_know_of_yet_is_asked_again(
    proxy: Proxy, make: Make
) -> None:
    asks = 0

    def astray(data: bytes) -> bytes:
        """Let nobody listen where the first two questions go."""
        nonlocal asks
        asks += data.count(b"PUB $JS.API.CONSUMER.MSG.NEXT")
        return data.replace(b"PUB $JS.API.C", b"PUB $NO.API.C") if 0 < asks <= 2 else data

    layer = make(proxy.url, history=KEPT)
    await layer.group_send("room", numbered(1))
    proxy.rewrite = astray
    assert await layer.group_history("room") == [numbered(1)]
    assert asks == 3


async def test_a_stream_that_another_process_has_just_deleted_is_looked_for_again(
    proxy: Proxy, make: Make
) -> None:
    asks = 0

    def astray(data: bytes) -> bytes:
        """Ask twice for a stream that is not there."""
        nonlocal asks
        asks += data.count(b"PUB $JS.API.STREAM.INFO")
        if 0 < asks <= 2:
            return re.sub(rb"(PUB \$JS.API.STREAM.INFO.\S+)\S ", rb"\1_ ", data)
        return data

    layer = make(proxy.url, history=KEPT)
    proxy.rewrite = astray
    await layer.group_send("room", numbered(1))
    assert await layer.group_history("room") == [numbered(1)]
    assert asks == 3


async def test_an_id_whose_entry_is_on_its_way_is_sent_again(proxy: Proxy, make: Make) -> None:
    answers = 0

    def early(data: bytes) -> bytes:
        """Answer as servers of a cluster, which know an id before the entry has a place."""
        nonlocal answers
        answers += data.count(b'"duplicate": true')
        place = rb'"seq":(\d+)(,.*"duplicate": true)'
        if 0 < answers <= 2:
            return re.sub(place, lambda m: b'"seq":' + b" " * (len(m[1]) - 1) + b"0" + m[2], data)
        return data

    layer = make(proxy.url, history=KEPT)
    await layer.group_send("room", numbered(1), id="one")
    proxy.rewrite = early
    await layer.group_send("room", numbered(1), id="one")
    assert answers == 3
    assert await layer.group_history("room") == [numbered(1)]
