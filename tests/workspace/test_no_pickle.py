"""Nothing that is read can run code: no pickle, no marshal, no eval, in any package.

What comes from a broker, a client or a file is data. The formats are msgpack and JSON (msgspec).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("packages/*/src", "examples/*/src", "examples", "scripts")
    for path in ROOT.glob(f"{folder}/**/*.py")
)
MODULES = {
    *("pickle", "_pickle", "cPickle", "pickletools", "marshal", "shelve", "copyreg", "dbm", "code"),
    *("dill", "cloudpickle", "joblib", "jsonpickle", "yaml", "ruamel", "torch", "codeop"),
}
CALLS = {"eval", "exec", "compile", "__import__", "__reduce__", "__reduce_ex__"}


def dangers(source: str) -> Iterator[str]:
    """Yield what in the source could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found = {module.partition(".")[0]}
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value)]):
                found = {str(value).partition(".")[0]}
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                yield f"line {node.lineno}: {name}()"
                continue
            case ast.FunctionDef(name=name) if name in CALLS:
                yield f"line {node.lineno}: def {name}"
                continue
            case _:
                continue
        yield from (f"line {node.lineno}: {module}" for module in sorted(found & MODULES))


def test_no_package_can_run_what_it_reads() -> None:
    assert len(SOURCES) > 200
    found = {path: list(dangers(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert not {str(path.relative_to(ROOT)): each for path, each in found.items() if each}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import json, marshal as m",
        "from pickle import loads",
        "def f():\n    import shelve",
        "from yaml import load",
        "import yaml.loader",
        "import importlib\nimportlib.import_module('pickle')",
        "__import__('pickle')",
        "eval('1')",
        "if True:\n    exec(text)",
        "class A:\n    def __reduce__(self): ...",
    ],
)
def test_what_runs_what_it_reads_is_reported(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize("source", ["import json", "re.compile('x')", "pattern.eval()", "x.code"])
def test_what_does_not_passes(source: str) -> None:
    assert list(dangers(source)) == []
