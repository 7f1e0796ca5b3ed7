"""``python -m tests.fuzz.run``: hostile input for everything that strangers can reach.

Every target gets an equal share of the time, with random changes of good input. Beside that, in a
process of its own, those that decode what brokers bring get input from atheris, which is guided by
what the code does, where it is installed (``make fuzz`` installs it if there is a build for this
Python). Prints one line for each; the exit code is 0 if nothing was found. The tests of this folder
try a few examples of each by hypothesis.
"""

import argparse
import importlib.util
import logging
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .inputs import random_input, smaller
from .targets import TARGETS, Target

START_UP = 3.0
"""Seconds that atheris takes to instrument what it runs, more or less."""


class Finding(NamedTuple):
    """What became of a target."""

    target: str
    engine: str
    runs: int
    data: bytes | None = None
    """The input that shows what is wrong; None: nothing was found."""
    report: str = ""


def attack(target: Target, seconds: float, seed: int) -> Finding:
    """Try the target for about so many seconds; stops at the first finding, made small."""
    numbers = random.Random(seed)
    waiting = [b"", *target.seeds]
    until = time.monotonic() + seconds
    runs = 0
    while waiting or time.monotonic() < until:
        data = waiting.pop() if waiting else random_input(target.seeds, numbers)
        runs += 1
        if failure(target, data) is not None:
            data = smaller(data, lambda each: failure(target, each) is not None)
            return Finding(target.name, "random", runs, data, failure(target, data) or "")
    return Finding(target.name, "random", runs)


def failure(target: Target, data: bytes) -> str | None:
    """Return the traceback of what the target raises at this input; None: nothing."""
    try:
        target.run(data)
    except Exception:
        return traceback.format_exc(limit=-6)
    return None


def cover(target: Target, seconds: float, seed: int) -> Finding:
    """Try the target by atheris in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, start in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(start)
        command = [sys.executable, "-m", "tests.fuzz.covered", target.name, str(corpus)]
        command += [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed % 2**31 or 1}"]
        command += ["-max_len=8192", "-timeout=20", f"-artifact_prefix={folder}/found-"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        told = done.stderr + done.stdout
        runs = re.findall(r"^(?:Done |stat::number_of_executed_units: |#)(\d+)", told, re.MULTILINE)
        count = max(map(int, runs), default=0)
        if done.returncode == 0:
            return Finding(target.name, "atheris", count)
        [found, *_] = [*Path(folder).glob("found-*"), None]
        data = b"" if found is None else found.read_bytes()
        return Finding(target.name, "atheris", count, data, told[-4_000:])


def show(finding: Finding) -> None:
    """Print what became of a target."""
    verdict = "nothing found" if finding.data is None else f"FOUND {finding.data!r:.2000}"
    said = f"{finding.target:11} {finding.engine:10} {finding.runs:>9,} inputs  {verdict}"
    print(said, flush=True)
    if finding.data is not None:
        print(finding.report, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description="Give hostile input to all that can be reached.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the whole run")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one")
    asked = parser.parse_args(arguments)
    number = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    targets = [TARGETS[name] for name in asked.target or TARGETS]
    covered = [target for target in targets if target.covered]
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        show(finding)

    def guide() -> None:
        for place, target in enumerate(covered):
            left = until - time.monotonic()
            if left < 2.0:
                print(f"{target.name:11} atheris    not run: the time is over", flush=True)
            else:
                tell(cover(target, left / (len(covered) - place) - START_UP, number))

    until = time.monotonic() + asked.seconds
    logging.disable(logging.CRITICAL)  # each bad payload is one line
    print(f"seed {number}; {asked.seconds:g} s", flush=True)
    guided = threading.Thread(target=guide)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: random input alone", flush=True)
    else:
        guided.start()
    for target in targets:
        tell(attack(target, asked.seconds / len(targets), number))
    if guided.ident is not None:
        guided.join()
    return int(any(finding.data is not None for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
