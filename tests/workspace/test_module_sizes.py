"""A module is one concept that a person reads in one sitting; core is small as a whole."""

import ast
import io
import tokenize
from pathlib import Path

PACKAGES = Path(__file__).parents[2] / "packages"
MODULE_LINES = 400
CORE_LINES = 4_000
LAYOUT = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}

SOURCES = {
    path.relative_to(PACKAGES).as_posix(): path.read_text(encoding="utf-8")
    for path in PACKAGES.glob("*/src/**/*.py")
}


def code_lines(source: str) -> int:
    """Count the lines that hold code: no blank line, comment or docstring."""
    strings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in LAYOUT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - strings)


def test_no_module_is_longer_than_400_lines() -> None:
    sizes = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    assert not {name: lines for name, lines in sizes.items() if lines > MODULE_LINES}, (
        "split it by concept, never into _part2"
    )


def test_core_stays_under_4000_lines_of_code() -> None:
    core = [source for name, source in SOURCES.items() if name.startswith("core/")]
    assert 0 < sum(map(code_lines, core)) < CORE_LINES


def test_blank_lines_comments_and_docstrings_are_not_code() -> None:
    assert code_lines('"""Doc."""\n\n# why\nx = """a\nb"""\n\n\ndef f():\n    """Doc."""\n') == 3
