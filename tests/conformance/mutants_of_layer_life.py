"""Mutants of layers that break in threads, at opening and closing, or in outages."""

import asyncio
import socket
from collections import deque

from fast_channels.exceptions import BackendUnavailable, LayerClosed
from fast_channels.layers.sync import SyncLayer

from .layer_faults import Mutant, without
from .layers import CutBackend
from .subject import LayerSubject, caught_by

# --- loops and threads ------------------------------------------------------------------------


class OneSession(Mutant):
    """Uses the session of the first loop on every other."""

    def __init__(self, wire, **options):
        super().__init__(wire, **options)
        self._session = self.first

    def first(self):
        """Return the session of the first loop."""
        sessions = self._sessions
        return next(iter(sessions._by_loop.values()), None) if not sessions.closed else None


@caught_by("test_one_layer_works_from_three_loops_in_three_threads")
class FirstLoopOnly(OneSession):
    """Uses the session of the first loop in every thread."""


@caught_by("test_one_layer_works_in_one_asyncio_run_after_another")
class EndedLoop(OneSession):
    """Uses the session of a loop that has ended."""


class LeaksSockets(CutBackend):
    """Forgets a socket."""

    async def open(self, inbox, /):
        await super().open(inbox)
        self.wire.__dict__.setdefault("sockets", []).extend(socket.socketpair())


@caught_by("test_a_thread_without_a_loop_sends_with_async_to_sync")
class LeaksSocketsOfThreads(LeaksSockets):
    """Forgets the socket of a loop that has ended."""


@caught_by("test_a_thread_without_a_loop_sends_with_sync")
class LoopForEachCall(Mutant):
    """Makes a loop for each call of ``sync``, and leaves it."""

    def __init__(self, wire, **options):
        super().__init__(wire, **options)
        self.sync = LeavesLoops(self, 1.0)


class LeavesLoops(SyncLayer):
    """Runs each call on a loop of its own."""

    def __init__(self, layer, patience):
        super().__init__(layer, patience)
        self.loops = []

    def _run(self, call):
        self.loops.append(asyncio.new_event_loop())
        return self.loops[-1].run_until_complete(call.method(*call.args, **call.kwargs))


@caught_by("test_a_thread_without_a_loop_sends_with_sync")
class NextCallSends(Mutant):
    """A message of ``sync`` is sent when the next one comes."""

    def __init__(self, wire, **options):
        super().__init__(wire, **options)
        self.sync = OneLate(self, 1.0)


class OneLate(SyncLayer):
    """Keeps a call until there is another."""

    def __init__(self, layer, patience):
        super().__init__(layer, patience)
        self.kept = deque()

    def _run(self, call):
        self.kept.append(call)
        return super()._run(self.kept.popleft()) if len(self.kept) > 1 else None


@caught_by("test_closing_a_layer_leaves_no_task_thread_or_socket")
class LeaksSocketsAtClose(LeaksSockets):
    """Forgets the socket at close."""


@caught_by("test_closing_a_layer_leaves_no_task_thread_or_socket")
class LeaksTasks(CutBackend):
    """Forgets a task."""

    async def open(self, inbox, /):
        await super().open(inbox)
        self.reader = asyncio.create_task(asyncio.sleep(60))


@caught_by("test_a_layer_in_use_by_another_loop_can_be_closed_here")
class ClosesHereOnly(Mutant):
    """Closes the session of the running loop."""

    async def close(self):
        here = asyncio.get_running_loop()
        others = {loop: each for loop, each in self._sessions._by_loop.items() if loop is not here}
        for loop in others:
            del self._sessions._by_loop[loop]
        await super().close()
        self._sessions._by_loop.update(others)


# --- life -------------------------------------------------------------------------------------


@caught_by("test_a_layer_opens_at_first_use")
class WantsOpen(Mutant):
    """Discarding takes the connection for granted."""

    async def group_discard(self, group, channel):
        if not self._sessions.live:
            raise LayerClosed("not open")
        await super().group_discard(group, channel)


@caught_by("test_opening_twice_is_opening_once")
class OpensAgain(Mutant):
    """Each open makes a connection."""

    async def open(self):
        self._sessions._by_loop.pop(asyncio.get_running_loop(), None)
        self._sessions.latest = None
        await super().open()


@caught_by("test_a_closed_layer_refuses_every_call")
class OpensByItself(Mutant):
    """Flushing opens a closed layer."""

    async def flush(self):
        await self.open()
        await super().flush()


@caught_by("test_lifespan_opens_the_layer_and_closes_it")
class NeverClosed(Mutant):
    """Can be used after close."""

    async def close(self):
        await super().close()
        self._sessions.closed = False


@caught_by("test_closing_ends_those_who_wait")
class LeavesReaders(Mutant):
    """Lets readers wait."""

    async def close(self):
        for session in self._sessions.live:
            session.hub.mailboxes.clear()
        await super().close()


@caught_by("test_what_was_accepted_before_close_is_sent")
class DropsAtClose(Mutant):
    """Drops what was gathered."""

    def spoil(self, session):
        async def drain():
            session.outbox._waiting = deque()

        session.outbox.drain = drain


@caught_by("test_a_closed_layer_can_be_opened_again")
class HalfClosed(Mutant):
    """Close keeps the session."""

    async def close(self):
        self._sessions.closed = True

    async def open(self):
        self._sessions.closed = False
        await super().open()


@caught_by("test_close_is_safe_at_any_time")
class CannotCloseTwice(Mutant):
    """Cannot be closed twice."""

    async def close(self):
        if self._sessions.closed:
            raise LayerClosed("it is closed")
        await super().close()


@caught_by("test_stats_tell_what_happened_and_what_is_held")
class ForgetsCounters(Mutant):
    """Its counters end with the session."""

    def stats(self):
        stats = super().stats()
        return stats if stats["sessions"] else dict.fromkeys(stats, 0)


@caught_by("test_flush_ends_this_nodes_messages_and_memberships_only")
class FlushesMessages(Mutant):
    """Keeps memberships."""

    async def flush(self):
        (await self._here()).hub.clear()


@caught_by("test_flush_ends_this_nodes_messages_and_memberships_only")
class FlushesEverybody(CutBackend):
    """Clears other nodes' subscriptions, too."""

    async def open(self, inbox, /):
        await super().open(inbox)
        if hasattr(inbox, "hub"):
            flush = inbox.flush

            def everybody():
                flush()
                for backend in self.wire.backends:
                    backend.inbox.hub.clear()

            inbox.flush = everybody


# --- outages ----------------------------------------------------------------------------------


@caught_by("test_the_broker_can_be_made_unreachable_or_the_class_says_why_not")
class SaysNothing(LayerSubject):
    """Declares an outage, and a reason why there is none."""

    no_outage = "it was forgotten here"


@caught_by("test_messages_flow_again_after_every_outage")
class ForgetsTopics(CutBackend):
    """Forgets its subscriptions in an outage."""

    def repaired(self):
        self._broker.unsubscribe(self, tuple(self.topics))
        super().repaired()


@caught_by("test_messages_flow_again_after_every_outage")
class SilentLoss(CutBackend):
    """Does not tell that it was away."""

    def repaired(self):
        pass


@caught_by("test_every_member_is_told_once_of_each_outage")
class TellsTwice(CutBackend):
    """Tells a gap for each reconnect attempt."""

    def repaired(self):
        super().repaired()
        super().repaired()


@caught_by("test_every_member_is_told_once_of_each_outage")
class TellsGroupsOnly(CutBackend):
    """Tells a gap on the topics of groups."""

    def repaired(self):
        self.inbox.gap(OSError("cut"), [topic for topic in self.topics if ":g." in topic])


@caught_by("test_nobody_is_told_where_gaps_are_off")
class AlwaysTells(Mutant):
    """Ignores the option."""

    __init__ = without(gaps=True)


@caught_by("test_sending_and_joining_fail_in_time_during_an_outage")
class RaisesWhatTheDriverRaises(CutBackend):
    """Raises what the driver raises."""

    async def publish(self, publications, /):
        if self.wire.down:
            raise OSError("the wire is cut")
        await super().publish(publications)


@caught_by("test_sending_and_joining_fail_in_time_during_an_outage")
class WaitsForever(Mutant):
    """Waits until the broker is back."""

    async def group_send(self, group, message, *, exclude=None):
        while self.wire.down:  # noqa: ASYNC110  # the fault
            await asyncio.sleep(0.01)
        await super().group_send(group, message, exclude=exclude)


@caught_by("test_a_bad_message_is_a_mistake_during_an_outage_too")
class ConnectionFirst(Mutant):
    """Looks at the connection before the message."""

    async def group_send(self, group, message, *, exclude=None):
        self.wire.check()
        await super().group_send(group, message, exclude=exclude)


@caught_by("test_readers_wait_through_an_outage")
class EndsReaders(CutBackend):
    """An outage ends those who wait."""

    def cut(self):
        super().cut()
        for mailbox in self.inbox.hub.mailboxes.values():
            mailbox.close(BackendUnavailable("the wire is cut"))


@caught_by("test_a_layer_closes_during_an_outage")
class SaysGoodbye(CutBackend):
    """Does not close without the broker's answer."""

    async def close(self):
        while self.wire.down:  # noqa: ASYNC110  # the fault
            await asyncio.sleep(0.01)
        await super().close()
