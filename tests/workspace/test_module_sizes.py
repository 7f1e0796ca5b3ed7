"""A module is one concept that a person reads in one sitting; each part of core stays small.

The kit and the clients of ``testing/``, which no application loads, have no bound: they grow with
every clause.
"""

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "packages"
MODULE_LINES = 400
PARTS = {"layers": 5_550, "consumer": 2_000, "the rest": 800}
"""Lines of code that each part of core has at most; what adds to one must fit in."""

SOURCES = {
    path.relative_to(PACKAGES).as_posix(): path.read_text(encoding="utf-8")
    for path in PACKAGES.glob("*/src/**/*.py")
}


def logical_lines(source: str) -> int:
    """Count the lines of code as Python reads them, however the formatter breaks them.

    Blank lines, comments and docstrings are none.
    """
    docstrings = sum(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for node in ast.walk(ast.parse(source))
    )
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(token.type == tokenize.NEWLINE for token in tokens) - docstrings


def too_long(sources: dict[str, str]) -> dict[str, int]:
    """Return how many lines the modules above the bound have."""
    sizes = {name: len(source.splitlines()) for name, source in sources.items()}
    return {name: lines for name, lines in sizes.items() if lines > MODULE_LINES}


def test_no_module_is_longer_than_400_lines() -> None:
    assert not too_long(SOURCES), "split it by concept, never into _part2"


def test_no_module_of_the_tests_is_longer_than_400_lines() -> None:
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in ROOT.glob("tests/**/*.py")
    }
    assert not too_long(sources), "split it by concept, or use a parameter"


def test_one_line_more_is_too_long() -> None:
    assert too_long({"fits": "x = 1\n" * 400, "does not": "x = 1\n" * 401}) == {"does not": 401}


def test_no_part_of_core_outgrows_its_bound() -> None:
    sizes = dict.fromkeys(PARTS, 0)
    for name, source in SOURCES.items():
        package, _, path = name.partition("/src/fast_channels/")
        part = path.partition("/")[0]
        if package == "core" and part != "testing":
            sizes[part if part in PARTS else "the rest"] += logical_lines(source)
    assert all(sizes.values())
    assert not {part: lines for part, lines in sizes.items() if lines > PARTS[part]}


def test_blank_lines_comments_and_docstrings_are_not_code() -> None:
    assert (
        logical_lines('"""Doc."""\n\n# why\nx = f(\n    1,\n)\n\n\ndef f():\n    """Doc."""\n') == 2
    )
