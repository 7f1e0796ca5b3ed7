"""Every promise on the page of guarantees names tests, and each of them exists."""

import ast
import re
from pathlib import Path

import pytest

from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry

from .pages import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
BACKENDS = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
PROOF = re.compile(r"\[`(?P<sentence>[^`]+)`\]\((?P<path>[^)]+\.py)\)")


def promises(page: str) -> list[str]:
    """Return the rows of the page's tables."""
    rows = re.findall(r"^\| .* \|$", page, re.MULTILINE)
    return [row for row in rows if not re.match(r"\| (promise|---)", row)]


def unproven(row: str, folder: Path) -> list[str]:
    """Return what the row names as a test and is none; all of the row if it names nothing."""
    proofs = PROOF.findall(row)
    missing = [] if proofs else [row]
    for sentence, path in proofs:
        file = folder / path
        name = "test_" + sentence.replace(" ", "_")
        if not file.is_file() or name not in functions_of(file.read_text(encoding="utf-8")):
            missing.append(f"{path}::{name}")
    return missing


def functions_of(source: str) -> set[str]:
    """Return the names of all functions and methods of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)}


def test_every_promise_names_tests_that_exist() -> None:
    rows = promises(PAGE)
    assert len(rows) > 30
    assert not [missing for row in rows for missing in unproven(row, ROOT / "docs")]


@pytest.mark.parametrize(
    ("title", "power"), [("[worker queues](workers.md)", "queues"), ("[durable groups]", "history")]
)
def test_the_backends_have_the_powers_that_their_page_tells(title: str, power: str) -> None:
    [urls] = re.findall(r"^\| URL \| (.*) \|$", BACKENDS, re.MULTILINE)
    [told] = re.findall(rf"^\| {re.escape(title)}.*?(\|.*)\|$", BACKENDS, re.MULTILINE)
    powers = [cell.strip() for cell in told.strip("|").split("|")]
    addresses = [cell.strip().strip("`") for cell in urls.split("|")]
    assert len(powers) == len(addresses) == 5
    for address, tells in zip(addresses, powers, strict=True):
        host = "" if address.startswith("memory") else "localhost"
        layer = ChannelLayerRegistry().register("default", address + host)
        assert isinstance(layer, BaseChannelLayer)
        there = getattr(layer.create_backend(), power) is not None
        assert there == (tells != "no"), f"docs/backends.md: {address} {power}"


# The guard itself.


def test_a_promise_without_a_test_or_with_one_that_is_not_there_is_found() -> None:
    here = Path(__file__)
    true = f"| it holds | | [`every promise names tests that exist`]({here.name}) |"
    assert not unproven(true, here.parent)
    assert unproven(true.replace("promise", "lie"), here.parent)
    assert unproven(true.replace(here.name, "test_nothing.py"), here.parent)
    assert unproven("| it holds | | I am sure |", here.parent)
    assert promises(f"| promise | | |\n| --- | --- | --- |\n{true}\n") == [true]
