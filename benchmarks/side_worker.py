"""One measurement: ``<loop> <entry> <scenario> <url> <parameters>``, in the entry's environment."""

import importlib
import json

from benchmarks.sides import entry
from benchmarks.task import Task
from benchmarks.worker import work


async def main(name: str, scenario: str, url: str, params: str) -> dict[str, bool]:
    """Run the scenario's ``measure`` with the side."""
    module = importlib.import_module(f"benchmarks.scenarios.{scenario.partition(':')[0]}")
    options = json.loads(params)
    side = entry(name).make(url, roomy=getattr(module, "ROOMY", True))
    await side.open()
    try:
        part = scenario.partition(":")[2] or "measure"
        await getattr(module, part)(Task(side, name, options))
    finally:
        await side.close()
    return {"done": True}


if __name__ == "__main__":
    work(main)
