"""Runs scenarios over all sides: in turn, each in a fresh process, on the same servers.

Nothing ends a run but an interrupt: a side that fails, hangs or cannot be installed is a reason in
its row, and is not measured again. Each worker, scenario and broker is bounded in time.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import scenarios
from benchmarks.launch import brokers, environments
from benchmarks.launch.child import WorkerFailed, heard
from benchmarks.results import Result, machine
from benchmarks.scenarios import Plan, module
from benchmarks.sides import ENTRIES, Entry
from benchmarks.targets import deciders

LOOP: Final = "uvloop"
FAR_BEHIND: Final = 3.0
"""A peer that is so many times worse in every case is measured in one round only."""

KEPT_FOR_MORE: Final = 0.4
"""The part of a broker's time that is kept for the rounds of what takes little."""

WEIGHTS: Final = {"rabbitmq": 2.0, "nats": 1.5}
"""Of a side in a scenario's time, against 1: there, most sides are measured in all rounds."""

MOST_OF_ROUND: Final = 0.7
"""A round begins if so much of it is in time."""

MAX_OPEN: Final = 32_768
"""Files that a process may have open: one for each client."""


class Run:
    """One run, and what it has found so far."""

    def __init__(
        self,
        result: Result,
        path: Path,
        only: Collection[str] = (),
        patience: float = 1.0,
        decide: Callable[[Result, str], Collection[str]] = deciders,
    ) -> None:
        self.result = result
        self.path = path
        self._only = only
        """Names of sides; empty: all."""
        self.patience = patience
        """Makes all limits longer, for a slow or busy machine."""
        self._decide = decide
        """Who is measured in the further rounds of a scenario."""
        self._brokers = brokers.Brokers(result.versions["servers"])
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
        with self._brokers:
            for name in names:
                load = round(os.getloadavg()[0], 1)
                self.result.machine["load"][name] = load
                # What one scenario leaves or overruns is the next one's: the run ends in time.
                until += scenarios.plan(name).budget[not self.quick] * self.patience
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
        began = time.monotonic()
        self.begin(name, plan)
        able = getattr(found, "APPS", None)
        sides = {broker: self.sides(name, plan, broker, able) for broker in plan.brokers}
        getattr(found, "arrange", lambda _: None)(sides)
        weigh = getattr(found, "weight", lambda entry: WEIGHTS.get(entry.broker, 1.0))
        weights = {broker: sum(map(weigh, sides[broker])) for broker in plan.brokers}
        for broker in plan.brokers:
            left = until - time.monotonic()
            share = left * weights[broker] / max(sum(weights.values()), 1)
            weights[broker] = 0
            if not sides[broker]:
                continue
            try:
                with self._brokers.use(broker) as server:
                    args = (name, plan, server, sides[broker], time.monotonic() + share)
                    getattr(found, "collect", Run.workers)(self, *args)
            except Exception as error:  # whatever it is, the other brokers are measured
                say(f"{name} on {broker}: {error!r}")
                for entry in sides[broker]:
                    self.cannot(name, "", entry.name, f"{broker}: {error}")
        self.result.scenarios[name]["seconds"] = round(time.monotonic() - began, 1)

    def begin(self, name: str, plan: Plan) -> None:
        """Nothing is known of the scenario but how it is measured."""
        say(f"{name}: {plan.title}")
        self.result.forget(name)
        self.result.scenarios[name] = {
            "title": plan.title,
            "unit": plan.unit,
            "figure": plan.figure,
            "lower_is_better": plan.lower_is_better,
            "rounds": 1 if self.quick else plan.rounds,
            "seconds": 0.0,
            "parameters": plan.quick if self.quick else plan.full,
            "what": " ".join((module(name).__doc__ or "").split("\n\n", 1)[0].split()),
        }

    def limit(self, plan: Plan, broker: str = "") -> float:
        """Return after how many seconds a worker is ended."""
        if broker == "memory" and plan.alone and not self.quick:
            return plan.alone * self.patience
        return plan.limit[not self.quick] * self.patience

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
        self, name: str, plan: Plan, server: brokers.Broker, sides: list[Entry], until: float
    ) -> None:
        """Measure the sides in turn, by a worker for each, round after round.

        Then what takes little time is measured more often, of those on whom a target may depend.
        Who is left out of a round is in none after it: a round has one number for all its sides.
        """
        limit = self.limit(plan, server.name)
        params = self.result.scenarios[name]["parameters"] | {"limit": limit, "loop": LOOP}
        more = 0 if self.quick else plan.more
        now = time.monotonic()
        first = until - KEPT_FOR_MORE * max(0.0, until - now) if more else until
        took: dict[str, float] = {}
        wanted: Collection[str] = ()
        for number in range(1 if self.quick else plan.rounds):
            if number and not fits(took, sides, first):
                break
            took = self.round(name, plan, server, sides, params, until)
            wanted = self._decide(self.result, name) if more else ()
            ended = [entry for entry in sides if entry.name in took]
            sides = [e for e in ended if e.name in wanted or self.is_close(name, e)]
        sides = [entry for entry in sides if entry.name in wanted]
        took = {}
        for _ in range(more):
            if not sides or not fits(took, sides, until):
                return
            took = self.round(name, plan, server, sides, params | plan.again, until)
            sides = [entry for entry in sides if entry.name in took]

    def round(
        self,
        name: str,
        plan: Plan,
        server: brokers.Broker,
        sides: list[Entry],
        params: dict[str, Any],
        until: float,
    ) -> dict[str, float]:
        """Measure each side once; return the seconds of those that came to their end."""
        took: dict[str, float] = {}
        for entry in sides:
            began = time.monotonic()
            if self.late(until, plan):
                if not any(row.side == entry.name for row in self.result.of(name)):
                    self.cannot(name, "", entry.name, "the scenario's time was over")
                continue
            args = [LOOP, entry.name, f"scenarios.{name}:measure", server.url, json.dumps(params)]
            if self.worker(name, [entry], "workers.side", args, params["limit"], server):
                took[entry.name] = time.monotonic() - began
            server.reset()
        return took

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
        sides: Sequence[Entry],
        program: str,
        args: list[str],
        limit: float,
        server: brokers.Broker,
        library: str | None = "",
        case: str = "",
    ) -> bool:
        """Run one worker for these sides; its rows are in the result. Return whether it ended well.

        ``library`` is the environment that it runs in, by default the first side's; ``case`` is
        what it measures, if it is not all of them.
        """
        where = sides[0].environment if library == "" else library
        try:
            python = self.python(where)
        except (OSError, subprocess.SubprocessError) as error:
            self.none_of(scenario, case, sides, f"could not be installed: {error}")
            return False
        try:
            for said in heard(python, program, *args, limit=limit, counters=server.counters):
                if "reason" in said:
                    self.cannot(scenario, said["case"], said["side"], said["reason"], said["x"])
                elif "measures" in said:
                    self.measured(scenario, said)
        except WorkerFailed as error:
            self.none_of(scenario, case, sides, str(error))
            return False
        return True

    def python(self, library: str | None) -> str:
        """Return the Python of a library's environment; its versions are noted."""
        found = environments.python(library)
        known = self.result.versions["libraries"]
        if (library or "here") not in known:
            known[library or "here"] = environments.versions(library)
        return found

    def measured(self, scenario: str, said: dict[str, Any]) -> None:
        """Note a row's values of one round."""
        row = self.result.row(scenario, said["case"], said["side"], said.get("x"))
        for measure, value in said["measures"].items():
            if measure == "told":
                row.told = value
            else:
                row.measures.setdefault(measure, []).append(value)
        figure = self.result.scenarios[scenario]["figure"]
        value = said["measures"].get(figure)
        shown = "" if value is None else f"{figure} {value:,.4g}"
        lost = said["measures"].get("lost")
        say(f"  {said['side']}  {said['case']}  {shown}{f'  lost {lost:,}' if lost else ''}")

    def cannot(
        self, scenario: str, case: str, side: str, reason: str, x: float | None = None
    ) -> None:
        """Note why something was not measured."""
        self.result.row(scenario, case, side, x).reason = reason
        say(f"  {side}  {case}  {reason}")

    def none_of(self, scenario: str, case: str, sides: Sequence[Entry], reason: str) -> None:
        """Note why none of these was measured."""
        for entry in sides:
            self.cannot(scenario, case, entry.name, reason)


def fits(took: Mapping[str, float], sides: Sequence[Entry], until: float) -> bool:
    """Return whether another round of the sides may begin, which took so long each in the last."""
    whole = sum(took.get(entry.name, 0.0) for entry in sides)
    return time.monotonic() + MOST_OF_ROUND * whole <= until


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
    """Tell whoever watches, and the time of day: what takes long shows."""
    print(f"bench: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
