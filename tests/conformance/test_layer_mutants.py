"""The kit for layers finds what is wrong: its clause catches each mutant."""

import pytest

from .layer_mutants import caught
from .layer_subject import CAUGHT_BY, CLAUSES, MUTANTS


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.filterwarnings("ignore")  # what a mutant leaves behind is its own business
def test_a_mutant_is_caught_by_the_clause_written_for_it(name: str) -> None:
    assert caught(name, CAUGHT_BY[name])


def test_every_clause_has_a_mutant() -> None:
    assert set(CLAUSES) == set(CAUGHT_BY.values())
