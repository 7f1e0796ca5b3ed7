"""A worker for one side: ``<loop> <entry> <module:function> <url> <parameters>``.

It runs in the environment of the entry's library, and measures by a scenario's ``measure``, or by
another coroutine that takes a ``Task``; what that returns are its figures.
"""

import importlib
import json
from typing import Any

from benchmarks.sides import entry
from benchmarks.workers.measuring import work
from benchmarks.workers.task import Task


async def main(name: str, what: str, url: str, params: str) -> Any:
    """Measure the side, from its ``open`` to its ``close``."""
    module, _, function = what.partition(":")
    found = importlib.import_module(f"benchmarks.{module}")
    side = entry(name).make(url, roomy=getattr(found, "ROOMY", True))
    await side.open()
    try:
        return await getattr(found, function)(Task(side, name, json.loads(params)))
    finally:
        await side.close()


if __name__ == "__main__":
    work(main)
