"""What a closed backend must have let go of: tasks, threads and sockets."""

import asyncio
import os
import stat
import threading
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

    def refuse_more(self) -> None:
        """Fail if more is held now than then."""
        now = Holdings.now()
        tasks, threads = now.tasks - self.tasks, now.threads - self.threads
        assert not tasks, f"tasks are left after close: {tasks}"
        assert not threads, f"threads are left after close: {threads}"
        sockets = now.sockets - self.sockets
        assert not sockets, f"{len(sockets)} sockets are left after close"


def _threads() -> frozenset[threading.Thread]:
    # The loop's own executor (it looks names up in there) ends with the loop.
    return frozenset(each for each in threading.enumerate() if not each.name.startswith("asyncio_"))


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
