"""The clauses that every backend keeps while its broker is there."""

from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.suite import BackendSuite


class BackendTests(BackendSuite):
    """Subclass it in your tests, write ``build``, and pytest runs every clause."""

    @clause
    async def test_what_one_process_publishes_reaches_another(self) -> None:
        """Law 3. Usual cause: nothing is received, or the topic is mapped differently for publish
        and subscribe."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic())
        await here.publish(self.topic(), b"hello")
        assert await there.expect(self.topic()) == [b"hello"]

    @clause
    async def test_after_subscribe_returns_every_publish_arrives(self) -> None:
        """Law 1, a hundred times. Usual cause: subscribe does not wait for the broker's
        confirmation."""
        here, there = await self.process(), await self.process()
        for number in range(100):
            topic = self.topic(f"fresh-{number}")
            await there.subscribe(topic)
            await here.publish(topic, b"first")
            assert await there.expect(topic) == [b"first"]
