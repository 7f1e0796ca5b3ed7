"""What a closed backend or layer must have let go of: tasks, threads and sockets."""

import asyncio
import os
import stat
import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Holdings:
    """What this process, and the running loop in it, hold at one moment."""

    tasks: frozenset["asyncio.Task[object]"]
    threads: frozenset[threading.Thread]
    sockets: frozenset[tuple[int, int]]

    @classmethod
    def now(cls) -> "Holdings":
        """Return what is held now."""
        return cls(frozenset(asyncio.all_tasks()), _threads(), _sockets())

    def more(self) -> str | None:
        """Return what is held now and was not then; None: nothing."""
        now = Holdings.now()
        threads = now.threads - self.threads
        # A task that took the place of one like it (a driver's, one for each message) is no more.
        begun, ended = now.tasks - self.tasks, self.tasks - now.tasks
        counts = Counter(map(_kind, begun)) - Counter(map(_kind, ended))
        tasks = [task for task in begun if _kind(task) in counts]
        sockets = now.sockets - self.sockets
        if tasks:
            return f"tasks are left after close: {tasks}"
        if threads:
            return f"threads are left after close: {threads}"
        return f"{len(sockets)} sockets are left after close" if sockets else None

    def refuse_more(self) -> None:
        """Fail if more is held now than then."""
        more = self.more()
        assert not more, more


def _kind(task: "asyncio.Task[object]") -> str:
    return getattr(task.get_coro(), "__qualname__", "")


def _threads() -> frozenset[threading.Thread]:
    # The loop's own executor (it looks names up in there) ends with the loop.
    own = ("asyncio_", "uvloop_")
    return frozenset(each for each in threading.enumerate() if not each.name.startswith(own))


def _sockets() -> frozenset[tuple[int, int]]:
    """Return the open sockets' inodes; nothing where the system does not list descriptors."""
    found: set[tuple[int, int]] = set()
    try:
        descriptors = os.listdir("/dev/fd")
    except OSError:
        return frozenset()
    for descriptor in descriptors:
        try:
            status = os.fstat(int(descriptor))
        except OSError:
            continue  # the one that listed the folder
        if stat.S_ISSOCK(status.st_mode):
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)
