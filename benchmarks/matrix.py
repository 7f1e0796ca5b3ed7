"""Runs scenarios over all sides: in turn, each in a fresh process, on the same servers.

Nothing ends a run but an interrupt: a side that fails, hangs or cannot be installed is a reason in
its row, and is not measured again. Each worker, scenario and broker is bounded in time.
"""

import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Generator
from pathlib import Path
from typing import IO, Any, Final

from benchmarks import environments, scenarios, servers
from benchmarks.processes import ROOT, environment
from benchmarks.results import Result, machine
from benchmarks.scenarios import Plan, module
from benchmarks.sides import ENTRIES, Entry

LOOP: Final = "uvloop"
FAR_BEHIND: Final = 3.0
"""A peer that is so many times worse in every case is measured in one round only."""

MAX_OPEN: Final = 16_384
"""Files that a process may have open: one for each client."""


class Run:
    """One run, and what it has found so far."""

    def __init__(
        self, result: Result, path: Path, only: Collection[str] = (), patience: float = 1.0
    ) -> None:
        self.result = result
        self.path = path
        self._only = only
        """Names of sides; empty: all."""
        self._patience = patience
        """Makes all limits longer, for a slow or busy machine."""
        self._servers = servers.Servers(result.versions["servers"])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MAX_OPEN if hard == resource.RLIM_INFINITY else min(MAX_OPEN, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))

    @property
    def quick(self) -> bool:
        """Whether it is a quick run."""
        return self.result.mode == "quick"

    def all(self, names: list[str]) -> None:
        """Run the scenarios; the result is written after each."""
        self.install()
        began = time.monotonic() - self.result.seconds
        until = time.monotonic()
        self.result.machine = self.result.machine or machine()
        self.result.sides = [describe(entry) for entry in ENTRIES]
        with self._servers:
            for name in names:
                load = round(os.getloadavg()[0], 1)
                self.result.machine["load"][name] = load
                # What one scenario leaves or overruns is the next one's: the run ends in time.
                until += scenarios.plan(name).budget[not self.quick] * self._patience
                self.scenario(name, until)
                known = self.result.scenarios
                self.result.scenarios = {n: known[n] for n in scenarios.NAMES if n in known}
                self.result.seconds = round(time.monotonic() - began, 1)
                self.result.write(self.path)

    def install(self) -> None:
        """Make the environments first: that is no scenario's time."""
        wanted = {e.environment for e in ENTRIES if not self._only or e.name in self._only}
        for library in sorted(filter(None, wanted)):
            try:
                environments.python(library)
            except (OSError, subprocess.SubprocessError) as error:
                say(f"{library} could not be installed: {error}")  # and its rows will say so

    def scenario(self, name: str, until: float) -> None:
        """Measure one scenario, until that time of the monotonic clock."""
        found = module(name)
        plan: Plan = found.PLAN
        self.result.forget(name)
        began = time.monotonic()
        say(f"{name}: {plan.title}")
        self.result.scenarios[name] = {
            "title": plan.title,
            "unit": plan.unit,
            "figure": plan.figure,
            "lower_is_better": plan.lower_is_better,
            "rounds": 1 if self.quick else plan.rounds,
            "seconds": 0.0,
            "parameters": plan.quick if self.quick else plan.full,
            "what": " ".join((found.__doc__ or "").split("\n\n", 1)[0].split()),
        }
        able = getattr(found, "APPS", None)
        sides = {broker: self.sides(name, plan, broker, able) for broker in plan.brokers}
        getattr(found, "arrange", lambda _: None)(sides)
        weigh = getattr(found, "weight", lambda _: 1)
        weights = {broker: sum(map(weigh, sides[broker])) for broker in plan.brokers}
        for broker in plan.brokers:
            left = until - time.monotonic()
            share = left * weights[broker] / max(sum(weights.values()), 1)
            weights[broker] = 0
            if not sides[broker]:
                continue
            try:
                with self._servers.use(broker) as server:
                    args = (name, plan, server, sides[broker], time.monotonic() + share)
                    getattr(found, "collect", Run.workers)(self, *args)
            except Exception as error:  # whatever it is, the other brokers are measured
                say(f"{name} on {broker}: {error!r}")
                for entry in sides[broker]:
                    self.cannot(name, "", entry.name, f"{broker}: {error}")
        self.result.scenarios[name]["seconds"] = round(time.monotonic() - began, 1)

    def limit(self, plan: Plan) -> float:
        """Return after how many seconds a worker is ended."""
        return plan.limit[not self.quick] * self._patience

    def late(self, until: float, plan: Plan) -> bool:
        """Whether not even the first round goes on."""
        return time.monotonic() > until + self.limit(plan)

    def sides(
        self, scenario: str, plan: Plan, broker: str, able: Collection[str] | None
    ) -> list[Entry]:
        """Return who is measured, of those who are ``able``; why others are not is noted."""
        chosen: list[Entry] = []
        for entry in ENTRIES:
            if entry.broker != broker or entry.role not in plan.roles:
                continue
            if self._only and entry.name not in self._only:
                continue
            if able is not None and entry.name not in able:
                continue
            if entry.only and scenario not in entry.only:
                continue
            if scenario in entry.cannot:
                self.cannot(scenario, "", entry.name, entry.cannot[scenario])
            else:
                chosen.append(entry)
        return chosen

    def workers(
        self, name: str, plan: Plan, server: servers.Broker, sides: list[Entry], until: float
    ) -> None:
        """Measure the sides in turn, by a worker for each, round after round."""
        params = dict(self.result.scenarios[name]["parameters"])
        limit = self.limit(plan)
        params |= {"limit": limit, "loop": LOOP}
        rounds = 1 if self.quick else plan.rounds
        failed: set[str] = set()
        for number in range(rounds):
            began = time.monotonic()
            for entry in sides:
                if entry.name in failed:
                    continue
                if number == 0 and self.late(until, plan):
                    self.cannot(name, "", entry.name, "the scenario's time was over")
                    continue
                args = [LOOP, entry.name, name, server.url, json.dumps(params)]
                if not self.worker(name, entry, "side_worker", args, limit, server):
                    failed.add(entry.name)
                server.reset()
            sides = [entry for entry in sides if self.is_close(name, entry)]
            if time.monotonic() + 0.7 * (time.monotonic() - began) > until:
                return

    def is_close(self, scenario: str, entry: Entry) -> bool:
        """Whether a side is measured again: a peer that is far behind us in every case is not."""
        if entry.role != "peer":
            return True
        known = self.result.scenarios[scenario]
        rows = {
            (row.side, row.case): row.middle(known["figure"]) for row in self.result.of(scenario)
        }
        for (side, case), figure in rows.items():
            ours = rows.get((f"ours-{entry.broker}", case))
            if side == entry.name and figure and ours:
                behind = figure / ours if known["lower_is_better"] else ours / figure
                if behind < FAR_BEHIND:
                    return True
        return False

    def worker(
        self,
        scenario: str,
        entry: Entry,
        program: str,
        args: list[str],
        limit: float,
        server: servers.Broker,
        library: str | None = "",
        case: str = "",
    ) -> bool:
        """Run one worker; its rows are in the result. Return whether it came to its end.

        ``library`` is the environment that it runs in, by default the entry's; ``case`` is what it
        measures, if it is not all of them.
        """
        where = entry.environment if library == "" else library
        try:
            python = self.python(where)
        except (OSError, subprocess.SubprocessError) as error:
            self.cannot(scenario, case, entry.name, f"could not be installed: {error}")
            return False
        command = [python, "-W", "ignore", "-m", f"benchmarks.{program}", *args]
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
                start_new_session=True,
            )  # fmt: skip
            reason = LATE
            try:
                reason = self.listen(scenario, entry, process, time.monotonic() + limit, server)
            finally:
                end(process, 0.0 if reason == LATE else 3.0)
            if not reason:
                return True
            if reason == ENDED:
                errors.seek(0)
                lines = [line for line in errors.read().splitlines() if line.strip()]
                reason = f"it failed: {lines[-1][:200]}" if lines else "it failed without a word"
        if reason == LATE:
            reason = f"not measured within {limit:g} s"
        self.cannot(scenario, case, entry.name, reason)
        return False

    def python(self, library: str | None) -> str:
        """Return the Python of a library's environment; its versions are noted."""
        found = environments.python(library)
        known = self.result.versions["libraries"]
        if (library or "here") not in known:
            known[library or "here"] = environments.versions(library)
        return found

    def listen(
        self,
        scenario: str,
        entry: Entry,
        process: "subprocess.Popen[str]",
        until: float,
        server: servers.Broker,
    ) -> str:
        """Take what the worker says until it is done; return what is wrong, if anything."""
        assert process.stdin is not None
        assert process.stdout is not None
        for line in lines(process.stdout, until):
            if line is None:
                return LATE
            try:
                said = json.loads(line)
            except ValueError:
                continue  # a library prints
            if "ask" in said:
                try:
                    process.stdin.write(json.dumps(server.counters()) + "\n")
                    process.stdin.flush()
                except BrokenPipeError:
                    return ENDED
            elif "done" in said:
                return ""
            elif "reason" in said:
                self.cannot(scenario, said["case"], entry.name, said["reason"], said.get("x"))
            else:
                self.measured(scenario, entry, said)
        return ENDED

    def measured(self, scenario: str, entry: Entry, said: dict[str, Any]) -> None:
        """Note a row's values of one round."""
        row = self.result.row(scenario, said["case"], entry.name, said.get("x"))
        for measure, value in said["measures"].items():
            if measure == "told":
                row.told = value
            elif measure != "errors":
                row.measures.setdefault(measure, []).append(value)
        figure = self.result.scenarios[scenario]["figure"]
        value = said["measures"].get(figure)
        shown = "" if value is None else f"{figure} {value:,.4g}"
        lost = said["measures"].get("lost")
        say(f"  {entry.name}  {said['case']}  {shown}{f'  lost {lost:,}' if lost else ''}")

    def cannot(
        self, scenario: str, case: str, side: str, reason: str, x: float | None = None
    ) -> None:
        """Note why something was not measured."""
        self.result.row(scenario, case, side, x).reason = reason
        say(f"  {side}  {case}  {reason}")


LATE: Final = "late"
ENDED: Final = "ended"


def lines(stream: IO[str], until: float) -> Generator[str | None, None, None]:
    """Yield lines as they come, and None when the time is over."""
    descriptor = stream.fileno()
    text = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            yield None
            return
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        text += data
        *whole, text = text.split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


def end(process: "subprocess.Popen[str]", patience: float) -> None:
    """The process and what it started are gone; for so many seconds it may end by itself."""
    assert process.stdin is not None
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    process.wait()
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    if process.stdout is not None:
        process.stdout.close()


def describe(entry: Entry) -> dict[str, Any]:
    """Return what a result says of a side."""
    return {
        "name": entry.name,
        "label": entry.label,
        "broker": entry.broker,
        "role": entry.role,
        "environment": entry.environment or "here",
        "other_promise": {what: list(where) for what, where in entry.other_promise.items()},
    }


def say(text: str) -> None:
    """Tell whoever watches."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
