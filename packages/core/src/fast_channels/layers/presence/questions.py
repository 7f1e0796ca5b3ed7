"""Questions to other nodes, and what is known when their answers have come, or do not come."""

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterable

from fast_channels.layers.presence.wire import GroupState, Members, State


class Question:
    """Who is present in these groups? Asked of one node, or of all that are alive."""

    def __init__(
        self, number: int, groups: Collection[str], nodes: Iterable[str], everybody: bool
    ) -> None:
        self.number = number
        self.groups = frozenset(groups)
        self.waiting = set(nodes)
        """Nodes that have not answered."""
        self.everybody = everybody
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.found: dict[str, Members] = {group: {} for group in groups}
        """What the answers say, by group."""
        self.timer: asyncio.TimerHandle | None = None
        self._pages: dict[str, dict[int, State]] = {}

    def add(self, node: str, state: State) -> dict[str, GroupState] | None:
        """Take a page of the node's answer; return the whole answer when it was the last one."""
        got = self._pages.setdefault(node, {})
        got[state.page] = state
        if len(got) < state.pages:
            return None
        del self._pages[node]
        answer = {group: GroupState(group, state.clock, {}) for group in self.groups}
        for page in got.values():
            for part in page.states:
                if part.group in answer:
                    whole = answer[part.group]
                    whole.version = part.version
                    whole.members |= part.members
        for group, whole in answer.items():
            self.found[group] |= whole.members
        return answer


class Questions:
    """The open questions of one node; each ends after ``patience`` seconds at the latest."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        patience: float,
        ended: Callable[[Question], None],
    ) -> None:
        self._loop = loop
        self._patience = patience
        self._ended = ended
        self._numbers = itertools.count(1)
        self._open: dict[int, Question] = {}
        self.settled = False
        """The nodes that are alive are known."""

    def new(
        self, groups: Collection[str], nodes: Iterable[str], everybody: bool = True
    ) -> Question:
        """Return a question, which the caller has to send."""
        question = Question(next(self._numbers), groups, nodes, everybody)
        self._open[question.number] = question
        question.timer = self._loop.call_later(self._patience, self._end, question)
        return question

    def sent(self, question: Question) -> None:
        """The question is with the nodes: perhaps there are none."""
        if not question.waiting and (self.settled or not question.everybody):
            self._end(question)

    def answered(self, node: str, state: State) -> dict[str, GroupState] | None:
        """Take a page of an answer; return the answer when it is whole."""
        question = self._open.get(state.number)
        return None if question is None else question.add(node, state)

    def finished(self, node: str, number: int | None = None) -> None:
        """The node has answered that question, or will answer none (None)."""
        for question in list(self._open.values()):
            if number in (None, question.number) and node in question.waiting:
                question.waiting.discard(node)
                self.sent(question)

    def came(self, node: str) -> None:
        """The node was there already, and is known only now: it answers, too."""
        if not self.settled:
            for question in self._open.values():
                if question.everybody:
                    question.waiting.add(node)

    def settle(self) -> None:
        """Who did not show until now is not there."""
        self.settled = True
        for question in list(self._open.values()):
            self.sent(question)

    def close(self, reason: Exception) -> None:
        """No timer is left; whoever waits gets ``reason``."""
        for question in self._open.values():
            if question.timer is not None:
                question.timer.cancel()
            question.done.set_exception(reason)
            question.done.exception()  # perhaps nobody waits
        self._open.clear()

    def _end(self, question: Question) -> None:
        if self._open.pop(question.number, None) is None:
            return
        if question.timer is not None:
            question.timer.cancel()
        question.done.set_result(None)
        self._ended(question)
