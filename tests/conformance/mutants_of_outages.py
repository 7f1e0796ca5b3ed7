"""Mutants that do not come through an outage as they should."""

import asyncio
import logging
from collections.abc import Collection, Sequence

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox, Publication
from fast_channels.testing import BackendTests

from .breakable import BreakableBackend, BreakableBroker
from .subject import Subject, caught_by

logger = logging.getLogger(__name__)


@caught_by("test_the_broker_can_be_made_unreachable_or_the_class_says_why_not")
class NoOutageAndNoReason(Subject):
    """The author did not write ``outage``, and did not say why."""

    outage = BackendTests.outage


@caught_by("test_publish_and_subscribe_fail_in_time_during_an_outage")
class HangsWhileDown(BreakableBackend):
    """Waits until the broker is back."""

    async def round_trip(self) -> None:
        await asyncio.sleep(0)
        while self.broker.down:  # noqa: ASYNC110  # what the mutant does wrong
            await asyncio.sleep(0.001)
        await super().round_trip()


@caught_by("test_publish_and_subscribe_fail_in_time_during_an_outage")
class DriversErrorWhileDown(BreakableBackend):
    """Lets the driver's error through."""

    async def round_trip(self) -> None:
        try:
            await super().round_trip()
        except BackendUnavailable as error:
            raise ConnectionError("connection refused") from error


@caught_by("test_publish_and_subscribe_fail_in_time_during_an_outage")
class PublishesIntoTheVoid(BreakableBackend):
    """Does not notice that nobody takes what it publishes."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        if self.broker.down:
            return
        await super().publish(publications)


@caught_by("test_calls_under_way_end_when_an_outage_begins")
class WaitsForTheAnswer(BreakableBackend):
    """Who waits for an answer when the connection breaks is not told."""

    losses = 0

    def lost(self) -> None:
        self.losses += 1
        super().lost()

    async def round_trip(self) -> None:
        losses = self.losses
        try:
            await super().round_trip()
            await asyncio.sleep(0.001)
        finally:
            if self.losses > losses and self in self.broker.connections:
                await asyncio.Event().wait()


@caught_by("test_subscriptions_are_restored_after_an_outage")
class Forgets(BreakableBackend):
    """Connects again, and forgets what it was subscribed to."""

    async def restore(self) -> None:
        await asyncio.sleep(0)


@caught_by("test_subscriptions_are_restored_after_an_outage")
class GapBeforeConfirmed(BreakableBackend):
    """Tells the gap, then restores."""

    async def restore(self) -> None:
        asyncio.get_running_loop().call_later(0.05, self.restore_late)

    def restore_late(self) -> None:
        if self.connected:
            self.broker.subscribe(self, tuple(self.topics))


@caught_by("test_a_process_that_was_told_of_the_gap_can_publish")
class SpeaksLater(BreakableBackend):
    """The connection that publishes is repaired some time after the one that receives."""

    ready = True

    def tell(self) -> None:
        self.ready = False
        super().tell()
        asyncio.get_running_loop().call_later(0.05, setattr, self, "ready", True)

    async def publish(self, publications: Sequence[Publication], /) -> None:
        if not self.ready:
            raise BackendUnavailable("the connection that publishes is not repaired yet")
        await super().publish(publications)


@caught_by("test_an_outage_is_one_gap")
class Gapless(BreakableBackend):
    """Does not tell that it was away."""

    def tell(self) -> None:
        assert self.gate is not None
        self.gate.shut = False


@caught_by("test_an_outage_is_one_gap")
class TwoGaps(BreakableBackend):
    """Tells of each connection that it repairs."""

    def tell(self) -> None:
        super().tell()
        super().tell()


@caught_by("test_an_outage_is_one_gap")
class GapWhenLost(BreakableBackend):
    """Tells when the connection breaks, and when it is repaired."""

    def lost(self) -> None:
        if self.connected and self.gate is not None:
            self.gate.gap(BackendUnavailable("the connection was lost"))
        super().lost()


@caught_by("test_a_gap_names_all_that_was_subscribed")
class NamesOneTopic(BreakableBackend):
    """Names the topic of which it knows that something is lost."""

    def tell(self) -> None:
        assert self.gate is not None
        self.gate.gap(BackendUnavailable("the connection was lost"), list(self.topics)[:1])


@caught_by("test_the_gap_comes_before_what_the_new_connection_delivers")
class HoldsNothing(BreakableBackend):
    """Delivers while it is still restoring."""

    async def restore(self) -> None:
        assert self.gate is not None
        self.gate.shut = False
        await super().restore()
        await asyncio.sleep(0.002)


@caught_by("test_order_holds_after_an_outage")
class HeldInReverse(BreakableBackend):
    """Delivers first what it received last while it held it."""

    async def restore(self) -> None:
        await super().restore()
        assert self.gate is not None
        for _ in range(500):  # turns, in which something comes
            if len(self.gate.held) < 2:
                await asyncio.sleep(0)

    def tell(self) -> None:
        assert self.gate is not None
        self.gate.held.reverse()
        super().tell()


@caught_by("test_several_outages_in_a_row_are_repaired")
class RepairsOnce(BreakableBackend):
    """The task that repairs ends after its first success."""

    repairs = 0

    async def repair(self) -> None:
        self.repairs += 1
        if self.repairs == 1:
            await super().repair()


@caught_by("test_an_unsubscribe_during_an_outage_holds_after_it")
class RestoresTooMuch(BreakableBackend):
    """Restores what was subscribed when the connection was lost."""

    def lost(self) -> None:
        self.at_loss = set(self.topics)
        super().lost()

    async def restore(self) -> None:
        self.topics |= self.at_loss
        await super().restore()


@caught_by("test_a_subscribe_that_failed_in_an_outage_works_after_it")
class NotedInVain(BreakableBackend):
    """A topic whose subscribe failed counts as subscribed."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.known: set[str] = set()

    async def subscribe(self, topics: Collection[str], /) -> None:
        new = [topic for topic in topics if topic not in self.known]
        try:
            await super().subscribe(new)
        except BackendUnavailable:
            self.known.update(new)
            raise

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        self.known.difference_update(topics)
        await super().unsubscribe(topics)


@caught_by("test_calls_cancelled_during_an_outage_leave_a_backend_that_works")
class RepairsInsideTheCall(BreakableBackend):
    """Who is cancelled takes the task that repairs along."""

    async def round_trip(self) -> None:
        if not self.connected:
            await asyncio.sleep(0.001)
        await super().round_trip()

    async def publish(self, publications: Sequence[Publication], /) -> None:
        try:
            await super().publish(publications)
        except asyncio.CancelledError:
            if self.repairing is not None and not self.connected:
                self.repairing.cancel()
            raise


@caught_by("test_closing_during_an_outage_leaves_nothing")
class RepairsOn(BreakableBackend):
    """Does not end the task that repairs while the broker is away."""

    async def close(self) -> None:
        repairing = self.repairing
        if repairing is not None and self.broker.down:
            self.repairing = None
        await super().close()


@caught_by("test_closing_while_it_is_repaired_leaves_nothing")
class RepairsOnWhenTheBrokerIsBack(BreakableBackend):
    """Does not end the task that repairs when it is nearly done."""

    async def close(self) -> None:
        repairing = self.repairing
        if repairing is not None and not self.broker.down:
            self.repairing = None
        await super().close()


@caught_by("test_opening_during_an_outage_fails_in_time_and_leaves_nothing")
class OpensForEver(BreakableBackend):
    """Tries to open until the broker is back."""

    async def open(self, inbox: Inbox, /) -> None:
        while self.broker.down:  # noqa: ASYNC110  # what the mutant does wrong
            await asyncio.sleep(0.001)
        await super().open(inbox)


@caught_by("test_opening_during_an_outage_fails_in_time_and_leaves_nothing")
class LeavesTaskWhenItCannotOpen(BreakableBackend):
    """Its heart beats although it could not open."""

    async def open(self, inbox: Inbox, /) -> None:
        if self.broker.down:
            self.heart = asyncio.create_task(asyncio.sleep(0.05))
        await super().open(inbox)


@caught_by("test_no_password_is_shown_in_an_outage")
class ShowsItsUrlInErrors(BreakableBackend):
    """Errors say where the broker is not."""

    async def round_trip(self) -> None:
        try:
            await super().round_trip()
        except BackendUnavailable:
            raise BackendUnavailable(f"no broker at {self.url}") from None


@caught_by("test_no_password_is_shown_in_an_outage")
class ShowsItsUrlInCauses(BreakableBackend):
    """What it raises is clean, and what that was raised from is not."""

    async def round_trip(self) -> None:
        try:
            await super().round_trip()
        except BackendUnavailable as error:
            raise error from ConnectionError(f"cannot connect to {self.url}")


@caught_by("test_no_password_is_shown_in_an_outage")
class LogsItsUrlWhenItRepairs(BreakableBackend):
    """Logs where it connects to again."""

    async def restore(self) -> None:
        logger.info("connected to %s again", self.url)
        await super().restore()
