"""Measure; see benchmarks/README.md.

Without a flag, every NAME is a scenario of the matrix (all libraries, a quick run of it) or one of
the comparisons that a package's targets are written in. ``make bench`` is ``--quick``.
"""

import argparse
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import comparisons, matrix, results, scenarios, targets
from benchmarks.comparisons.table import Row, render
from benchmarks.launch import BENCH, ROOT
from benchmarks.sides import ENTRIES, QUICK

RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Run what the command line names, by default a quick run of the whole matrix.

    A missed target is no failure, nor is a peer that cannot run: the exit status tells whether the
    run itself came to its end.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help="of those that --list shows")
    parser.add_argument("--list", action="store_true", help="list scenarios, comparisons, sides")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="the matrix, at most 5 minutes")
    kind.add_argument("--full", action="store_true", help="the matrix, at most 35 minutes")
    parser.add_argument("--resume", action="store_true", help="keep scenarios that are finished")
    parser.add_argument(
        "--only", metavar="SIDE", action="append", default=[], help="measure these sides"
    )
    parser.add_argument(
        "--patience", metavar="X", type=float, default=1.0, help="all limits are so much longer"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result there")
    options = parser.parse_args()
    if options.list:
        show()
        return 0
    known = (*scenarios.NAMES, *comparisons.NAMES)
    if unknown := set(options.name) - set(known):
        parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if unknown := set(options.only) - {entry.name for entry in ENTRIES}:
        parser.error(f"no side {', '.join(sorted(unknown))}; see --list")
    compared = [name for name in options.name if name in comparisons.NAMES]
    if compared and len(compared) < len(options.name):
        parser.error("scenarios of the matrix and comparisons are run one or the other at a time")
    BENCH.mkdir(exist_ok=True)
    with (BENCH / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parser.exit(1, "another benchmark is running; two at once measure each other\n")
        warn_if_busy()
        if compared:
            return compare(compared, options.json)
        try:
            return measure(options)
        except KeyboardInterrupt:
            parser.exit(130, "interrupted; --resume keeps the scenarios that are finished\n")


def measure(options: argparse.Namespace) -> int:
    """Run the matrix, or scenarios of it."""
    mode = "full" if options.full else "quick"
    # Of some sides alone a result is no comparison, and not to be kept in the place of one.
    path = options.json or (BENCH / "only.json" if options.only else RESULTS / f"{mode}.json")
    result = results.Result(mode)
    if (options.resume or options.name) and path.exists():
        before = results.read(path)
        if before.mode == mode:
            result = before
    names = options.name or [
        name for name in scenarios.NAMES if not (options.resume and name in result.scenarios)
    ]
    only = options.only or (QUICK if mode == "quick" else ())
    matrix.Run(result, path, only, options.patience).all(names)
    result = results.read(path)  # its rows as they are kept, so that the targets are theirs
    result.targets = targets.of(result)
    result.write(path)
    print(targets.render(result))
    print(f"written to {path}; make bench-plots draws it" if options.full else f"written to {path}")
    return 0


def show() -> None:
    """Print what can be run."""
    print("scenarios of the matrix (make bench, make bench-full):")
    for name in scenarios.NAMES:
        print(f"  {name:20}{scenarios.plan(name).title}")
    print("\ncomparisons, each with its own targets:")
    for name in comparisons.NAMES:
        first = (comparisons.module(name).__doc__ or "").split("\n")[0]
        print(f"  {name:20}{first}")
    print("\nsides:")
    for entry in ENTRIES:
        print(f"  {entry.name:28}{entry.broker:10}{entry.role:8}{entry.label}")


def compare(names: list[str], path: Path | None) -> int:
    """Run comparisons, and print one table."""
    rows, failed = run(names)
    print(render(rows))
    if path:
        path.write_text(json.dumps(describe(rows), indent=1) + "\n")
    for name in failed:
        print(f"{name} could not be run; the reason is above", file=sys.stderr)
    return 1 if failed else 0


def run(names: list[str] | tuple[str, ...]) -> tuple[list[Row], list[str]]:
    """Return the rows, and the names of comparisons that failed."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        try:
            for row in comparisons.module(name).rows():
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
