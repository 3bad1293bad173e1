"""Hard links and awkward names (cases O11, O12), also under another locale (F26), also hostile ones (S42)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command


@pytest.mark.parametrize("on_volume", [False, True], ids=["layer", "volume"])
def test_O11_hard_links(
    on_volume: bool, docker: Any, container: Any, volume: Any, dcp: Command, tmp_path: Path
) -> None:
    """One inode again on arrival when both are in the set; a full file when only one is."""
    more = ["-v", f"{volume()}:/v"] if on_volume else []
    name = container("running", *more)
    top = "/v/hl" if on_volume else "/hl"
    docker.sh(name, f"mkdir -p {top}/a {top}/b; echo data >{top}/a/f; ln {top}/a/f {top}/b/f")
    (tmp_path / "there").mkdir()
    dcp(f"{name}:{top}", "there").ok()
    dcp(f"{name}:{top}", "new").ok()
    for got in (tmp_path / "there" / "hl", tmp_path / "new"):
        assert (got / "a" / "f").samefile(got / "b" / "f")
        assert (got / "b" / "f").read_text() == "data\n"
    dcp(f"{name}:{top}/b", "alone").ok()
    assert (tmp_path / "alone" / "f").read_text() == "data\n"
    assert (tmp_path / "alone" / "f").stat().st_nlink == 1
    back = "/v/back" if on_volume else "/back"
    dcp("new", f"{name}:{back}").ok()
    one, two = docker.sh(name, f"stat -c %i:%h {back}/a/f {back}/b/f").split()
    assert one == two and one.endswith(":2")
    assert docker.read(name, f"{back}/b/f") == b"data\n"


NAMES = [
    "教程-研究功能介绍.ipynb".encode(),
    b" lead",
    b"-dash",
    b"-rf",
    b"--help",
    b"--checkpoint-action=exec=x",
    b"$(touch x)",
    b"`touch x`",
    b"; touch x;",
    b"a\nb",
    b"tab\there",
    b"\x1b[31mred",
    b"n" * 200,
    b"\xe4 latin",
    "café".encode(),
    "cafe\u0301".encode(),
    b"'quoted' \"twice\"",
    b"back\\slash",
    "\u202egnp.exe".encode(),
    b"<img src=x onerror=alert(1)>",
    b"*",
    b"[x]",
    b"trail ",
    b"...",
    b"\x7f",
]
DEEP = "/".join(f"directory-of-a-long-name-{n:02}" for n in range(30))


def tree(top: bytes) -> dict[bytes, bytes]:
    found = {}
    for where, _, names in os.walk(top):
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, top)] = file.read()
    return found


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("state", ["running", "stopped"])
def test_O12_awkward_names(
    state: str,
    locale: str,
    docker: Any,
    container: Any,
    dcp: Command,
    volcopy: Command,
    tmp_path: Path,
) -> None:
    """There and back, byte for byte, whole and one by one; the listing stays valid JSON."""
    name = container(state)
    env = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    top = os.fsencode(tmp_path / "x")
    os.makedirs(os.path.join(top, DEEP.encode()))
    for n, raw in enumerate([*NAMES, DEEP.encode() + b"/f"]):
        with open(os.path.join(top, raw), "wb") as file:
            file.write(b"%d" % n)
    wanted = tree(top)
    assert len(wanted) == len(NAMES) + 1
    dcp("x", f"{name}:/srv/", env=env).ok()
    dcp(f"{name}:/srv/x", "back", env=env).ok()
    assert tree(os.fsencode(tmp_path / "back")) == wanted
    listed = volcopy("ls", "--json", f"{name}:/srv/x", env=env).ok().json()
    text = json.dumps(listed, ensure_ascii=False)
    assert "\\u001b[" not in text.replace("\\\\", "") and "\u202e" not in text, "not escaped"
    shown = volcopy("ls", f"{name}:/srv/x", env=env).ok().out_bytes
    assert b"\x1b" not in shown and "\u202e".encode() not in shown
    for n, raw in enumerate(NAMES):
        word = os.fsdecode(raw)
        (tmp_path / "one").unlink(missing_ok=True)
        dcp(f"{name}:/srv/x/{word}", "one", env=env).ok()
        assert (tmp_path / "one").read_bytes() == b"%d" % n, raw
    # and one of them onto its own place again, which changes just that one
    (tmp_path / "one").write_bytes(b"changed")
    for raw in (b"-rf", b"$(touch x)", b"\xe4 latin", b"a\nb"):
        dcp("one", f"{name}:/srv/x/{os.fsdecode(raw)}", env=env).ok()
        wanted[raw] = b"changed"
    dcp(f"{name}:/srv/x", "again", env=env).ok()
    assert tree(os.fsencode(tmp_path / "again")) == wanted
    assert not (tmp_path / "x" / "x").exists() and not (tmp_path / "touch").exists()


@pytest.mark.parametrize("raw", [b"-rf", b"$(touch x)", b"--checkpoint-action=exec=x", b"a\nb"])
def test_S42_names_are_no_options(
    raw: bytes, docker: Any, container: Any, dcp: Command, volcopy: Command, tmp_path: Path
) -> None:
    """Where a program in the container does the work: names are arguments, and no options."""
    name = container("running", "--tmpfs", "/m")
    word = os.fsdecode(raw)
    with open(os.path.join(os.fsencode(tmp_path), raw), "wb") as file:
        file.write(b"1")
    docker.write(name, "/m/other", b"other")
    dcp(f"./{word}", f"{name}:/m/").ok()
    assert docker.read(name, f"/m/{word}") == b"1"
    dcp(f"{name}:/m/{word}", "got").ok()
    assert (tmp_path / "got").read_bytes() == b"1"
    volcopy("ls", f"{name}:/m").ok()
    assert docker.read(name, "/m/other") == b"other"
    assert docker.sh(name, "ls -A /m | wc -l").strip() in ("2", "3")
    assert docker.sh(name, "test -e /x && echo yes; true") == ""
