"""Who may import whom (docs/design.md, section 4): read from the sources, imports for types included.

Within the core a module imports lower layers and its own; doors may not import one another. A new module
without a row in the table fails: it needs a place first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "jupyter_volcopy"

# Pattern of the module's name below the package -> its layer. The first that matches counts.
LAYERS: list[tuple[int, str]] = [
    (level, pattern)
    for level, patterns in {
        0: "errors _version core.paths core.control core.model core.options core.record core.json_text core.report core.kernel",
        1: "core.endpoint core.tar core.tar_* core.localfs core.stage core.stage_* core.landing core.content core.compressed core.journal core.spool core.policy",
        2: "core.engine",
        3: """core.http core.http_* core.upload core.answers core.docker_* core.exec_* core.execute core.listing
            core.listing_* core.discovery core.engines core.owners core.patterns core.service_engine core.service_* core.guard core.plan
            core.plan_* core.mounts core.members core.filters core.destination core.sides
            core.direct core.direct_* core.fs_user core.odd_archive core.transport core.here core.reach core.dial* core.dockerfile core.dockerfile_*""",
        4: """core.again core.changed core.single core.followed core.planning core.ancestors core.room core.choice core.pausing
            core.pull core.push core.inventory core.renaming core.transfer core.transfer_* core.removal core.layer core.insight
            core.verify core.volumes core.rescue core.restore core.keep
            core.keep_* core.forecast core.rescue_* core.volume_* core.outgoing core.survey core.ownership""",
        5: "core.copier core",
        6: "core.many core.many_* core.background core.follow",
        7: "config text",
        8: "cli cli.* widget widget_* web.bridge web.streams web.audit web.metrics web.local web.upload web.order web.order_* web.service",
        9: "magic magic_* web.handlers web.handlers_* web.hub_users",
        10: "web web.server web.hub web.* __main__",
    }.items()
    for pattern in patterns.split()
]
# Not in the core: it is small, starts fast, and knows neither notebooks nor servers nor command lines.
FOREIGN = {"tornado", "traitlets", "IPython", "ipywidgets", "argparse"}


def modules() -> dict[str, Path]:
    """Every module of the package by its name below it; the package itself is "" and has no layer."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts and parts[0] != "labextension":
            found[".".join(parts)] = path
    return found


MODULES = modules()


def layer(module: str) -> int | None:
    return next((level for level, pattern in LAYERS if fnmatchcase(module, pattern)), None)


def imported(module: str, path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, wherever in the file it stands."""
    package = ["jupyter_volcopy", *module.split(".")]
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            yield node.lineno, base
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def ours(name: str) -> str | None:
    """The module of ours that an imported name means, or None."""
    if not name.startswith("jupyter_volcopy."):
        return None
    inner = name.removeprefix("jupyter_volcopy.")
    if inner in MODULES:
        return inner
    parent = inner.rpartition(".")[0]
    return parent if parent in MODULES else None


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    mine = layer(module)
    assert mine is not None, f"{module} has no layer: give it a row in LAYERS and in docs/design.md"
    wrong = set()
    for line, name in imported(module, MODULES[module]):
        if module.split(".")[0] in ("core", "errors") and name.split(".")[0] in FOREIGN:
            wrong.add(f"line {line}: {name} does not belong in the core")
        target = ours(name)
        if target is None or target == module:
            continue
        theirs = layer(target)
        if name == "jupyter_volcopy.core" or (
            target == "core" and name != "jupyter_volcopy.core.copier"
        ):
            theirs = 0  # the package core itself holds only its text
        if theirs is not None and theirs > mine:
            wrong.add(f"line {line}: {target} is layer {theirs}, {module} is layer {mine}")
    assert not wrong, "\n".join(sorted(wrong))


def test_core_package_imports_nothing_of_ours() -> None:
    assert not [n for _, n in imported("core", MODULES["core"]) if n.startswith("jupyter_volcopy")]


@pytest.mark.parametrize("module", [m for m in MODULES if m.split(".")[0] == "core"])
def test_size(module: str) -> None:
    """A module above about 600 lines is to be split along its own seams."""
    assert MODULES[module].read_text().count("\n") <= 700
