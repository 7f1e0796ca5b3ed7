"""Clauses: what is published arrives, once, as it was, on its topic and on no other."""

import string
from typing import Final

from fast_channels.exceptions import PublishFailed
from fast_channels.layers import Publication
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.process import Process
from fast_channels.testing.conformance.suite import BackendSuite

MIB: Final = 1_048_576
_LARGEST_TRIED: Final = 16 * MIB


def _cannot_refuse(suite: BackendSuite) -> str | None:
    limit = suite.build().max_payload
    if limit is None:
        return "max_payload is None: no publication is too large"
    if limit > _LARGEST_TRIED:
        return f"max_payload is {limit}: a larger payload is not tried"
    return None


class DeliveryClauses(BackendSuite):
    """Laws 1 and 3, for what and where."""

    @clause
    async def test_what_one_process_publishes_reaches_another(self) -> None:
        """Law 3. Usual cause: nothing is received, or the topic is mapped differently for publish
        and subscribe."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic())
        await here.publish(self.topic(), b"hello")
        assert await there.expect(self.topic()) == [b"hello"]

    @clause
    async def test_a_process_receives_once_what_it_publishes_itself(self) -> None:
        """Law 3. Usual cause: the broker does not echo to the publishing connection (a "no local"
        option), or the backend delivers locally and the broker does so, too."""
        process = await self.process()
        await process.subscribe(self.topic())
        await process.publish(self.topic(), b"echo")
        await process.expect(self.topic())
        await self.silence(process, process)
        assert process.payloads(self.topic()) == [b"echo"]

    @clause
    async def test_each_of_several_processes_receives_each_publication_once(self) -> None:
        """Law 3. Usual cause: processes share one broker queue or consumer group and compete for
        its messages; or a message that was not acknowledged in time is sent again."""
        sender = await self.process()
        receivers = [await self.process() for _ in range(3)]
        payloads = self.numbered(20)
        for receiver in receivers:
            await receiver.subscribe(self.topic())
        await sender.publish(self.topic(), *payloads)
        for receiver in receivers:
            await receiver.expect(self.topic(), 20)
        await self.silence(sender, *receivers)
        assert [receiver.payloads(self.topic()) for receiver in receivers] == [payloads] * 3

    @clause
    async def test_every_process_reaches_every_other(self) -> None:
        """Law 3. Usual cause: only the process that opened first publishes or receives (a name at
        the broker, such as a client id, that all processes share)."""
        processes = [await self.process() for _ in range(3)]
        for process in processes:
            await process.subscribe(self.topic())
        for number, process in enumerate(processes):
            await process.publish(self.topic(), b"from %d" % number)
        for process in processes:
            came = await process.expect(self.topic(), 3)
            assert sorted(came) == [b"from 0", b"from 1", b"from 2"]

    @clause
    async def test_every_byte_survives(self) -> None:
        """Payloads are bytes. Usual cause: they travel as text (NUL, quotes, invalid UTF-8, line
        ends); encode them if your broker carries text only."""
        here, there = await self.process(), await self.process()
        payloads = [*(bytes([byte]) for byte in range(256)), bytes(range(256)), b"\xff\x00\r\n\\'"]
        await there.subscribe(self.topic())
        await here.publish(self.topic(), *payloads)
        assert await there.expect(self.topic(), len(payloads)) == payloads

    @clause
    async def test_an_empty_payload_arrives(self) -> None:
        """Usual cause: ``if payload`` where ``if payload is not None`` is meant, or a broker to
        which an empty message means something else."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic())
        await here.publish(self.topic(), b"")
        assert await there.expect(self.topic()) == [b""]

    @clause
    async def test_a_payload_that_looks_like_json_arrives_as_it_was(self) -> None:
        """Usual cause: the backend tells its own envelope from plain text by the first byte, or
        decodes JSON; core reads plain JSON, backends never do."""
        here, there = await self.process(), await self.process()
        payloads = [b'{"type":"a"}', b"{", b"[1]", b'"text"', b"null", b"1"]
        await there.subscribe(self.topic())
        await here.publish(self.topic(), *payloads)
        assert await there.expect(self.topic(), len(payloads)) == payloads

    @clause
    async def test_the_largest_payload_arrives(self) -> None:
        """``max_payload`` bytes, 1 MiB where it is None. Usual cause: ``max_payload`` is the
        broker's limit without what the backend's own encoding adds, or a buffer's default."""
        here, there = await self.process(), await self.process()
        limit = here.backend.max_payload
        size = MIB if limit is None else min(limit, _LARGEST_TRIED)
        payload = (bytes(range(256)) * (size // 256 + 1))[:size]
        await there.subscribe(self.topic())
        await here.publish(self.topic(), payload)
        [came] = await there.expect(self.topic())
        assert len(came) == size
        assert came == payload

    @clause_unless(_cannot_refuse)
    async def test_only_the_publications_that_cannot_be_sent_are_refused(self) -> None:
        """Law 3: above ``max_payload``, ``PublishFailed`` has the index in the call, and what is
        before and after it arrives. Usual cause: the first error ends the batch, or the broker
        closes the connection over it; compare the size before sending."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic())
        batch = [b"before", b"x" * ((here.backend.max_payload or 0) + 1), b"after"]
        refused: set[int] = set()
        try:
            await here.publish(self.topic(), *batch)
        except PublishFailed as error:
            refused = set(error.errors)
        assert refused <= {1}, f"of 3 publications, only index 1 is too large; refused: {refused}"
        await self.fence(here, there)
        came = there.payloads(self.topic())
        assert [len(payload) for payload in came] == [
            len(payload) for index, payload in enumerate(batch) if index not in refused
        ]

    @clause
    async def test_publishing_to_a_topic_without_subscribers_succeeds(self) -> None:
        """Usual cause: the broker reports an unroutable message, and the backend raises."""
        process = await self.process()
        await process.publish(self.topic("nobody"), *self.numbered(3))
        await process.subscribe(self.topic())
        await process.publish(self.topic(), b"still works")
        assert await process.expect(self.topic()) == [b"still works"]

    @clause
    async def test_an_empty_call_does_nothing(self) -> None:
        """Usual cause: a command without arguments, which the broker answers with an error."""
        process = await self.process()
        await process.publish_all([])
        await process.subscribe()
        await process.unsubscribe()
        await process.subscribe(self.topic())
        await process.unsubscribe()
        await process.publish(self.topic(), b"still subscribed")
        assert await process.expect(self.topic()) == [b"still subscribed"]

    @clause
    async def test_a_thousand_topics_are_subscribed_and_published_in_one_call_each(self) -> None:
        """Usual cause: a limit of the broker on the size of one command, or one round trip for
        each topic, which takes longer than patience; pipeline them, or send them in chunks."""
        here, there = await self.process(), await self.process()
        topics = [self.topic(f"many-{number}") for number in range(1_000)]
        await there.subscribe(*topics)
        await here.publish_all(Publication(topic, topic.encode()) for topic in topics)
        await there.until(lambda: len(there.received) >= 1_000, "one payload for each topic")
        assert sorted(there.received) == sorted(Publication(t, t.encode()) for t in topics)
        await there.unsubscribe(*topics)

    @clause
    async def test_topics_with_similar_names_stay_apart(self) -> None:
        """Law 3. Usual cause: the topic is cut, folded to one case, or characters that the broker
        does not allow are replaced by one that is legal, too; or a wildcard subscription."""
        sender, *receivers = [await self.process() for _ in range(3)]
        await self._each_gets_its_own(sender, receivers, self._similar())

    @clause
    async def test_the_longest_topics_work_and_stay_apart(self) -> None:
        """165 characters: a prefix of 63, and a name of 99. Usual cause: the broker cuts names
        (PostgreSQL at 63 bytes), so that topics with one beginning are one; hash long names."""
        sender, *receivers = [await self.process() for _ in range(3)]
        head = f"{self.prefix(63)}:g."
        topics = [head + "n" * 98 + last for last in "aAb.-_"]
        topics += [head + first + "n" * 98 for first in "aAb.-_"]
        topics += [head + "n" * 98, head + "." * 99, head + "." * 98, head + "-" * 99]
        await self._each_gets_its_own(sender, receivers, topics)

    def _similar(self) -> list[str]:
        names = [*string.ascii_letters, *string.digits, "-", "_", "."]
        names += ["a.", ".a", "a..", "..a", "a..b", "a.b", "a-b", "a_b", "ab", "aa", "A.b", "a.B"]
        names += ["..", "...", "--", "---", "__", "-.", ".-", "_.", "._", "-_", "_-", ".-.", "ab."]
        names += ["a.-", "a._", "a.-.b", "a._.b", "a.-b", "a-.b", "g.a", "n.a", "q.a", "_INBOX.a"]
        names += ["chat", "chat.1", "chat.10", "chat-1", "chat_1", "chat.1.", "Chat", "CHAT", "cha"]
        names += ["true", "null", "0", "00", "0x0", "1e3", "in", "out", "select", "g", "n", "q"]
        prefix = self.prefix()
        topics = {f"{prefix}:g.{name}" for name in names}
        for other in (f"{prefix}:", f"{prefix}.", f"{prefix}-", f"{prefix}_", prefix.upper()):
            topics |= {f"{other}:g.{name}" for name in ("a", "chat", ".")}
        topics |= {f"{prefix}:g.a:g.a", f"{prefix}:g.:g.a", f"{prefix}:n.a", f"{prefix}:n.chat"}
        return sorted(topics)

    async def _each_gets_its_own(
        self, sender: Process, receivers: list[Process], topics: list[str]
    ) -> None:
        """Every second topic is subscribed by one of two processes; both get theirs alone."""
        shares = [topics[::2], topics[1::2]]
        for receiver, share in zip(receivers, shares, strict=True):
            await receiver.subscribe(*share)
        await sender.publish_all(Publication(topic, topic.encode()) for topic in topics)
        await self.fence(sender, *receivers)
        for receiver, share in zip(receivers, shares, strict=True):
            own = [each for each in receiver.received if each.payload != b"fence"]
            missing = set(share) - {each.topic for each in own}
            strange = [each for each in own if each.topic.encode() != each.payload]
            foreign = {each.topic for each in own} - set(share)
            assert (missing, strange, foreign) == (set(), [], set())
            assert len(own) == len(share), "a topic's payload came twice"
