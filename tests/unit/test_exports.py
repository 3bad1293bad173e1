"""Every public module says what it offers: `__all__` is there, sorted and complete; docstrings are there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "jupyter_volcopy"
PUBLIC = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.name.startswith("_") and "labextension" not in path.relative_to(PACKAGE).parts
}


def exported(tree: ast.Module) -> list[str] | None:
    """The value of `__all__`, read without importing."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            value: list[str] = list(ast.literal_eval(node.value))  # type: ignore[union-attr]
            return value
    return None


def in_order(names: list[str]) -> bool:
    """Sorted plainly, or as ruff sorts: constants, classes, the rest."""
    return names in (
        sorted(names),
        sorted(names, key=lambda n: (0 if n.isupper() else 1 if n[:1].isupper() else 2, n)),
    )


def defined(tree: ast.Module) -> set[str]:
    """Public names made at the top of a module: classes, functions and constants."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("module", PUBLIC)
def test_all_is_complete(module: str) -> None:
    tree = ast.parse(PUBLIC[module].read_bytes())
    names = exported(tree)
    assert names is not None, f"{module} has no __all__"
    assert in_order(names), f"{module}.__all__ is not sorted"
    assert len(set(names)) == len(names)
    made = defined(tree)
    # Constants of a module may stay its own business; classes and functions without _ are offered.
    offered = {
        n.name
        for n in tree.body
        if isinstance(n, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    }
    missing = {name for name in offered if not name.startswith("_")} - set(names)
    assert not missing, (
        f"{module}: {sorted(missing)} are public but not in __all__: add them or name them _"
    )
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.ImportFrom, ast.Import))
        for alias in node.names
    }
    unknown = set(names) - made - imported
    assert not unknown, f"{module}.__all__ names {sorted(unknown)}, which are not there"


@pytest.mark.parametrize("module", PUBLIC)
def test_docstrings(module: str) -> None:
    tree = ast.parse(PUBLIC[module].read_bytes())
    assert ast.get_docstring(tree), f"{module} has no docstring"
    names = exported(tree) or []
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name in names
        and not ast.get_docstring(node)
    ]
    assert not bare, f"{module}: {bare} have no docstring"
