"""The documentation site: it builds without a warning, asks no other host, lists what is public."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")]
PICTURES = sorted(ROOT.glob("docs/**/*.png"))
LOADS = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(https?:)?//"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|icon|preload))[^>]*\bhref=["']?(https?:)?//"""
    r"""|url\(["']?(https?:)?//|@import\s+["'](https?:)?//"""
)
"""What makes a browser ask another host as soon as it shows the page."""

PUBLIC = (
    "fast_channels",
    "fast_channels.consumer",
    "fast_channels.layers",
    "fast_channels.layers.redis",
    "fast_channels.middleware",
    "fast_channels.routing",
    "fast_channels.testing",
    "fast_channels.testing.conformance",
    "fast_channels_nats",
    "fast_channels_postgres",
    "fast_channels_rabbitmq",
    "fast_channels_redis",
    "fast_channels_tools.inspector",
)
"""What applications and authors import from."""

pytestmark = pytest.mark.timeout(450)


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build a site as ``make docs`` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(site)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from this repository."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_without_a_warning(site: Path) -> None:
    assert (site / "index.html").exists()


def test_a_page_of_the_site_asks_no_other_host(site: Path) -> None:
    files = [
        path for path in site.rglob("*") if path.suffix in (".html", ".css") and path.is_file()
    ]
    found = {path.name: LOADS.search(path.read_text(encoding="utf-8")) for path in files}
    assert not {name: match[0] for name, match in found.items() if match}


def test_what_lies_outside_of_docs_is_on_the_site(site: Path) -> None:
    assert "ResumableWebsocketConsumer" in (site / "javascript/index.html").read_text()
    assert "fast-channels-mqtt" in (site / "examples/fast-channels-mqtt/index.html").read_text()
    changelog = (site / "changelog/index.html").read_text()
    assert 'href="../from-django-channels/"' in changelog
    for fragment in ROOT.glob("changes/*.added.md"):
        first = re.match(r"\w+", fragment.read_text())
        assert first is None or first[0] in changelog


def test_every_module_that_the_pages_import_from_is_in_the_reference() -> None:
    imported = {
        name
        for page in PAGES
        for name in re.findall(r"^\s*from (fast_channels[\w.]*) import", page.read_text(), re.M)
    }
    listed = set()
    for page in ROOT.glob("docs/api/*.md"):
        listed |= set(re.findall(r"^::: ([\w.]+)$", page.read_text(), re.M))
    of_examples = {name for name in imported if name.split(".")[0].endswith(("_acme",))}
    assert len(imported) > 8
    missing = {
        name
        for name in imported - of_examples
        if name not in listed
        and not any(other.startswith(f"{name}.") for other in listed)
        # a submodule whose names its package has, too
        and name.rpartition(".")[0] not in listed
    }
    assert not missing


def names_of(module: str) -> list[str]:
    """Return what a star import takes of it; what has no ``__all__`` is told by its docstrings."""
    return list(getattr(importlib.import_module(module), "__all__", []))


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = [page.read_text(encoding="utf-8") for page in (site / "api").rglob("*.html")]
    anchors = {anchor for page in pages for anchor in re.findall(r'id="([\w.]+)"', page)}
    told = {anchor.rpartition(".")[2] for anchor in anchors}  # re-exported: under its own module
    assert {f"{module}.{name}" for module in PUBLIC for name in names_of(module)} > {
        "fast_channels.Drain",
        "fast_channels.layers.Backend",
        "fast_channels_redis.RedisChannelLayer",
    }
    missing = {
        f"{module}.{name}"
        for module in PUBLIC
        for name in names_of(module)
        if name not in told | {"__version__"}
    }
    assert not missing


def test_pictures_are_small() -> None:
    assert len(PICTURES) > 2
    assert not [path.name for path in PICTURES if path.stat().st_size > 150_000]


def test_every_picture_is_on_a_page_and_made_by_a_script() -> None:
    script = (ROOT / "scripts" / "screenshots.py").read_text(encoding="utf-8")
    made = set(re.findall(r'^    "([\w-]+\.png)": \w+,$', script, re.MULTILINE))
    shown = {
        name
        for page in PAGES
        for name in re.findall(r"\]\((?:\.\./)*images/([\w/-]+\.png)\)", page.read_text())
    }
    there = {path.relative_to(ROOT / "docs/images").as_posix() for path in PICTURES}
    plots = {name for name in there if name.startswith("performance/")}  # tests/benchmarks
    assert there - plots == made == shown - plots


# The guard itself.


@pytest.mark.parametrize(
    ("page", "complaints"),
    [
        ("[there](nowhere.md) [here](index.md#nothing)", ["nowhere.md", "#nothing"]),
        ('--8<-- "examples/tutorial/nothing.py"', ["nothing.py"]),
    ],
)
def test_a_page_with_a_mistake_does_not_build(
    page: str, complaints: list[str], tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n{page}\n")
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nhooks: []\nplugins: []\n"
        "watch: []\nnav: [index.md]\n"
    )
    done = build(config, tmp_path / "site")
    assert done.returncode != 0
    assert all(complaint in done.stderr for complaint in complaints), done.stderr


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://example.org/x.js">',
        '<link href="//example.org/x.css" rel="stylesheet">',
        '@import "https://example.org/x.css"',
    ],
)
def test_what_would_ask_another_host_is_seen(text: str) -> None:
    assert LOADS.search(text)
    assert not LOADS.search('<a href="https://example.org/"> <img src="images/chat.png">')
