"""A module is one concept that a person reads in one sitting; core is small as a whole."""

from pathlib import Path

PACKAGES = Path(__file__).parents[2] / "packages"
MODULE_LINES = 400
CORE_LINES = 4_000

LINES = {
    path.relative_to(PACKAGES).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
    for path in PACKAGES.glob("*/src/**/*.py")
}


def test_no_module_is_longer_than_400_lines() -> None:
    assert not {name: lines for name, lines in LINES.items() if lines > MODULE_LINES}, (
        "split it by concept, never into _part2"
    )


def test_core_stays_under_4000_lines() -> None:
    assert 0 < sum(lines for name, lines in LINES.items() if name.startswith("core/")) < CORE_LINES
