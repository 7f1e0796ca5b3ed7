"""The pages of the documentation, and what is fenced on them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("packages/*/README.md"),
        *ROOT.glob("examples/*/README.md"),
        *ROOT.glob("clients/*/README.md"),
    ],
)
OTHER_PAGES = sorted(
    [
        *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY")),
        *ROOT.glob("changes/*.md"),
    ]
)
SHELLS = ("sh", "bash", "shell", "console")

FENCED = re.compile(
    r"^(?:<!-- *(?P<note>.*?) *-->\n)?"
    r"^(?P<indent> *)```(?P<language>[\w+-]*)(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
SNIPPET = re.compile(r'^ *--8<-- "(?P<path>[^"\n]+)"$', re.MULTILINE)

INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")


@dataclass(frozen=True)
class Block:
    """A fenced block: what it is written in, its code, and the page's line of its first line."""

    language: str
    code: str
    line: int
    note: str = ""
    title: str = ""
    """The name of the file that it is."""

    @property
    def snippets(self) -> list[str]:
        """The files of the repository that stand in its place on the site."""
        return SNIPPET.findall(self.code)


def blocks_of(text: str) -> list[Block]:
    """Return a page's fenced blocks in order."""
    return [
        Block(
            match["language"],
            match["code"],
            text.count("\n", 0, match.start("code")) + 1,
            match["note"] or "",
            "".join(re.findall(r'title="([^"]+)"', match["info"])),
        )
        for match in FENCED.finditer(text)
    ]


def messages_on(page: Path) -> list[str]:
    """Return the lines of the page's blocks that are not fenced: messages, one in each line."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return [line.strip() for block in INDENTED.findall(text) for line in block.splitlines()]


def blocks_in(*languages: str) -> list[tuple[str, Block]]:
    """Return every block of all pages in one of these languages, and where it is."""
    return [
        (f"{relative(page)}:{block.line}", block)
        for page in [*PAGES, *OTHER_PAGES]
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.language in languages
    ]


def relative(page: Path) -> str:
    """Return the page's path within the repository."""
    return page.relative_to(ROOT).as_posix()
