"""The kit finds what is wrong: each mutant is caught by the clause that is written for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .mutants import failed
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
    found: Any = json.loads(mutants("--named", "--json"))
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


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_table_names_every_mutant_and_what_else_catches_it() -> None:
    table = mutants()
    assert all(name in table for name in MUTANTS)
    assert f"{len(clauses())} clauses, {len(MUTANTS)} mutants, 0 not caught" in table
