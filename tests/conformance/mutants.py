"""Show which clauses of the conformance kit catch which mutant.

``python -m tests.conformance.mutants`` runs each mutant of a backend, a queue or a layer through
the clause written for it, what they are made of through all, and prints a table. With ``--all``
each mutant meets every clause of its suite, for many minutes; ``--json`` prints verdicts instead.
"""

import gc
import json
import logging
import multiprocessing
import sys
import threading
from collections.abc import Iterator
from typing import Final

from . import mutants_of_delivery as mutants_of_delivery
from . import mutants_of_history as mutants_of_history
from . import mutants_of_jobs as mutants_of_jobs
from . import mutants_of_layer_bounds as mutants_of_layer_bounds
from . import mutants_of_layer_channels as mutants_of_layer_channels
from . import mutants_of_layer_groups as mutants_of_layer_groups
from . import mutants_of_layer_history as mutants_of_layer_history
from . import mutants_of_layer_life as mutants_of_layer_life
from . import mutants_of_life as mutants_of_life
from . import mutants_of_outages as mutants_of_outages
from . import mutants_of_presence as mutants_of_presence
from . import mutants_of_queues as mutants_of_queues
from . import mutants_of_subscriptions as mutants_of_subscriptions
from .subject import CAUGHT_BY, HEALTHY, MUTANTS, clauses, verdict

PROCESSES: Final = 16
"""Many more than cores: a clause that fails mostly waits."""
PARTS: Final = 4
"""A mutant that fails everywhere is shared by so many processes."""

Verdicts = dict[str, str]


Task = tuple[str, list[str], float]
"""The name of a mutant, some clauses, and for how many seconds they wait."""


def tasks(others: bool) -> Iterator[Task]:
    """Yield what is to be run; what is sure to pass waits long, what is sure to fail does not."""
    for name, suite in HEALTHY.items():
        for part in range(PARTS):
            yield name, clauses(suite)[part::PARTS], 20.0
    for name, clause in CAUGHT_BY.items():
        yield name, [clause], 1.0
    if others:
        for name, clause in CAUGHT_BY.items():
            rest = [each for each in clauses(MUTANTS[name]) if each != clause]
            for part in range(PARTS):
                yield name, rest[part::PARTS], 0.25


def verdicts(task: Task) -> tuple[str, Verdicts]:
    """Return what the clauses say about the mutant."""
    name, some, patience = task
    suite = (HEALTHY | MUTANTS)[name]
    suite.patience = suite.unavailable_within = suite.recovers_within = patience
    suite.limit = max(suite.limit, patience)
    return name, {clause: verdict(suite, clause) for clause in some}


def all_verdicts(*, others: bool) -> dict[str, Verdicts]:
    """Return what the clauses say about every mutant, by its name."""
    gc.collect()
    gc.freeze()  # each clause collects, and has to look only at what is its own
    assert threading.active_count() == 1, "forked processes have one thread"
    found: dict[str, Verdicts] = {name: {} for name in HEALTHY | MUTANTS}
    with multiprocessing.get_context("fork").Pool(PROCESSES, prepare, maxtasksperchild=1) as pool:
        for name, some in pool.imap_unordered(verdicts, tasks(others), chunksize=1):
            found[name] |= some
    return found


def prepare() -> None:
    """A mutant's warnings and log are its own business."""
    logging.disable(logging.NOTSET)
    logging.getLogger().addHandler(logging.NullHandler())
    sys.unraisablehook = lambda _: None


def failed(results: Verdicts) -> list[str]:
    """Return the clauses that were broken."""
    return [clause for clause, text in results.items() if text not in ("passed", "skipped")]


def print_table(results: dict[str, Verdicts]) -> None:
    """Print each mutant, its clause and what that says, and which other clauses catch it."""
    width = max(map(len, MUTANTS))
    missed = [name for name, clause in CAUGHT_BY.items() if clause not in failed(results[name])]
    for name, clause in CAUGHT_BY.items():
        text = "NOT CAUGHT" if name in missed else results[name][clause]
        print(f"{name:{width}}  {short(clause)}\n{'':{width}}    {text[:100]}")
        if others := [short(each) for each in failed(results[name]) if each != clause]:
            more = f" and {len(others) - 3} more" if others[3:] else ""
            print(f"{'':{width}}    also: {', '.join(others[:3])}{more}")
    without = sorted(set(clauses()) - set(CAUGHT_BY.values()))
    broken = [clause for name in HEALTHY for clause in failed(results[name])]
    print(f"\n{len(clauses())} clauses, {len(MUTANTS)} mutants, {len(missed)} not caught: {missed}")
    print(f"clauses without a mutant: {without}")
    print(f"broken without a mutant: {broken}")


def short(clause: str) -> str:
    """Return the clause as the sentence that it is."""
    return clause.removeprefix("test_").replace("_", " ")


if __name__ == "__main__":
    found = all_verdicts(others="--all" in sys.argv)
    if "--json" in sys.argv:
        json.dump(found, sys.stdout)
    else:
        print_table(found)
