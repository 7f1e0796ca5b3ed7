"""The documentation's Python blocks are run.

Every block that is fenced as ``python`` runs in a process of its own, in an empty folder, with
warnings as errors. A comment on the line before the fence changes that:

``<!-- continues -->``: the block goes on where the one before it on the page ended.
``<!-- no-run: reason -->``: it does not run, and the page's source says why.

Blocks with a title are files. Where one is called ``test_*.py``, pytest runs all files of the page,
in a folder of their own.

A block that only includes a file of ``examples/`` is run by ``tests/examples``. Blocks in other
languages are looked at by ``test_blocks``.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import PAGES, blocks_of, relative

EXAMPLES = "examples/"


class PageError(Exception):
    """A page asks for something that this reader does not know."""


def programs_of(text: str) -> dict[int, str]:
    """Return the page's Python programs by line; line n of a program is line n of the page."""
    programs: dict[int, str] = {}
    files = files_with_tests(text)
    last = None
    for block in blocks_of(text):
        if block.language != "python" or re.match(r"no-run: *\S", block.note):
            continue
        if block.snippets and all(path.startswith(EXAMPLES) for path in block.snippets):
            continue
        if block.title in files:
            continue
        if block.note == "continues" and last is not None:
            program = programs.pop(last)
        elif not block.note:
            program = ""
        else:
            raise PageError(f"line {block.line}: what is <!-- {block.note} --> to mean here?")
        last = block.line
        programs[last] = program + "\n" * (block.line - 1 - program.count("\n")) + block.code
    return programs


def files_with_tests(text: str) -> dict[str, str]:
    """Return the page's Python files by name, if tests are among them; otherwise none."""
    blocks = blocks_of(text)
    files = {block.title: block.code for block in blocks if block.language == "python"}
    files.pop("", None)
    return files if any(name.startswith("test_") for name in files) else {}


def run(program: str, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own and return how it ended."""
    file = folder / name
    file.write_text(program)
    command = [sys.executable, "-W", "error", str(file)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


PROGRAMS = [
    pytest.param(program, page.name, id=f"{relative(page)}:{line}")
    for page in PAGES
    for line, program in programs_of(page.read_text(encoding="utf-8")).items()
]


TESTED = [page for page in PAGES if files_with_tests(page.read_text(encoding="utf-8"))]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("page", TESTED, ids=relative)
def test_the_tests_of_a_page_pass(page: Path, tmp_path: Path) -> None:
    files = files_with_tests(page.read_text(encoding="utf-8"))
    for name, code in files.items():
        (tmp_path / name).write_text(code)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(75)
@pytest.mark.parametrize(("program", "page"), PROGRAMS)
def test_a_python_block_runs(program: str, page: str, tmp_path: Path) -> None:
    done = run(program, page, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


# The reader itself, on a page of its own.

PAGE = """\
```python
answer = 42
```

```sh
echo done
```

<!-- continues -->
```python
assert answer == 42
raise ValueError(answer)
```

<!-- no-run: needs a broker -->
```python
syntax error
```

```python
print("alone")
```
"""


def test_blocks_that_continue_are_one_program_whose_lines_are_the_pages(tmp_path: Path) -> None:
    programs = programs_of(PAGE)
    assert list(programs) == [11, 21]
    done = run(programs[11], "page.md", tmp_path)
    assert done.returncode == 1
    assert 'page.md", line 12, in <module>' in done.stderr
    assert run(programs[21], "page.md", tmp_path).stdout == "alone\n"


def test_a_warning_in_a_block_is_an_error(tmp_path: Path) -> None:
    assert run("import warnings; warnings.warn('old')", "page.md", tmp_path).returncode == 1


@pytest.mark.parametrize("note", ["no-run", "no-run:", "continue", "continues"])
def test_a_comment_that_is_not_understood_fails(note: str) -> None:
    with pytest.raises(PageError, match="line 3"):
        programs_of(f"<!-- {note} -->\n```python\npass\n```\n")


def test_files_of_a_page_with_tests_run_together_and_not_as_programs() -> None:
    page = '```python title="{}"\nanswer = 42\n```\n'
    assert list(files_with_tests(page.format("test_it.py") + page.format("it.py"))) == [
        "test_it.py",
        "it.py",
    ]
    assert not programs_of(page.format("test_it.py") + page.format("it.py"))
    assert not files_with_tests(page.format("it.py"))
    assert list(programs_of(page.format("it.py"))) == [2]
