"""The pool of threads: bounded, configurable, and no reason for a process to live on."""

import os
import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from fast_channels.consumer.thread_pool import ThreadPool, thread_pool

PATIENCE = 5.0


@pytest.fixture
def in_place():
    """The pool knows nothing of handlers: these tests run once."""


@pytest.fixture
def gate():
    """What jobs wait for; opened at the end."""
    event = threading.Event()
    yield event
    event.set()


def test_no_more_jobs_run_at_once_than_the_pool_has_threads(gate):
    pool = ThreadPool(2)
    begun = threading.Semaphore(0)

    def job():
        begun.release()
        assert gate.wait(PATIENCE)

    jobs = [pool.submit(job) for _ in range(5)]
    assert begun.acquire(timeout=PATIENCE)
    assert begun.acquire(timeout=PATIENCE)
    assert len(pool.threads) == 2
    assert [job.running() for job in jobs] == [True, True, False, False, False]
    gate.set()
    for job in jobs:
        job.result(PATIENCE)
    assert len(pool.threads) == 2


def test_an_idle_thread_is_used_before_another_is_started():
    pool = ThreadPool(10)
    for _ in range(50):
        pool.submit(threading.get_ident).result(PATIENCE)
    assert len(pool.threads) == 1


def test_a_job_that_fails_or_was_cancelled_harms_no_thread(gate):
    pool = ThreadPool(1)
    first = pool.submit(gate.wait, PATIENCE)
    second = pool.submit(threading.get_ident)
    assert second.cancel()
    gate.set()
    assert first.result(PATIENCE)
    with pytest.raises(CancelledError):
        second.result(PATIENCE)
    with pytest.raises(SystemExit):
        pool.submit(sys.exit, 1).result(PATIENCE)
    assert pool.submit(int, "1").result(PATIENCE) == 1


PROGRAM = """
import asyncio, os, sys, threading, time
from fast_channels import WebsocketConsumer
from fast_channels.consumer.thread_pool import thread_pool

begun = threading.Event()

class Stuck(WebsocketConsumer):
    finish_timeout = 0.2

    def connect(self):
        begun.set()
        threading.Event().wait()

async def main():
    events = asyncio.Queue()
    events.put_nowait({"type": "websocket.connect"})
    serving = asyncio.create_task(
        Stuck.as_asgi()({"type": "websocket", "path": "/"}, events.get, events.put)
    )
    await asyncio.to_thread(begun.wait)
    print(thread_pool().size)

asyncio.run(main())
"""


def run(program, **environ):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_a_handler_that_never_ends_does_not_keep_its_process_alive():
    done = run(PROGRAM, FAST_CHANNELS_THREADS="3")
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert done.stderr.count("\n") == 1
    assert "still runs 0.2 s after its connection was cancelled" in done.stderr


@pytest.mark.parametrize("size", ["0", "-1", "many", "", "1.5"])
def test_a_bad_size_is_an_error_that_names_the_variable(size, monkeypatch):
    done = run(
        "from fast_channels.consumer.thread_pool import thread_pool; thread_pool()",
        FAST_CHANNELS_THREADS=size,
    )
    assert done.returncode == 1
    assert (
        f"ValueError: FAST_CHANNELS_THREADS must be a number of threads above 0, got {size!r}"
        in done.stderr
    )


FORKING = """
import os
from fast_channels.consumer.thread_pool import thread_pool

thread_pool().submit(int, "1").result(5)
child = os.fork()
if child == 0:
    os._exit(thread_pool().submit(int, "7").result(5))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_a_pool_of_its_own():
    done = run(FORKING.replace("import os", "import os, warnings; warnings.simplefilter('ignore')"))
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_the_pool_is_one_for_the_process():
    assert thread_pool() is thread_pool()
