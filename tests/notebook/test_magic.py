"""`%dcp` and `%volcopy`: splitting and variables without an engine, the rest in a real kernel."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.errors import UsageError
from jupyter_volcopy.magic import split
from tests.conftest import wait_for
from tests.notebook.kernel import Kernel, running_kernel

NOTEBOOK = "教程-研究功能介绍.ipynb"
ROOT = Path(__file__).resolve().parents[2]

NO_JEDI = "%config IPCompleter.use_jedi = False"
"""It takes seconds for each line, and completes no line magic."""

NAMES: dict[str, Any] = {
    "name": "my file.txt",
    "files": ["a b", "c"],
    "table": {"x y": "v w"},
    "place": pathlib.Path("/tmp/q r"),
    "n": 7,
    "quote": 'it\'s "q" $HOME',
}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a lab:/x", ["a", "lab:/x"]),
        ("'a b' \"c d\" e\\ f", ["a b", "c d", "e f"]),
        ("$name lab:/x/", ["my file.txt", "lab:/x/"]),
        ('"$name" b', ["my file.txt", "b"]),
        ("'$name' b", ["$name", "b"]),
        ("lab:/{name} 'a {name}'", ["lab:/my file.txt", "a my file.txt"]),
        ("{files} dest/", ["a b", "c", "dest/"]),
        ('{table["x y"]}:/a b', ["v w:/a", "b"]),
        ("$place.parent/z c", ["/tmp/z", "c"]),
        ("$name.ipynb d", ["my file.txt.ipynb", "d"]),
        ("{n + 1} {n!r}", ["8", "7"]),
        ("{quote} x", ['it\'s "q" $HOME', "x"]),
        ("$$name {{x}} {undefined} $nope", ["$name", "{x}", "{undefined}", "$nope"]),
        ("--exclude='*.pyc' #x", ["--exclude=*.pyc", "#x"]),
        ("", []),
    ],
)
def test_split(line: str, words: list[str]) -> None:
    assert split(line, NAMES) == words


def test_open_quote() -> None:
    with pytest.raises(UsageError):
        split("'a b", {})


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Callable[[], Kernel]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running_kernel(tmp_path))


def _error(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return next(item for item in outputs if item["type"] == "error")


def _result(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The value of the cell; a copy that takes longer shows its progress before."""
    return next(item for item in outputs if item["type"] == "execute_result")


def _text(outputs: list[dict[str, Any]]) -> str:
    return "".join(item["text"] for item in outputs if item["type"] == "stream")


def test_copies(container: Any, docker: Any, kernel: Any, tmp_path: Path) -> None:
    name = container()
    docker.write(name, f"/{NOTEBOOK}", b'{"cells": []}')
    run = kernel()
    work = tmp_path / "work"
    (work / "my file.txt").write_text("hello")
    run.run(f"lab = {name!r}; mine = 'my file.txt'")

    result = _result(run.run(f"%dcp $lab:/{NOTEBOOK} ."))
    assert "volcopy-report" in result["data"]["text/html"]
    assert "Successfully copied 13 B to ." in result["data"]["text/plain"]
    assert (work / NOTEBOOK).read_text() == '{"cells": []}'

    run.run("report = %dcp {mine} {lab}:/tmp/")
    assert docker.read(name, "/tmp/my file.txt") == b"hello"
    assert _text(run.run("print(report.ok, report.files, report.bytes)")) == "True 1 5\n"
    plan = _result(run.run("%dcp --plan {mine} {lab}:/tmp/"))
    assert "will be replaced" in plan["data"]["text/plain"]
    assert "<pre>" in plan["data"]["text/html"]
    assert "Usage:" in _text(run.run("%dcp --help"))
    assert '"ok": true' in _text(run.run("%dcp --json {mine} {lab}:/tmp/"))


def test_faults_have_no_traceback(container: Any, kernel: Any) -> None:
    name = container()
    run = kernel()
    for line, kind, message in (
        ("%dcp only", "UsageError", "requires 2 arguments"),
        ("%dcp -z a b", "BadOption", "unknown shorthand flag: 'z' in -z"),
        ("%dcp 'a b", "UsageError", "quotation"),
        ("%dcp no-such-container-here:/x .", "NoSuchContainer", "No such container"),
        (f"%dcp {name}:/nowhere .", "NoSuchPath", "Could not find the file"),
        (f"%dcp {name}:/etc -", "UsageError", "no standard output"),
        ("%volcopy nonsense", "UsageError", "no command"),
        ("%volcopy ls --zzz x:/", "BadOption", "--zzz"),
    ):
        error = _error(run.run(line))
        assert error["ename"] == kind and message in error["evalue"]
        shown = "\n".join(error["traceback"])
        assert message in shown and "Traceback" not in shown and "File " not in shown
    assert _text(run.run("print(6 * 7)")) == "42\n"


def test_volcopy(container: Any, docker: Any, kernel: Any) -> None:
    name = container()
    docker.sh(name, "mkdir /d && touch '/d/x y'")
    run = kernel()
    assert name in _text(run.run("%volcopy ps"))
    run.run("where = '/d'")
    assert "x y" in _text(run.run(f"%volcopy ls {name}:$where"))
    assert "Commands" in _text(run.run("%volcopy"))


def test_names_cannot_become_html(container: Any, docker: Any, kernel: Any) -> None:
    name = container()
    evil = "<img src=x onerror=alert(1)>"
    docker.sh(name, f"mkdir '/{evil}' && touch '/{evil}/{evil}'")
    result = _result(kernel().run(f"%dcp '{name}:/{evil}' ."))
    assert "<img" not in result["data"]["text/html"]
    assert "&lt;img" in result["data"]["text/html"]


def test_completion(container: Any, docker: Any, kernel: Any, tmp_path: Path) -> None:
    name = container()
    docker.sh(name, "mkdir -p '/data/sub dir' && touch /data/some.csv")
    run = kernel()
    (tmp_path / "work" / "mine.csv").touch()
    run.run("from jupyter_volcopy.cli import completion; completion._PATIENCE = 60.0")
    run.run(NO_JEDI)
    assert f"%dcp {name}:" in run.complete(f"%dcp {name[:-2]}")
    assert f"%dcp {name}:/data/" in run.complete(f"%dcp {name}:/da")
    assert f"%dcp {name}:/data/some.csv" in run.complete(f"%dcp {name}:/data/so")
    assert f"%dcp {name}:/data/sub\\ dir/" in run.complete(f"%dcp {name}:/data/su")
    assert "%dcp -a mine.csv" in run.complete("%dcp -a mi")
    assert "%dcp --exclude-from=" in run.complete("%dcp --exclude-f")
    assert f"%volcopy ls {name}:/data/" in run.complete(f"%volcopy ls {name}:/da")
    run.run(NO_JEDI.replace("False", "True"))
    assert "%dcp --exclude-from=" in run.complete("%dcp --exclude-f")


def test_unload(kernel: Any) -> None:
    run = kernel()
    run.run(NO_JEDI)
    run.run("%unload_ext jupyter_volcopy")
    assert "not found" in str(run.run("%dcp --version"))
    assert not [line for line in run.complete("%dcp --exclude-f") if "exclude-from" in line]
    run.run("%load_ext jupyter_volcopy")
    assert "dcp" in _text(run.run("%dcp --version"))


def test_interrupt_cancels_and_the_kernel_lives(
    container: Any, docker: Any, kernel: Any, tmp_path: Path
) -> None:
    """The source is a large sparse file: its copy would take very long."""
    name = container()
    room = os.statvfs(tmp_path)
    size = min(40 << 30, room.f_bavail * room.f_frsize // 2)
    docker.sh(name, f"truncate -s {size} /endless")
    run = kernel()
    work = tmp_path / "work"
    (work / "endless").write_text("old")
    identifier = run.client.execute(f"%dcp --access api {name}:/endless .")
    wait_for(lambda: _staged(work), "the transfer to begin", timeout=120)
    run.manager.interrupt_kernel()

    def error() -> Any:
        while True:
            message = run.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") == identifier:
                if message["msg_type"] == "error":
                    return message["content"]
                assert message["content"].get("execution_state") != "idle", "no error came"

    assert error()["ename"] == "TransferCancelled"
    assert (work / "endless").read_text() == "old"
    assert sorted(os.listdir(work)) == ["endless"]
    # a request that reaches the kernel while it still ends the failed cell is answered "aborted"
    wait_for(lambda: _text(run.run("print(6 * 7)")) == "42\n", "the kernel to answer")
    assert docker.sh(name, "echo alive") == "alive"


def _staged(directory: Path) -> bool:
    return any(item.name != "endless" for item in directory.iterdir())


def test_a_notebook_is_executed(
    container: Any, docker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    name = container()
    docker.sh(name, "mkdir -p /home/70002111")
    docker.write(name, f"/home/70002111/{NOTEBOOK}", b"{}")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cells = [
        "%load_ext jupyter_volcopy",
        f"%dcp {name}:/home/70002111/{NOTEBOOK} .",
        f"%dcp Dockerfile {name}:/home/70002111/",
        f"%volcopy ls {name}:/home/70002111",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert (tmp_path / NOTEBOOK).read_bytes() == b"{}"
    assert docker.read(name, "/home/70002111/Dockerfile") == b"FROM scratch\n"
    listing = "".join(output.text for output in book.cells[3].outputs)
    assert NOTEBOOK in listing and "Dockerfile" in listing
