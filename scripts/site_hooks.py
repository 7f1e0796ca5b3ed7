"""What the documentation site has besides ``docs/``: MkDocs calls these functions (mkdocs.yml).

A page of the site may come from elsewhere in the repository: the JavaScript client, the examples,
the changelog with its fragments. Links between files work in the repository as they stand; on the
site they lead to the same pages, and a link to a file that is no page leads to a page which shows
that file. So each text is written once, and needs no address of a repository.
"""

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
FENCE = re.compile(r"(^(?P<mark>`{3,}).*?^(?P=mark)$)", re.MULTILINE | re.DOTALL)
KINDS = {
    "security": "Security",
    "removed": "Removed",
    "changed": "Changed",
    "added": "Added",
    "fixed": "Fixed",
}
LANGUAGES = {
    ".html": "html",
    ".py": "python",
    ".js": "js",
    ".json": "json",
    ".yml": "yaml",
    ".yaml": "yaml",
}


def pages_from_elsewhere() -> dict[str, str]:
    """Return which page of the site each Markdown file outside of ``docs/`` becomes."""
    pages = {"clients/js/README.md": "javascript.md", "CHANGELOG.md": "changelog.md"}
    for readme in sorted(ROOT.glob("examples/*/README.md")):
        pages[readme.relative_to(ROOT).as_posix()] = f"examples/{readme.parent.name}.md"
    return pages


def page_of(path: str) -> str | None:
    """Return the page of the site that holds what is at this path of the repository, if it can."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path == "README.md":
        return "index.md"
    known = pages_from_elsewhere()
    if path in known:
        return known[path]
    return source_uri(path) if (ROOT / path).is_file() else None


def source_uri(path: str) -> str:
    """Return the page that shows the file; a page called ``index.html`` would hide its folder."""
    return f"source/{path.replace('.', '-')}.md"


def for_the_site(text: str, source: str, page: str) -> str:
    """Return the text of a file of the repository with the links that it needs as that page."""

    def replace(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"]))
        target = page_of(path)
        if target is None or match["path"].startswith("/"):
            return match[0]
        link = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"]({link}{match['anchor'] or ''})"

    parts = FENCE.split(text)
    # A split gives text, fence, mark, text, ...: only the text has links.
    kept = [LINK.sub(replace, part) if at % 3 == 0 else part for at, part in enumerate(parts)]
    return "".join(part for at, part in enumerate(kept) if at % 3 != 2)


def files_linked_from(text: str, source: str) -> set[str]:
    """Return the files of the repository that the text links to and that are no pages."""
    found = set()
    for match in LINK.finditer(FENCE.sub("", text)):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"]))
        target = page_of(path)
        if target is not None and target.startswith("source/"):
            found.add(path)
    return found


def changelog() -> str:
    """Return the changelog, with the fragments themselves where it says that they wait."""
    parts = ["## Unreleased\n"]
    for kind, heading in KINDS.items():
        fragments = sorted((ROOT / "changes").glob(f"*.{kind}.md"))
        if fragments:
            parts.append(f"\n### {heading}\n")
        for fragment in fragments:
            text = for_the_site(
                fragment.read_text(encoding="utf-8").strip(),
                fragment.relative_to(ROOT).as_posix(),
                "changelog.md",
            )
            parts.append("* " + text.replace("\n", "\n    "))
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    before, heading, rest = text.partition("## Unreleased\n")
    if not heading:
        raise ValueError("CHANGELOG.md has no section '## Unreleased' for the fragments")
    released = rest[rest.index("\n## ") :] if "\n## " in rest else ""
    return before + "\n".join(parts) + released


def source_page(path: str) -> str:
    """Return the page that shows a file of the repository."""
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(PurePosixPath(path).suffix, "text")
    return f"---\nsearch: {{ exclude: true }}\n---\n# `{path}`\n\n````{language}\n{text}````\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Every page that does not lie in ``docs/`` is among the files."""
    wanted: set[str] = set()
    for file in files.documentation_pages():
        wanted |= files_linked_from(file.content_string, f"docs/{file.src_uri}")
    for source, page in pages_from_elsewhere().items():
        text = (ROOT / source).read_text(encoding="utf-8")
        wanted |= files_linked_from(text, source)
        content = changelog() if page == "changelog.md" else for_the_site(text, source, page)
        files.append(File.generated(config, page, content=content))
    for path in sorted(wanted):
        files.append(File.generated(config, source_uri(path), content=source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of a page in ``docs/`` that leave it lead to a page of the site."""
    if page.file.generated_by is not None:
        return markdown
    return for_the_site(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
