"""A process that used a layer ends without a word, and a forked one leaves its parent's alone."""

import os
import subprocess
import sys

import pytest

HEAD = """
import asyncio, logging, os, sys
logging.getLogger("asyncio").setLevel(logging.ERROR)  # not: "executing a callback took 0.1 s"
from fast_channels.layers import InMemoryChannelLayer, register_channel_layer
layer = register_channel_layer("default", "memory://")

async def use():
    channel = await layer.new_channel()
    group = channel.replace("!", ".")
    await layer.group_add(group, channel)
    await layer.group_send(group, {"type": "x"})
    await layer.send(channel, {"type": "y"})
    assert [(await layer.receive(channel))["type"] for _ in range(2)] == ["x", "y"]
    await layer.group_discard(group, channel)
    await layer.send("jobs", {"type": "job"})
    await layer.group_add(group, "jobs")
"""


ENDINGS: dict[str, str] = {
    "asyncio.run": "asyncio.run(use())",
    "asyncio.run again and again": "for _ in range(3): asyncio.run(use())",
    "closed by hand": """
async def main():
    await use()
    await layer.close()
asyncio.run(main())""",
    "with readers and senders under way": """
async def main():
    await use()
    tasks = [asyncio.create_task(layer.receive(await layer.new_channel())) for _ in range(3)]
    tasks += [asyncio.create_task(layer.receive("jobs2"))]
    tasks += [asyncio.create_task(layer.group_send("group", {"type": "x"})) for _ in range(10)]
    await asyncio.sleep(0)
asyncio.run(main())""",
    "while it opens": """
async def main():
    asyncio.get_running_loop().create_task(layer.open())
    await asyncio.sleep(0)
asyncio.run(main())""",
    "by an exception": """
async def main():
    await use()
    raise KeyError("end")
try:
    asyncio.run(main())
except KeyError:
    pass""",
    "by SystemExit": """
async def main():
    await use()
    sys.exit(0)
asyncio.run(main())""",
    "async_to_sync": """
from asgiref.sync import async_to_sync
for _ in range(5):
    async_to_sync(use)()""",
    "a loop closed by hand": """
loop = asyncio.new_event_loop()
loop.run_until_complete(use())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()""",
    "threads": """
import threading
threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()""",
    "losses that wait to be reported": """
logging.disable()
async def main():
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for _ in range(150): await layer.group_send("group", {"type": "x"})
asyncio.run(main())""",
    "no use at all": "",
    "uvloop": """
try:
    import uvloop
except ImportError:
    uvloop = asyncio
for _ in range(3): uvloop.run(use())""",
}


def ends_without_a_word(program: str) -> None:
    """Run the program with every warning an error and Python's development mode on."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_a_process_that_used_a_layer_ends_without_a_warning(ending: str) -> None:
    ends_without_a_word(HEAD + ending)


FORK = """
loop = asyncio.new_event_loop()
channel = loop.run_until_complete(layer.new_channel())
assert layer.stats()["sessions"] == 1
child = os.fork()
if child == 0:
    try:
        assert layer.stats()["sessions"] == 0
        asyncio.run(use())
        asyncio.run(layer.close())
    except BaseException as failure:
        print(repr(failure), flush=True)
        os._exit(1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
loop.run_until_complete(layer.send(channel, {"type": "x"}))
assert loop.run_until_complete(layer.receive(channel)) == {"type": "x"}
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_opens_a_session_of_its_own_and_leaves_its_parent_s_alone() -> None:
    ends_without_a_word(HEAD + FORK)
