"""The structure of the code: short files and functions, modules with different names, and independent test modules."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [
    sorted(package.rglob("*.py"))
    for package in (ROOT / "server" / "registrar_server", ROOT / "client" / "registrar_client")
]
SOURCES = [file for files in PACKAGES for file in files]
IMPORTERS = sorted(file for folder in ("tests", "bench") for file in (ROOT / folder).rglob("*.py"))

MOST_LINES_OF_A_FILE = 300
MOST_LINES_OF_A_FUNCTION = 40


def path(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def is_long(text: str) -> bool:
    return len(text.splitlines()) > MOST_LINES_OF_A_FILE


def long_functions(text: str) -> list[str]:
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [function.name for function in functions if lines_of_code(function) > MOST_LINES_OF_A_FUNCTION]


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    docstring = [] if ast.get_docstring(function) is None else function.body[:1]
    return lines(function) - sum(map(lines, docstring))


def lines(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def namesakes(file: Path, files: Iterable[Path]) -> list[Path]:
    """Return the other modules with the name of this one."""
    return [other for other in files if other != file and other.stem == file.stem != "__init__"]


def imported_test_modules(text: str) -> list[str]:
    return [name for name in imports(text) if any(is_test_module(part) for part in name.split("."))]


def imports(text: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports, relative names without the leading dots."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" if node.module else alias.name for alias in node.names)


def is_test_module(name: str) -> bool:
    return name.startswith("test_") or name == "conftest"


@pytest.mark.parametrize("file", SOURCES, ids=path)
def test_a_file_is_short(file: Path) -> None:
    assert not is_long(file.read_text())


@pytest.mark.parametrize("file", SOURCES, ids=path)
def test_the_functions_of_a_file_are_short(file: Path) -> None:
    assert long_functions(file.read_text()) == []


@pytest.mark.parametrize(
    ("file", "files"), [pytest.param(file, files, id=path(file)) for files in PACKAGES for file in files]
)
def test_no_other_module_of_the_package_has_the_same_name(file: Path, files: list[Path]) -> None:
    assert namesakes(file, files) == []


@pytest.mark.parametrize("file", IMPORTERS, ids=path)
def test_no_test_module_is_imported(file: Path) -> None:
    assert imported_test_modules(file.read_text()) == []


def test_files_are_found() -> None:
    """The checks above run on both packages, the tests and the bench."""
    found = {path(file) for file in (*SOURCES, *IMPORTERS)}
    assert found >= {
        "server/registrar_server/app.py",
        "client/registrar_client/_calls/students.py",
        "tests/test_structure.py",
        "bench/stage.py",
    }


def test_a_long_file_is_found() -> None:
    assert not is_long("pass\n" * 300)
    assert is_long("pass\n" * 301)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def short():\n" + "    pass\n" * 39, []),
        ("def long():\n" + "    pass\n" * 40, ["long"]),
        ("async def long():\n" + "    pass\n" * 40, ["long"]),
        ("class Outer:\n    def long(self):\n" + "        pass\n" * 40, ["long"]),
        ('def short():\n    """One.\n\n    Two.\n    """\n' + "    pass\n" * 39, []),
        ('def long():\n    """One.\n\n    Two.\n    """\n' + "    pass\n" * 40, ["long"]),
        ("def long(\n" + "    one,\n" * 40 + "): ...\n", ["long"]),
    ],
)
def test_a_long_function_is_found(text: str, found: list[str]) -> None:
    assert long_functions(text) == found


def test_a_second_module_of_the_same_name_is_found() -> None:
    files = [Path(name) for name in ("a/history.py", "b/history.py", "a/lists.py", "a/__init__.py", "b/__init__.py")]
    assert [namesakes(file, files) for file in files] == [[files[1]], [files[0]], [], [], []]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import tests.support.wire\nfrom tests.support import wire\nfrom registrar_client import testing", []),
        ("import tests.core.test_queue", ["tests.core.test_queue"]),
        ("from tests.core.test_queue import queue", ["tests.core.test_queue.queue"]),
        ("from tests.core import test_queue as shared", ["tests.core.test_queue"]),
        ("from tests.client.conftest import driver", ["tests.client.conftest.driver"]),
        ("from . import test_queue\nfrom .test_rules import rule", ["test_queue", "test_rules.rule"]),
        ("def late():\n    from tests import test_api", ["tests.test_api"]),
    ],
)
def test_an_imported_test_module_is_found(text: str, found: list[str]) -> None:
    assert imported_test_modules(text) == found
