"""The command `dcp` as a real process: messages, exit statuses, what goes where."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, wait_for

NOTEBOOK = "教程-研究功能介绍.ipynb"


def test_help_and_version(dcp: Any) -> None:
    page = dcp("--help").ok()
    assert "Usage:  dcp [OPTIONS] SRC... DEST" in page.out and not page.err
    assert dcp("--version").ok().out.startswith("dcp ")


def test_bad_lines(dcp: Any) -> None:
    done = dcp("-z", "a", "b")
    assert (done.code, done.out) == (125, "")
    assert "unknown shorthand flag: 'z' in -z" in done.err
    done = dcp("only")
    assert done.code == 1 and "requires 2 arguments" in done.err
    for line, said in (
        (("--no-clobber", "--backup", "c:/x", "."), "--no-clobber and --backup"),
        (("--keep-links", "--skip-bad-links", "c:/x", "."), "--keep-links and --skip-bad-links"),
        (("--checksum", "c:/x", "."), "--update"),
    ):
        done = dcp(*line)
        assert done.code == 1 and said in done.err
    done = dcp("--json", "only")
    assert done.json()["code"] == "usage" and done.json()["ok"] is False


def test_no_engine(dcp: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    for line in (("f", "c:/"), ("c:/f", "."), ("c:/f", "-")):
        done = dcp("-H", f"unix://{tmp_path}/none.sock", *line)
        assert done.code == 7 and not done.out
        assert "Cannot connect to the Docker daemon" in done.err
    done = dcp("--json", "-H", f"unix://{tmp_path}/none.sock", "c:/f", ".")
    assert (done.code, done.json()["code"]) == (7, "unreachable")
    assert sorted(os.listdir(tmp_path)) == ["f"]


def test_output_is_not_plain_error(dcp: Any, tmp_path: Path) -> None:
    done = dcp("a", "b")
    assert done.code == 1 and "must specify at least one container source" in done.err
    assert "Traceback" not in done.err


def test_no_container(docker: Any, dcp: Any, tmp_path: Path) -> None:
    done = dcp("no-such-container-here:/f", ".")
    assert done.code == 1
    assert "No such container: no-such-container-here" in done.err
    assert not os.listdir(tmp_path)


def test_there_and_back(container: Any, docker: Any, dcp: Any, tmp_path: Path) -> None:
    name = container()
    (tmp_path / NOTEBOOK).write_text('{"cells": []}')
    done = dcp(NOTEBOOK, f"{name}:/tmp/").ok()
    assert not done.out and not done.err  # as docker cp where stdout is no terminal (R80)
    assert docker.read(name, f"/tmp/{NOTEBOOK}") == b'{"cells": []}'
    (tmp_path / "back").mkdir()
    done = dcp("-q=false", f"{name}:/tmp/{NOTEBOOK}", "back").ok()
    assert (tmp_path / "back" / NOTEBOOK).read_text() == '{"cells": []}'
    assert "Successfully copied 13 B to back" in done.err and not done.out


def test_json_report(container: Any, docker: Any, dcp: Any, tmp_path: Path) -> None:
    name = container()
    docker.sh(name, "mkdir /d && echo hello > /d/f")
    report = dcp("--json", f"{name}:/d", "new").ok().json()
    assert report["ok"] is True and report["direction"] == "pull"
    assert (report["files"], report["bytes"]) == (1, 6)
    report = dcp("--json", f"{name}:/nothing", "other").json()
    assert report["ok"] is False and report["code"] == "no-such-path"


def test_plan(container: Any, docker: Any, dcp: Any, tmp_path: Path) -> None:
    name = container()
    docker.sh(name, "echo hello > /f")
    said = dcp("--plan", f"{name}:/f", ".").ok()
    assert f"{name}:/f -> " in said.out and "will be created" in said.out
    plan = dcp("--plan", "--json", f"{name}:/f", ".").ok().json()
    assert plan["direction"] == "pull" and plan["steps"][0]["action"] == "create"
    assert not os.listdir(tmp_path)
    assert dcp("--plan", f"{name}:/nothing", ".").code == 1


def test_plan_is_refused_as_the_copy_is(
    container: Any, docker: Any, dcp: Any, tmp_path: Path
) -> None:
    """What the copy would be refused with, `--plan` is refused with, in the same words."""
    name = container()
    docker.sh(name, "mkdir -p /d/f /d/sub; echo x > /d/g; ln -s sub /d/link")
    (tmp_path / "f").write_text("x")
    (tmp_path / "dir").mkdir()
    for line in (
        ("f", f"{name}:/no/such/x"),
        ("dir", f"{name}:/no/such/x"),
        ("f", f"{name}:/d/g/x"),
        ("f", f"{name}:/d/new/"),
        ("dir", f"{name}:/d/g"),
        (f"{name}:/d/g", "no/such/x"),
        (f"{name}:/d/none", "-"),
        ("--parents", "-", f"{name}:/d"),
        ("-", f"{name}:/d/none"),
        ("-", "no-such-container-here:/d"),
    ):
        planned, done = dcp("--plan", *line), dcp(*line, stdin=b"")
        assert planned.code == done.code == 1, line
        assert planned.err.split("\n")[0] == done.err.split("\n")[0]
    refused = dcp("--plan", "--json", "f", f"{name}:/d")
    assert refused.code == 1 and refused.json()["ok"] is False
    assert refused.json()["steps"][0]["notes"][0]["code"] == "conflict"
    for line in (("f", f"{name}:/d/link/x"), ("f", f"{name}:/d/x"), ("-", f"{name}:/d")):
        assert dcp("--plan", "--json", *line).ok().json()["ok"] is True
    assert "hint" not in dcp("f", f"{name}:/no/such/x").err
    assert "--parents" in dcp("f", f"{name}:/no/such/x").err


def test_mounts_in_memory_are_named(container: Any, docker: Any, dcp: Any, tmp_path: Path) -> None:
    """What an archive of the whole cannot hold is said, never left out in silence (O07)."""
    name = container("running", "--tmpfs", "/w/tmp")
    docker.sh(name, "mkdir -p /w/tmp/sub; echo x > /w/tmp/sub/f; echo y > /w/g")
    out = dcp(f"{name}:/w", "-").ok()
    assert "/w/tmp: is mounted in memory" in out.err
    done = dcp("--json", f"{name}:/w", f"{container()}:/w")
    assert done.code == 1
    (note,) = done.json()["failed"]
    assert (note["path"], note["code"]) == ("tmp", "hidden")
    dcp(f"{name}:/w", "here").ok()
    assert (tmp_path / "here" / "tmp" / "sub" / "f").read_text() == "x\n"
    (tmp_path / "f").write_text("x")
    said = dcp("f", f"{name}:/w/tmp/none/x").err
    assert f"Could not find the file /w/tmp/none in container {name}" in said


def test_errors_name_the_volume(volume: Any, dcp: Any, volcopy: Any, tmp_path: Path) -> None:
    """The helper through which a volume is reached is nobody's business."""
    name = volume()
    (tmp_path / "f").write_text("x")
    for done in (
        dcp(f"volume={name}:/none/x", "."),
        dcp("f", f"volume={name}:/none/x"),
        dcp("--plan", "f", f"volume={name}:/none/x"),
        volcopy("ls", f"volume={name}:/none/x"),
    ):
        assert done.code == 1
        assert " /none" in done.err and f"in volume {name}" in done.err
        assert "helper" not in done.err and "/volume" not in done.err


def test_odd_surroundings(container: Any, tmp_path: Path) -> None:
    """Closed or full outputs and a working directory that is gone: a sentence, no traceback."""
    name = container("created")
    program = f"{sys.executable} -m jupyter_volcopy.cli.dcp"
    for line, code, said in (
        (f"{program} --json {name}:/etc/passwd f >/dev/full", 1, "write standard output"),
        (f"{program} --json {name}:/etc/passwd f >&-", 1, "write standard output"),
        (f"{program} --json nothing >/dev/full 2>/dev/full", 1, ""),
        (f"{program} {name}:/etc/passwd f <&- >&- 2>&-", 0, ""),
        (f"mkdir d; cd d; rmdir ../d; {program} {name}:/etc/passwd f", 1, "directory is gone"),
    ):
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert said in done.stderr


def test_internal_error_is_said_in_words(
    dcp: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault of ours is no traceback either, unless VOLCOPY_DEBUG asks for it."""
    from jupyter_volcopy.cli import dcp as command
    from jupyter_volcopy.cli import volcopy

    class Broken(str):
        def partition(self, *_: Any) -> Any:
            raise RuntimeError("out of\nnothing")

        def startswith(self, *_: Any) -> bool:
            raise RuntimeError("out of\nnothing")

    for main, line in ((command.main, [Broken("c:/x"), "y"]), (volcopy.main, [Broken("ps")])):
        monkeypatch.delenv("VOLCOPY_DEBUG", raising=False)
        assert main(line) == 1
        said = capsys.readouterr().err
        assert "internal error: RuntimeError: out of nothing\n" in said
        assert "VOLCOPY_DEBUG=1" in said and "Traceback" not in said
        monkeypatch.setenv("VOLCOPY_DEBUG", "1")
        assert main(line) == 1
        assert "Traceback" in capsys.readouterr().err


def test_archive_on_stdout(container: Any, docker: Any, dcp: Any, tmp_path: Path) -> None:
    name = container()
    docker.sh(name, "mkdir /d && echo hello > /d/f")
    done = dcp(f"{name}:/d", "-").ok()
    with tarfile.open(fileobj=io.BytesIO(done.out_bytes)) as archive:
        assert archive.getnames() == ["d", "d/f"]
    other = container()
    dcp("-", f"{other}:/tmp", stdin=done.out_bytes).ok()
    assert docker.read(other, "/tmp/d/f") == b"hello\n"
    assert dcp("--json", f"{name}:/d", "-").code == 1


def test_reader_of_the_archive_goes_away(container: Any, docker: Any, dcp: Any) -> None:
    name = container()
    docker.sh(name, "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null")
    with dcp.start(f"{name}:/big", "-") as process:
        process.stdout.read(10)
        process.stdout.close()
        code = process.wait(timeout=120)
        said = process.stderr.read().decode()
    assert code != 0 and "Traceback" not in said


def test_success_line_on_a_terminal(container: Any, docker: Any, dcp: Any, tmp_path: Path) -> None:
    name = container()
    docker.sh(name, "echo hello > /f")
    for argv, expected in (
        ([f"{name}:/f", "."], "Successfully copied 6 B to ."),
        (["-q", f"{name}:/f", "."], ""),
        ([f"{name}:/missing", "."], "Could not find the file"),
    ):
        ours, theirs = pty.openpty()
        with dcp.start(*argv, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            said = b""
            while True:
                try:
                    piece = os.read(ours, 4096)
                except OSError:  # how Linux says that the other side is closed
                    break
                if not piece:
                    break
                said += piece
            process.wait(timeout=120)
        os.close(ours)
        text = said.decode()
        assert expected in text if expected else not text
        assert "Successfully" in text if expected.startswith("S") else "Successfully" not in text


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals(
    container: Any, docker: Any, dcp: Any, tmp_path: Path, number: int, status: int
) -> None:
    """A push that waits for its standard input is where a signal surely finds it at work."""
    name = container()
    with dcp.start("-", f"{name}:/tmp", stdin=subprocess.PIPE) as process:
        # it handles the signal once it has a handler: bit of SigCgt in /proc/PID/status
        wait_for(lambda: _handles(process.pid, number), "the handler")
        process.send_signal(number)
        code = process.wait(timeout=60)
        said = process.stderr.read().decode()
        process.stdin.close()
    assert code == status, said
    assert "cancelled" in said and "Traceback" not in said


def _handles(pid: int, number: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1) and _threads(pid) > 1
    return False


def _threads(pid: int) -> int:
    """The copy's own thread is started after the handlers are set."""
    return len(os.listdir(f"/proc/{pid}/task"))


def test_a_short_start() -> None:
    """Nothing heavy is imported by a command line over a unix socket."""
    heavy = [
        "docker",
        "requests",
        "argparse",
        "json",
        "tarfile",
        "http.client",
        "IPython",
        "pathlib",
    ]
    program = (
        "import sys; from jupyter_volcopy.cli.dcp import main; "
        "main(['-H', 'unix:///nowhere.sock', 'c:/x', '.']); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _PATHS + program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


_PATHS = f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r}); "


def test_an_interrupt_at_the_very_end_is_no_fault() -> None:
    """When all is done but the way out, there is nothing to be said."""
    code = (
        "import jupyter_volcopy.cli.dcp as dcp\n"
        "def main():\n    raise KeyboardInterrupt\n"
        "dcp.main = main\ndcp.command()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")
