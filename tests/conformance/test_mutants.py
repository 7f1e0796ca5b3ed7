"""The kit finds what is wrong: each mutant is caught by the clause that is written for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .mutants import failed, print_table
from .subject import CAUGHT_BY, HEALTHY, MUTANTS, clauses

ROOT = Path(__file__).parents[2]

WITHOUT_MUTANT: dict[str, str] = {}
"""Clauses that no mutant can break, and why."""

Results = dict[str, dict[str, str]]


def mutants(*options: str) -> str:
    """Return what the command prints."""
    command = [sys.executable, "-m", "tests.conformance.mutants", *options]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def results() -> Results:
    """The verdict on each mutant of the clause written for it, and all of them on no mutant."""
    found: Any = json.loads(mutants("--json"))
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", HEALTHY)
def test_what_mutants_are_made_of_breaks_no_clause(results: Results, name: str) -> None:
    assert failed(results[name]) == []
    assert sorted(results[name]) == clauses(HEALTHY[name])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught_by_its_clause(results: Results, name: str) -> None:
    assert failed(results[name]) == [CAUGHT_BY[name]]


def test_every_clause_has_a_mutant() -> None:
    assert set(clauses()) - set(CAUGHT_BY.values()) == set(WITHOUT_MUTANT)


def test_every_clause_says_what_usually_breaks_it() -> None:
    texts = {
        clause: " ".join((getattr(suite, clause).__doc__ or "").split())
        for suite in HEALTHY.values()
        for clause in clauses(suite)
    }
    assert not {clause for clause, text in texts.items() if "Usual cause: " not in text}


@pytest.mark.timeout(120)
def test_the_table_names_every_mutant_and_what_else_catches_it(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    also = "test_what_one_process_publishes_reaches_another"
    print_table(results | {"NoEcho": results["NoEcho"] | {also: "AssertionError: not there"}})
    table = capsys.readouterr().out
    assert all(f"{name} " in table for name in MUTANTS)
    assert table.count("also: ") == 1
    assert "also: what one process publishes reaches another" in table
    assert f"{len(clauses())} clauses, {len(MUTANTS)} mutants, 0 not caught" in table
    assert table.endswith("clauses without a mutant: []\nbroken without a mutant: []\n")


@pytest.mark.timeout(120)
def test_the_table_tells_what_was_not_caught_and_what_was_broken(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    name, healthy = "NoEcho", next(iter(HEALTHY))
    broken = clauses(HEALTHY[healthy])[0]
    print_table(
        results
        | {name: {CAUGHT_BY[name]: "passed"}}
        | {healthy: results[healthy] | {broken: "AssertionError: no"}}
    )
    table = capsys.readouterr().out
    assert f"1 not caught: ['{name}']" in table
    assert f"broken without a mutant: ['{broken}']" in table
