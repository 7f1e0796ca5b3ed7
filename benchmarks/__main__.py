"""``python -m benchmarks [scenario ...] [--json FILE]``: measure, and print one table.

A missed target is no failure: the exit status is 0 unless something could not be run.
"""

import argparse
import fcntl
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.processes import BENCH
from benchmarks.table import Row, render

SCENARIOS = (
    "fanout",
    "events",
    "broadcast",
    "stall",
    "memory",
    "layer",
    "sync",
    "nats_layers",
    "rabbitmq_layers",
    "redis_layers",
    "redis_broadcast",
    "postgres_layers",
)


def main() -> int:
    """Run the scenarios that the command line names, by default all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there, too")
    options = parser.parse_args()
    unknown = set(options.scenario) - set(SCENARIOS)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    BENCH.mkdir(exist_ok=True)
    with (BENCH / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parser.exit(1, "another benchmark is running; two at once measure each other\n")
        warn_if_busy()
        rows, failed = run(options.scenario or SCENARIOS)
    print(render(rows))
    if options.json:
        options.json.write_text(json.dumps(describe(rows), indent=1) + "\n")
    for name in failed:
        print(f"{name} could not be run; the reason is above", file=sys.stderr)
    return 1 if failed else 0


def run(names: list[str] | tuple[str, ...]) -> tuple[list[Row], list[str]]:
    """Return the rows, and the names of scenarios that failed."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        try:
            for row in importlib.import_module(f"benchmarks.{name}").rows():
                rows.append(row)
                print(f"bench: {'  '.join(row.cells())}", file=sys.stderr, flush=True)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            failed.append(name)
    return rows, failed


def warn_if_busy() -> None:
    """Say so if other programs use the machine: what we measure then depends on them."""
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"bench: the machine is busy (load {load:.1f}): distrust the ratios", file=sys.stderr)


def describe(rows: list[Row]) -> dict[str, object]:
    """Return the rows with what they were measured on."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": platform.platform(),
        "rows": [row.as_dict() for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
