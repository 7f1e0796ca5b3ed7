"""Show which clause of the kit for layers catches which mutant.

``python -m tests.conformance.layer_mutants`` runs each mutant through the clause that is written
for it, and prints a table; with ``--all``, through every other clause, too, and counts them.
"""

# ruff: noqa: T201  # what a command prints is its result

import sys

from . import layer_mutants_of_life as layer_mutants_of_life
from . import layer_mutants_of_messages as layer_mutants_of_messages
from .layer_subject import CAUGHT_BY, CLAUSES, MUTANTS, PASSED, SKIPPED, verdict

PATIENCE = 1.0
"""Seconds that a clause waits where what it waits for never comes."""


def caught(name: str, clause: str) -> str | None:
    """Return what the clause finds wrong with the mutant; None: nothing."""
    text = verdict(MUTANTS[name], clause, PATIENCE)
    return None if text in (PASSED, SKIPPED) else text


def main(*, others: bool) -> None:
    """Print the table."""
    width = max(map(len, MUTANTS))
    missed = []
    for name, clause in CAUGHT_BY.items():
        if (text := caught(name, clause)) is None:
            missed.append(name)
            text = "NOT CAUGHT"
        print(f"{name:{width}}  {short(clause)}\n{'':{width}}    {text[:100]}")
        if others:
            also = [each for each in CLAUSES if each != clause and caught(name, each)]
            print(f"{'':{width}}    also, by {len(also)}: {', '.join(map(short, also[:3]))}")
    without = [short(clause) for clause in CLAUSES if clause not in CAUGHT_BY.values()]
    print(f"\n{len(CLAUSES)} clauses, {len(MUTANTS)} mutants, {len(missed)} not caught: {missed}")
    print(f"clauses without a mutant: {without}")


def short(clause: str) -> str:
    """Return the clause as the sentence that it is."""
    return clause.removeprefix("test_").replace("_", " ")


if __name__ == "__main__":
    main(others="--all" in sys.argv)
