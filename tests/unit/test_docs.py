"""The documents name what exists: every test in docs/safety.md is there, every local link leads somewhere."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SAFETY = ROOT / "docs" / "safety.md"
DOCUMENTS = [
    p
    for p in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
    if p.exists()
]
_TEST = re.compile(r"tests/[\w/]+\.py(?:::\w+)*")


@cache
def functions(path: Path) -> set[str]:
    """Names of the test functions of a file, `Class::function` too."""
    found = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
    return found


def named() -> list[str]:
    return sorted(set(_TEST.findall(SAFETY.read_text())))


@pytest.mark.parametrize("name", named())
def test_named_tests_exist(name: str) -> None:
    file, _, function = name.partition("::")
    assert (ROOT / file).is_file(), f"{file} is named in docs/safety.md and is not there"
    if function:
        assert function in functions(ROOT / file), (
            f"{name} is named in docs/safety.md and is not there"
        )


def test_every_requirement_has_a_row() -> None:
    """S1 to S42 and F1 to F26 each have one row that names a test, or says to which later part it belongs."""
    text = SAFETY.read_text()
    wanted = [f"S{n}" for n in range(1, 43)] + [f"F{n}" for n in range(1, 27)]
    rows = dict(re.findall(r"^\| ([SF]\d+) \|[^|]+\| (.*) \|$", text, re.MULTILINE))
    assert [*rows] == wanted
    assert len(rows) == len(re.findall(r"^\| [SF]\d+ \|", text, re.MULTILINE)), "a row twice"
    for number, shown in rows.items():
        assert _TEST.search(shown) or shown.startswith("later: "), f"{number}: {shown}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_local_links_lead_somewhere(path: Path) -> None:
    broken = [
        target
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
        if "://" not in target
        and not target.startswith("mailto:")
        and not (path.parent / target).exists()
    ]
    assert not broken
