"""Worker queues on JetStream, where a server, a worker or the time is against them."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from nats.aio.client import Client
from tests.proxy import Proxy
from tests.waiting import hears, soon, until

from fast_channels.exceptions import BackendUnavailable, ChannelFull

from .conftest import Make
from .servers import Server, running


async def test_a_worker_listens_before_it_asks_for_a_job(tmp_path: Path, make: Make) -> None:
    # Where both came in one write, a server of 2.9 lost one of some 150 first jobs for 30 seconds.
    with running(tmp_path, "trace: true") as server:
        layer = make(server.url)
        await layer.send("jobs", {"type": "job"})
        assert await soon(layer.receive("jobs")) == {"type": "job"}
        log = (server.folder / "log").read_text()
        [subscribed] = re.findall(r"\[SUB (_INBOX\S+)\.q\d+\.\*", log)
        between = log.partition(f"[SUB {subscribed}.q")[2].partition("CONSUMER.MSG.NEXT")[0]
        assert "[PONG]" in between


async def test_who_waits_at_many_queues_makes_few_of_them_at_once(
    proxy: Proxy, server: Server, make: Make, operator: Client
) -> None:
    # Three servers that elect for fifty at once answer nobody for seconds, nor who sends a job.
    asked: set[bytes] = set()

    def silenced(data: bytes) -> bytes:
        asked.update(re.findall(rb" \$JS\.API\.STREAM\.INFO\.(\S+)", data))
        return data.replace(b" $JS.API.", b" $NO.API.")

    await operator.subscribe("$NO.API.>")
    await operator.flush()
    worker, sender = make(proxy.url), make(server.url)
    await worker.open()
    proxy.rewrite = silenced
    takes = [asyncio.create_task(worker.receive(f"jobs-{number}")) for number in range(50)]
    await until(lambda: len(asked) >= 16)
    await hears(worker)
    assert len(asked) == 16
    proxy.rewrite = bytes
    for number in reversed(range(50)):
        await sender.send(f"jobs-{number}", {"type": "job", "number": number})
    assert [job["number"] for job in await soon(asyncio.gather(*takes))] == list(range(50))


@pytest.mark.long
async def test_who_may_wait_longer_for_a_send_waits_longer_for_jetstream(
    proxy: Proxy, server: Server, make: Make, operator: Client
) -> None:
    asked: list[float] = []

    def silenced(data: bytes) -> bytes:
        asked.extend(time.monotonic() for _ in range(data.count(b" $JS.API.STREAM.INFO.")))
        return data.replace(b" $JS.API.", b" $NO.API.")

    await operator.subscribe("$NO.API.>")
    await operator.flush()
    layer = make(proxy.url, send_timeout=15.0)
    await layer.open()
    proxy.rewrite = silenced
    sending = asyncio.create_task(layer.send("jobs", {"type": "job"}))
    await until(lambda: asked and asked[-1] - asked[0] > 5.0)
    proxy.rewrite = bytes
    await soon(sending)
    assert await soon(layer.receive("jobs")) == {"type": "job"}


async def test_jobs_survive_a_killed_server(fragile: Server, make: Make) -> None:
    layer = make(fragile.url)
    for number in range(5):
        await layer.send("jobs", {"type": "job", "number": number})
    fragile.kill()
    fragile.start()
    other = make(fragile.url)
    numbers = [(await soon(other.receive("jobs")))["number"] for _ in range(5)]
    assert numbers == [0, 1, 2, 3, 4]


async def test_a_job_that_is_given_back_without_a_connection_waits_for_nobody(
    proxy: Proxy, server: Server, make: Make
) -> None:
    leaving, other = make(proxy.url), make(server.url)
    await other.send("jobs", {"type": "job"})
    lease = await soon(leaving.take("jobs"))
    proxy.dead = True
    proxy.cut()
    with pytest.raises(BackendUnavailable):
        await soon(leaving.send("jobs", {"type": "lost"}))  # now it knows
    with pytest.raises(BackendUnavailable):
        await soon(lease.release())
    proxy.dead = False
    # It would come by itself 30 seconds after it was taken.
    assert await soon(other.receive("jobs")) == {"type": "job"}


async def test_a_job_that_comes_for_a_cancelled_reader_goes_to_the_next(
    proxy: Proxy, server: Server, make: Make
) -> None:
    sender, worker, other = make(server.url), make(proxy.url), make(server.url)
    reader = asyncio.create_task(worker.receive("jobs"))

    def cancelled(data: bytes) -> bytes:
        if b" $JS.ACK." in data:  # a job comes, and its reader goes
            reader.cancel()
        return data

    proxy.rewrite = cancelled
    await sender.send("jobs", {"type": "job"})
    await soon(asyncio.wait([reader]))
    assert reader.cancelled()
    proxy.rewrite = bytes
    assert await soon(other.receive("jobs")) == {"type": "job"}


async def test_expired_jobs_make_room_for_new_ones(server: Server, make: Make) -> None:
    lasting, layer = (make(server.url, queue_capacity=3, expiry=expiry) for expiry in (60, 0.3))
    for _ in range(3):
        await lasting.send("full", {"type": "old"})
        await layer.send("jobs", {"type": "old"})
    with pytest.raises(ChannelFull, match="holds 3 jobs, its capacity"):
        await lasting.send("full", {"type": "too many"})
    await asyncio.sleep(0.35)  # it is time that has to pass
    await layer.send("jobs", {"type": "new"})
    assert await soon(layer.receive("jobs")) == {"type": "new"}
    assert layer.stats()["expired"] == 3


async def test_an_expired_job_is_counted_by_the_worker_that_finds_it(
    server: Server, make: Make
) -> None:
    layer = make(server.url, expiry=0.3)
    await layer.send("jobs", {"type": "old"})
    await asyncio.sleep(0.35)  # it is time that has to pass
    worker = make(server.url)
    receiving = asyncio.create_task(worker.receive("jobs"))
    await worker.send("jobs", {"type": "new"})
    assert await soon(receiving) == {"type": "new"}
    assert worker.stats()["expired"] == 1


async def test_a_job_that_is_done_makes_room_also_where_its_server_hears_of_it_late(
    proxy: Proxy, server: Server, make: Make, prefix: str, operator: Client
) -> None:
    refused = 0

    def late(data: bytes) -> bytes:
        """Answer that a job is done while the stream still has it, as in a cluster."""
        nonlocal refused
        refused += data.count(b"maximum messages per subject")
        return data.replace(b"+ACK\r\n", b"+WPI\r\n")

    layer = make(proxy.url, queue_capacity=1)
    await layer.send("jobs", {"type": "one"})
    proxy.rewrite = late
    assert await soon(layer.receive("jobs")) == {"type": "one"}
    sending = asyncio.create_task(layer.send("jobs", {"type": "two"}))
    await until(lambda: refused >= 3 or sending.done())
    await operator.jetstream().purge_stream(f"{prefix}=q+jobs")
    await soon(sending)
    assert await soon(layer.receive("jobs")) == {"type": "two"}


async def test_layers_that_differ_in_capacity_share_a_queue(server: Server, make: Make) -> None:
    small, large = make(server.url, queue_capacity=1), make(server.url, queue_capacity=2)
    await small.send("jobs", {"type": "one"})
    await large.send("jobs", {"type": "two"})
    with pytest.raises(ChannelFull):
        await large.send("jobs", {"type": "three"})
    assert await soon(small.receive("jobs")) == {"type": "one"}
    assert await soon(large.receive("jobs")) == {"type": "two"}


async def test_a_queue_whose_stream_was_deleted_is_made_again(
    server: Server, make: Make, prefix: str, operator: Client
) -> None:
    layer = make(server.url)
    await layer.send("jobs", {"type": "lost"})
    waiting = asyncio.create_task(layer.receive("other"))
    await layer.send("other", {"type": "first"})
    assert await soon(waiting) == {"type": "first"}
    waiting = asyncio.create_task(layer.receive("other"))
    await operator.jetstream().delete_stream(f"{prefix}=q+jobs")
    await operator.jetstream().delete_stream(f"{prefix}=q+other")
    streams = server.folder / "jetstream" / "jetstream" / "$G" / "streams"
    await until(lambda: not (streams / f"{prefix}=q+jobs").exists())
    await layer.send("jobs", {"type": "kept"})
    await until(lambda: (streams / f"{prefix}=q+other").exists())
    await layer.send("other", {"type": "second"})
    assert await soon(layer.receive("jobs")) == {"type": "kept"}
    assert await soon(waiting) == {"type": "second"}


async def test_another_programs_messages_are_read_and_what_nobody_can_read_is_skipped(
    server: Server, make: Make, prefix: str, operator: Client
) -> None:
    layer = make(server.url)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.send("jobs", {"type": "first"})  # the queue is there
    await operator.publish(f"{prefix}.g.room", b'{"type": "news"}', headers={"from": "elsewhere"})
    node = channel.partition("!")[0].rpartition(".")[2]
    for garbage in (b"\xff\x00 no message of ours", b"", b'{"type": 7}'):
        for topic in ("g.room", f"n.{node}"):
            await operator.publish(f"{prefix}.{topic}", garbage)
        await operator.jetstream().publish(f"{prefix}.q.jobs", garbage)  # it is in the queue then
    await operator.publish(f"{prefix}.g.room", b'{"type": "more"}')
    await operator.flush()
    await layer.send("jobs", {"type": "second"})
    for kind in ("news", "more"):
        assert await soon(layer.receive(channel)) == {"type": kind}
    for kind in ("first", "second"):
        assert await soon(layer.receive("jobs")) == {"type": kind}
    assert layer.stats()["malformed"] == 9
