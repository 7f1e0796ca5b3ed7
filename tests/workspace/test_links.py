"""What the documentation points at is there: targets of ``make`` commands, and files."""

import re
from pathlib import Path

import pytest

from .pages import FENCED, OTHER_PAGES, PAGES, ROOT, SHELLS, blocks_of, relative

MAKE = re.compile(r"\bmake((?: +[^\s&|;]+)+)")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)[^)]*\)")


def make_targets_named(text: str) -> set[str]:
    """Return the targets of every ``make`` in shell blocks and in code within the text."""
    shell = [block.code for block in blocks_of(text) if block.language in SHELLS]
    inline = re.findall(r"`([^`\n]+)`", FENCED.sub("", text))
    code = re.sub(r"(^|\s)#.*", "", "\n".join([*shell, *inline]), flags=re.MULTILINE)
    words = [word for arguments in MAKE.findall(code) for word in arguments.split()]
    return {word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)}


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=relative)
def test_a_make_command_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert make_targets_named(page.read_text(encoding="utf-8")) <= targets


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=relative)
def test_a_link_into_the_repository_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


# The reader itself, on a page of its own.

PAGE = """\
Text with `make one` and `make two THREE=4`, and no `makeshift`.

```sh
ONE=1 make four PORT=9000   # make of that what you like
echo done && make -j2 five
```
"""


def test_make_targets_are_found_where_commands_stand() -> None:
    assert make_targets_named(PAGE) == {"one", "two", "four", "five"}
