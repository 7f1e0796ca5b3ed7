"""Entries with an id: the second one with it counts for nobody."""

from tests.waiting import until

from fast_channels.layers import Append
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.records import id_of, message, pack

from .durable import Process, Processes, payloads, publish


async def test_a_second_entry_of_an_id_is_dropped_by_who_saw_only_the_second(
    process: Processes, one: Process, topic: str, stream: str, connection: Connection
) -> None:
    """Two processes published it at once; neither could know of the other."""
    known = id_of(topic, "order")
    append = Append(topic, [], 9, 60.0)
    await one.publish(topic, b"before")
    before = (await one.all(topic))[0].position
    seen = before.offset >> 16
    await publish(connection, stream, message([pack(append, [(known, b"first")])], seen))
    await one.publish(topic, b"between")
    middle = (await one.all(topic))[-1].position
    late = await process()
    await late.backend.subscribe([topic])  # it follows the stream from behind the first one
    await publish(connection, stream, message([pack(append, [(known, b"second")])], seen))
    await one.publish(topic, b"end")
    assert payloads(await one.all(topic, before)) == [b"first", b"between", b"end"]
    assert payloads(await one.all(topic, middle)) == [b"end"]
    assert payloads(await late.all(topic, middle)) == [b"end"]
    assert await late.last(topic, 2) == [b"between", b"end"]
    await until(lambda: late.kept and late.kept[-1].payload == b"end")
    assert b"second" not in payloads(late.kept)


async def test_who_reads_on_from_the_first_entry_of_an_id_does_not_get_the_second(
    one: Process, topic: str, stream: str, connection: Connection
) -> None:
    """A retry of what was perhaps sent; also where both went out in one message."""
    append = Append(topic, [], 9, 60.0)
    await one.publish(topic, b"before")
    seen = (await one.all(topic))[0].position.offset >> 16
    first, second = ((id_of(topic, name), name.encode()) for name in ("first", "second"))
    entries = [pack(append, [first, second, second]), pack(append, [first])]
    bodies = [message([each], seen) for each in entries]
    await publish(connection, stream, *bodies)
    await one.publish(topic, b"end")
    all_ = await one.all(topic)
    assert payloads(all_) == [b"before", b"first", b"second", b"end"]
    for number, each in enumerate(all_, 1):
        assert await one.all(topic, each.position) == all_[number:]


async def test_a_process_that_never_saw_an_id_does_not_publish_it_again(
    process: Processes, one: Process, topic: str
) -> None:
    other = await process()
    await one.publish(topic, b"first", "order")
    await other.publish(topic, b"second", "order")
    await other.publish(topic, b"third", "another")
    assert payloads(await one.all(topic)) == [b"first", b"third"]
