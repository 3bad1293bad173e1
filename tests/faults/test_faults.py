"""Everything an engine can do wrong, at every step of every action (safety F3, F9, F10, F16, F23).

One table: faults of the engine double x what is asked for. The promise is the same in every row:
what was there before is whole or what is there now is whole, the error is a sentence, nothing of
ours is left after `volcopy clean`, and the same command again, with a sound engine, finishes it.
"""

from __future__ import annotations

import gzip
import io
import os
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jupyter_volcopy.cli import dcp, volcopy
from tests.conftest import command_line, wait_for
from tests.faults.actions import ACTIONS, LIST, NEW, Action, Ground
from tests.faults.double import EngineDouble, Fault

FAILURES = (1, 5, 6, 7)


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        name: of the row.
        step: which call is hit.
        fault: how.
        promise: `fails`, `works`, or `whole` (either, but never torn and never a false 0).
        says: one of these is in the message of what fails; empty: any sentence.
        idle: the limit of waiting is set so low, since silence is the fault.
    """

    name: str
    step: str
    fault: Fault
    promise: str = "fails"
    says: tuple[str, ...] = ()
    idle: bool = False


def get_helps(step: str) -> str:
    """A refused HEAD has no text: it is asked again by GET, which may well work."""
    return "whole" if step == "head" else "fails"


EOF, STALL = ("unexpected EOF", "closed the connection"), ("nothing came from the engine",)
ROWS = [
    *(
        row
        for step in ("inspect", "head", "get", "put")
        for row in (
            Row(
                "500",
                step,
                Fault(status=500, text="the disk is on fire"),
                get_helps(step),
                ("on fire",),
            ),
            Row("503 without a text", step, Fault(status=503), get_helps(step)),
            Row("garbage", step, Fault(raw=b"SSH-2.0-OpenSSH_9.2\r\n"), says=("garbage",)),
            Row(
                "not JSON",
                step,
                Fault(raw=b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\n<ht>"),
                get_helps(step),
            ),
            Row("closed", step, Fault(head_cut=0), says=EOF),
            Row("cut within the head", step, Fault(head_cut=40), says=EOF),
            Row("silent", step, Fault(silent=True), says=STALL, idle=True),
        )
    ),
    Row("cut at the start", "get", Fault(cut_at=0), says=EOF),
    Row("cut in a header", "get", Fault(cut_at=300), says=EOF),
    Row("cut in a file", "get", Fault(cut_at=150_000), says=EOF),
    Row("clean end at the start", "get", Fault(cut_at=0, clean=True), says=EOF),
    Row("clean end in a header", "get", Fault(cut_at=300, clean=True), says=EOF),
    Row("clean end after a header", "get", Fault(cut_at=512, clean=True), says=EOF),
    Row("clean end in a file", "get", Fault(cut_at=150_000, clean=True), says=EOF),
    Row("stalls at the start", "get", Fault(stall_at=0), says=STALL, idle=True),
    Row("stalls in a file", "get", Fault(stall_at=150_000), says=STALL, idle=True),
    Row("drips", "get", Fault(drip=(20_000, 0.005)), promise="works"),
    Row("announces more than it has", "get", Fault(length=1 << 30), says=EOF),
    Row("announces less than it has", "get", Fault(length=100_000), says=EOF),
    Row("a page of HTML", "get", Fault(raw=b"HTTP/1.0 200 OK\r\n\r\n<html>" + b" " * 2000)),
    Row("takes nothing of the upload", "put", Fault(accept=0), says=()),
    Row("takes a header of the upload", "put", Fault(accept=600)),
    Row("takes half of the upload", "put", Fault(accept=200_000)),
    Row(
        "refuses in the middle",
        "put",
        Fault(accept=150_000, status=500, text="no space left on device"),
        says=("no space",),
    ),
    Row("did it but says 500", "put", Fault(status=500, text="unexpected EOF"), says=EOF),
    Row(
        "says 200 to what it cannot do",
        "put",
        Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ),
    Row("once, at a kept connection", "head", Fault(head_cut=0, times=1), promise="whole"),
    Row("once", "get", Fault(status=500, text="a hiccup", times=1), promise="whole"),
    Row(
        "JSON of another shape",
        "inspect",
        Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"),
    ),
    Row("JSON without an end", "inspect", Fault(cut_at=40)),
    Row("stalls in the JSON", "inspect", Fault(stall_at=40), says=STALL, idle=True),
]
TABLE = [
    pytest.param(action, row, id=f"{action.name}-{row.step}: {row.name}")
    for action in (*ACTIONS, LIST)
    for row in ROWS
    if row.step in action.steps
]


@pytest.fixture
def ground(
    double: EngineDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    """The double and an empty directory, the current one; commands run in this process."""
    for key, value in double.env.items():
        monkeypatch.setenv(key, value)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield Ground(here, double)


def command(action: Action) -> int:
    if action is LIST:
        return volcopy.main(list(action.argv))
    return dcp.main(list(action.argv))


@pytest.mark.parametrize(("action", "row"), TABLE)
def test_promise(
    action: Action,
    row: Row,
    ground: Ground,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    double = ground.double
    action.lay(ground)
    double.faults[row.step] = replace(row.fault)
    if row.idle:
        monkeypatch.setenv("VOLCOPY_IDLE_TIMEOUT", "0.3")
        monkeypatch.setenv("VOLCOPY_ANSWER_TIMEOUT", "0.3")
    code = command(action)
    said = capsys.readouterr()
    text = said.err + said.out
    assert "Traceback" not in text
    if row.promise == "fails":
        assert code in FAILURES, text
        assert said.err.startswith(("dcp: ", "volcopy: ")), said.err
        assert len(said.err) < 1000, "that is no sentence any more"
        assert not row.says or any(part in said.err for part in row.says), said.err
    if row.promise == "works" or code == 0:
        assert code == 0, text
        assert action.state(ground) == "new" or action is LIST
    if action.name.startswith("pull") and code:
        assert action.state(ground) == "old", "a failed pull changed the destination"
    action.state(ground)
    # a sound engine again: nothing of ours stays, and the same command finishes it
    double.faults.clear()
    monkeypatch.delenv("VOLCOPY_IDLE_TIMEOUT", raising=False)
    monkeypatch.delenv("VOLCOPY_ANSWER_TIMEOUT", raising=False)
    assert volcopy.main(["clean"]) == 0, capsys.readouterr()
    assert ground.hidden() == []
    assert command(action) == 0, capsys.readouterr()
    assert action.state(ground) == "new" or action is LIST
    assert ground.hidden() == []
    wait_for(lambda: not double.open_streams, "streams to be closed")


def archive() -> bytes:
    """Forty blocks: directories, small files, a longer one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        top = tarfile.TarInfo("src")
        top.type, top.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(top)
        for name, size in (("a", 0), ("b", 512), ("c", 1300), ("d", 9000), ("e", 1)):
            info = tarfile.TarInfo(f"src/{name}")
            info.size = size
            tar.addfile(info, io.BytesIO(b"N" * size))
    return out.getvalue()[: 40 * 512]


@pytest.mark.parametrize("clean", [True, False], ids=["clean end", "broken"])
def test_cut_at_every_block(
    clean: bool, ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cut stream is an error wherever it is cut, even with a clean end of HTTP (F3, F10)."""
    double = ground.double
    data = archive()
    double.mkdir("/src")
    double.archives["/src"] = data
    end = data.rindex(b"N") // 512 * 512 + 512 + 1024  # the last content, then two zero blocks
    assert data[end - 1024 : end] == bytes(1024)
    for at in range(0, end, 512):
        for offset in (at, at + 37):
            double.faults["get"] = Fault(cut_at=offset, clean=clean)
            assert dcp.main(["double:/src", "dst"]) == 1, f"cut at {offset} of {end}"
            assert os.listdir(ground.here) == [], f"cut at {offset}"
    assert "unexpected EOF" in capsys.readouterr().err
    double.faults.clear()
    assert dcp.main(["double:/src", "dst"]) == 0
    assert (ground.here / "dst" / "d").read_bytes() == b"N" * 9000


def test_the_file_that_was_cut_is_named(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.double.mkdir("/src")
    ground.double.archives["/src"] = archive()
    ground.double.faults["get"] = Fault(cut_at=10 * 512 + 100)
    assert dcp.main(["double:/src", "dst"]) == 1
    assert "src/d" in capsys.readouterr().err


@pytest.mark.parametrize("tree", [False, True], ids=["file", "tree"])
def test_upload_cut_anywhere(
    tree: bool, ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """A push is whole or not there, wherever the engine stops taking it (F7, F10)."""
    action = next(a for a in ACTIONS if a.name == ("push a tree" if tree else "push a file"))
    total = 310_000
    for at in [*range(0, 6000, 512), *range(6000, total, 23_111)]:
        action.lay(ground)
        ground.double.faults["put"] = Fault(accept=at, times=1)
        assert dcp.main(list(action.argv)) == 1, f"taken: {at}"
        action.state(ground)
        assert ground.hidden() == [], f"taken: {at}"
        ground.double.bodies.clear()


def test_nothing_is_pushed_twice(ground: Ground) -> None:
    """What the engine may have done already is not asked for again by itself (F23)."""
    action = next(a for a in ACTIONS if a.name == "push a file")
    action.lay(ground)
    ground.double.faults["put"] = Fault(head_cut=0, times=1)
    assert dcp.main(list(action.argv)) == 1
    content = [body for body in ground.double.bodies if NEW[:100] in body]
    assert len(content) == 1
    assert action.state(ground) in ("old", "new")


@pytest.mark.parametrize("way", ["pull", "push", "copy"])
def test_engine_goes_in_the_middle(
    way: str, ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine dies and its socket with it: a sentence, the old file (F9)."""
    action = next(a for a in ACTIONS if a.name == f"{way} a file")
    action.lay(ground)
    double = ground.double
    if way == "pull":

        def pieces() -> Iterator[bytes]:
            yield double._packed("/src", "src")[:100_000]
            double._listener.shutdown(socket.SHUT_RDWR)  # else its thread waits on
            double._listener.close()
            Path(double.path).unlink()
            for sock in list(double._sockets):
                sock.shutdown(socket.SHUT_RDWR)

        double.archives["/src"] = pieces
        code = dcp.main(list(action.argv))
    else:
        double.faults["put"] = Fault(accept=100_000)
        double.faults["any"] = Fault(times=10**6)
        code = dcp.main(list(action.argv))
    assert code in FAILURES
    assert action.state(ground) == "old"
    assert "Traceback" not in capsys.readouterr().err


def test_one_bit_is_noticed(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """`--verify` reads again and compares: a disk or wire that flips a bit is found out (F13)."""
    double = ground.double
    double.put("/src", NEW)
    good = double._packed("/src", "src")
    at = 512 + len(NEW) // 2
    bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    answers = iter([bad, good])
    double.archives["/src"] = lambda: iter([next(answers, good)])
    code = dcp.main(["--verify", "double:/src", "dst"])
    said = capsys.readouterr().err
    assert code in FAILURES, said
    assert "dst" in said or "src" in said
    double.archives.clear()
    assert dcp.main(["--verify", "double:/src", "dst"]) == 0
    assert (ground.here / "dst").read_bytes() == NEW


def test_no_compressed_bytes_reach_the_engine(ground: Ground, dcp: object, tmp_path: Path) -> None:
    """A compressed stream is unpacked here: engines run programs of the container on it (S17)."""
    import bz2
    import lzma

    plain = archive()
    ground.double.mkdir("/out")
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        ground.double.bodies.clear()
        dcp("-", "double:/out", stdin=compress(plain)).ok()  # type: ignore[operator]
        assert ground.double.bodies
        for body in ground.double.bodies:
            assert body[257:262] == b"ustar"
        assert ground.double.read("/out/src/d") == b"N" * 9000
    ground.double.bodies.clear()
    zstd = b"\x28\xb5\x2f\xfd" + bytes(2000)
    assert dcp("-", "double:/out", stdin=zstd).code in FAILURES  # type: ignore[operator]
    assert ground.double.bodies == [], "what nobody here can read was sent on"


def test_limits_of_the_environment(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`VOLCOPY_MAX_ENTRIES` and `VOLCOPY_MAX_BYTES` hold where no option says otherwise (S11)."""
    for n in range(10):
        ground.double.put(f"/src/f{n}", b"x" * 1000)
    monkeypatch.setenv("VOLCOPY_MAX_ENTRIES", "5")
    assert dcp.main(["double:/src", "dst"]) == 1
    assert dcp.main(["--max-entries", "50", "double:/src", "dst"]) == 0
    monkeypatch.setenv("VOLCOPY_MAX_ENTRIES", "50")
    monkeypatch.setenv("VOLCOPY_MAX_BYTES", "5000")
    assert dcp.main(["double:/src", "again"]) == 1
    monkeypatch.setenv("VOLCOPY_MAX_BYTES", "much")
    assert dcp.main(["double:/src", "again"]) == 1
    assert "VOLCOPY_MAX_BYTES" in capsys.readouterr().err
    assert os.listdir(ground.here) == ["dst"]


def test_secrets_stay_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of an address's password, and no key, is in what is said (S31)."""
    (tmp_path / "f").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    key = "-----BEGIN PRIVATE KEY-----\nkey-marker\n-----END PRIVATE KEY-----\n"
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text(key)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    for address, tls in (
        ("tcp://user:token-marker@127.0.0.1:1", ""),
        ("tcp://user:token-marker@127.0.0.1:1", "1"),
        ("http://user:token-marker@127.0.0.1:1", ""),
        ("nonsense://user:token-marker@127.0.0.1:1", ""),
        ("ssh://user:token-marker@127.0.0.1:1", ""),
    ):
        monkeypatch.setenv("DOCKER_HOST", address)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", tls)
        for argv in (["f", "c:/f"], ["--json", "f", "c:/f"]):
            assert dcp.main(argv) != 0
            said = capsys.readouterr()
            assert "marker" not in said.err + said.out, address


def test_many_containers_and_one_call(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten thousand containers are listed by one call, none of them is asked by itself (F20)."""
    one = ground.double._listed()
    many = [
        {**one, "Id": f"{n:064x}", "Names": [f"/jupyter-{n}"], "State": "running"}
        for n in range(10_000)
    ]
    ground.double.listed = many
    assert volcopy.main(["ps", "--json"]) == 0
    assert capsys.readouterr().out.count("jupyter-") >= 10_000
    assert ground.double.count("inspect") == 0


def test_descriptors(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """Many copies, failing ones among them, leave no descriptor open (F18)."""
    pull = next(a for a in ACTIONS if a.name == "pull a tree")
    push = next(a for a in ACTIONS if a.name == "push a tree")
    pull.lay(ground)
    push.lay(ground)

    def held() -> int:
        # the double's own connections are not ours
        wait_for(lambda: not ground.double._sockets, "the connections to end")
        return len(os.listdir("/proc/self/fd"))

    def both() -> None:
        assert dcp.main(list(pull.argv)) == 0
        assert dcp.main(list(push.argv)) == 0
        ground.double.faults.update(get=Fault(cut_at=100_000), put=Fault(accept=700, times=1))
        assert dcp.main(list(pull.argv)) == 1
        assert dcp.main(list(push.argv)) == 1
        ground.double.faults.clear()
        ground.double.bodies.clear()

    both()
    before = held()
    for _ in range(40):
        both()
    # the double closes its ends a moment later; what leaked would stay
    wait_for(lambda: held() <= before + 2, "the descriptors to be closed")


def test_few_descriptors(ground: Ground) -> None:
    """Deep and wide trees go both ways with 64 descriptors (F18)."""
    import subprocess

    for n in range(100):
        ground.double.put(f"/src/{n}/{'d/' * 30}f", b"x" * n)
    limited = f'ulimit -n 64; exec {" ".join(command_line("dcp"))} "$@"'
    for argv in (["double:/src", "dst"], ["dst", "double:/back"]):
        done = subprocess.run(
            ["bash", "-c", limited, "dcp", *argv],
            capture_output=True,
            timeout=120,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2])])},
        )
        assert done.returncode == 0, done.stderr
    assert ground.inside("/back") == ground.inside("/src")
