"""The documents name only files, folders and ``make`` targets that exist.

Links, code spans and code blocks are checked. A word in code is a path if it has a slash and starts with a folder of
the project or of the server's package, or if it has no slash and ends as a source file does. A path with ``*`` must
match something. If a part in angle brackets stands for a name of the reader's choice, such as
``migrations/versions/<new>.py``, the folder before it must exist. Files that a command of the document writes count as
existing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "server" / "registrar_server"
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))

FOLDERS = (".ci", "bench", "client", "docs", "examples", "migrations", "protos", "server", "tests")
SERVER_FOLDERS = ("core", "http", "ledger", "migrate", "reading", "rpc", "storage", "verify")
NAMES = {file.name for folder in FOLDERS for file in (ROOT / folder).rglob("*")} | {
    file.name for file in ROOT.iterdir()
}
SOURCE_NAME = re.compile(r"Makefile|\.env\.example|[\w.-]+\.(?:py|md|toml|lock|proto|ini|mako)")
MADE = re.compile(r" > (\S+)")
"""A file that the commands of a document write."""
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

BLOCK = re.compile(r"^( *)```.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE = re.compile(r"(?:^|&&|;)\s*(?:\w+=\S+\s+)*make((?:\s+[a-z][a-z-]*)*)")


def code(text: str) -> Iterator[str]:
    """Yield the lines of the code blocks, then the code spans."""
    for block in BLOCK.finditer(text):
        yield from block[2].splitlines()
    for span in SPAN.findall(BLOCK.sub("", text)):
        yield " ".join(span.split())


def paths(text: str) -> Iterator[str]:
    for fragment in code(text):
        for word in re.findall(r"[^\s\"'`()\[\],;=|]+", fragment):
            name = word.rstrip(".:/")
            folder, slash, _ = name.partition("/")
            if folder in (*FOLDERS, *SERVER_FOLDERS) if slash else SOURCE_NAME.fullmatch(name):
                yield name


def exists(path: str) -> bool:
    if "/" not in path:
        return path in NAMES
    known = path.partition("<")[0].rpartition("/")[0] if "<" in path else path
    return any(any(folder.glob(known)) for folder in (ROOT, SERVER))


def missing_paths(text: str) -> list[str]:
    made = {name for line in code(text) for name in MADE.findall(line)}
    return [path for path in paths(text) if path not in made and not exists(path)]


def missing_links(text: str, folder: Path) -> list[str]:
    """Return the links to files that do not exist, relative to the folder of the document."""
    links = [link for link in LINK.findall(BLOCK.sub("", text)) if not link.startswith(("#", "https://"))]
    return [link for link in links if not (folder / link.partition("#")[0]).exists()]


def missing_targets(text: str) -> list[str]:
    named = [target for line in code(text) for found in MAKE.finditer(line) for target in found[1].split()]
    return [target for target in named if target not in TARGETS]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_document_names_only_what_exists(document: Path) -> None:
    text = document.read_text()
    assert missing_paths(text) == []
    assert missing_links(text, document.parent) == []
    assert missing_targets(text) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("open `core/rules.py`, then `server/registrar_server/storage/bulk`", []),
        ("open `core/missing.py`", ["core/missing.py"]),
        ("`docs/domain.md:`, `docs/missing.md`.", ["docs/missing.md"]),
        ("`Makefile`, `hatch_build.py` and\n`hatch_missing.py`", ["hatch_missing.py"]),
        ("`tests/*/test_*.py` but no `tests/*/missing_*.py`", ["tests/*/missing_*.py"]),
        ("`migrations/versions/<new>.py`, `migrations/missing/<new>.py`", ["migrations/missing/<new>.py"]),
        ("```sh\ncat > made.py <<'END'\npython3 made.py other.py\n```\n`made.py`", ["other.py"]),
        ("```sh\npytest tests/core tests/missing  # `tests/absent`\n```\n", ["tests/missing", "tests/absent"]),
        ("`registrar.v1.CourseService/CreateCourse`, `Reason.COURSE_FULL`, `a/b`, `registrar.db`, core/missing.py", []),
    ],
)
def test_a_path_that_does_not_exist_is_found(text: str, missing: list[str]) -> None:
    assert missing_paths(text) == missing


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ('`make test ARGS="-k word"`, `make`, and prose: make sure', []),
        ("`make tests`", ["tests"]),
        ("```sh\nmake lint tidy  # make clear\nA=1 make runs\ncd docs && make run\n```\n", ["tidy", "runs"]),
    ],
)
def test_a_target_that_does_not_exist_is_found(text: str, missing: list[str]) -> None:
    assert missing_targets(text) == missing


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "[a](docs/domain.md#rules) [b](https://example.org) [c](docs/missing.md#rules) [d](#here)"
    assert missing_links(text, ROOT) == ["docs/missing.md#rules"]
    assert missing_links(text, ROOT / "docs") == ["docs/domain.md#rules", "docs/missing.md#rules"]
