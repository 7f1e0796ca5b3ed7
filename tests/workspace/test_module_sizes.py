"""A module is one concept that a person reads in one sitting; core is small as a whole.

What an application never loads is counted apart: the kit and the clients of ``testing/`` may grow
with every clause, the code between a send and a socket may not.
"""

import ast
import io
import tokenize
from pathlib import Path

PACKAGES = Path(__file__).parents[2] / "packages"
MODULE_LINES = 400
CORE_LINES = 5_000

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


def test_no_module_is_longer_than_400_lines() -> None:
    sizes = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    assert not {name: lines for name, lines in sizes.items() if lines > MODULE_LINES}, (
        "split it by concept, never into _part2"
    )


def test_what_applications_load_of_core_stays_under_5000_lines_of_code() -> None:
    core = [
        source
        for name, source in SOURCES.items()
        if name.startswith("core/") and "/testing/" not in name
    ]
    assert 0 < sum(map(logical_lines, core)) < CORE_LINES


def test_blank_lines_comments_and_docstrings_are_not_code() -> None:
    assert (
        logical_lines('"""Doc."""\n\n# why\nx = f(\n    1,\n)\n\n\ndef f():\n    """Doc."""\n') == 2
    )
