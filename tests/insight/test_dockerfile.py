"""`VOLUME` lines: our answer beside the configuration of the image the real builder makes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jupyter_volcopy.core.dockerfile import image_report, instructions, keep_flag, read_dockerfile
from jupyter_volcopy.errors import UsageError
from tests.conftest import PREFIX, Docker

Build = Callable[..., "dict[str, Any] | None"]

GOOD = {
    "plain, one": "FROM scratch\nVOLUME /data1\n",
    "plain, several": "FROM scratch\nVOLUME /data1 /data2\t/data3\n",
    "json, one": 'FROM scratch\nVOLUME ["/data1"]\n',
    "json, several": 'FROM scratch\nVOLUME [ "/data1" , "/data 2" ]\n',
    "lower case, indented": "  from scratch\n   volume   /a  \n",
    "not json": "FROM scratch\nVOLUME ['/a', \"/b\"]\n",
    "twice and odd": "FROM scratch\nVOLUME rel /x/../y /z/ /z\nVOLUME /y\n",
    "continued": "FROM scratch\nVOLUME /a \\\n# comment\n   /b \\\n\n  # more\n /c\n",
    "doubled escape": "FROM scratch\nVOLUME /a\\\\\nVOLUME /b \\\n",
    "last line continued": "FROM scratch\nVOLUME /b \\",
    "escape directive": "# escape=`\nFROM scratch\nVOLUME /a `\n  /b /c\\\nVOLUME c:`d\n",
    "directive too late": "# hello\n# escape=`\nFROM scratch\nVOLUME /a \\\n /b\n",
    "variables": (
        "FROM scratch\nENV A=/a B=\n"
        "VOLUME $A ${B:-/dflt} ${A:+/set}$A \\$A '$A' \"${A}/q\" ${N:-/x$A}/y $A-z\n"
    ),
    "json variables": (
        "FROM scratch\nARG X=/arg\nENV Y=$X/env Z=${Y}z\nENV K  a b  c\n"
        'VOLUME ["$X", "$Y", "/z$Z", "/k/$K", " /sp "]\n'
    ),
    "env line sees what was before it": "FROM scratch\nENV A=/o\nENV A=/n B=$A\nVOLUME $B $A\n",
    "env beats arg": "FROM scratch\nARG P=/arg\nENV P=/env\nARG P=/again\nVOLUME $P\n",
    "quoted env": "FROM scratch\nENV A=\"/a b\" B='/c d' C=/e\\ f\nVOLUME $A $B $C\n",
    "global arg": "ARG P=/global\nFROM scratch\nVOLUME /x$P\nARG P\nVOLUME $P\n",
    "stage inherits": (
        "FROM scratch AS one\nENV P=/p\nVOLUME $P/one\nONBUILD VOLUME /trigger\n"
        "FROM scratch AS other\nVOLUME /other\nFROM ONE\nVOLUME $P/two\n"
    ),
    "crlf": "FROM scratch\r\nVOLUME /a \\\r\n  /b\r\n",
    "byte order mark": "\ufeffFROM scratch\nVOLUME /a\n",
    "unset is nothing": "FROM scratch\nARG E\nVOLUME /a$E\n",
    "chinese": "FROM scratch\nVOLUME /数据\n",
}
BAD = {
    "empty list": "FROM scratch\nVOLUME []\n",
    "no argument": "FROM scratch\nVOLUME\n",
    "number in list": 'FROM scratch\nVOLUME ["/a", 3]\n',
    "nothing left": "FROM scratch\nVOLUME $nothing\n",
    "open quote": "FROM scratch\nVOLUME \"/a b'\n",
    "demanded": "FROM scratch\nVOLUME ${U:?not}\n",
    "no from": "VOLUME /a\n",
    "bad brace": "FROM scratch\nVOLUME ${A\n",
}


@pytest.fixture
def build(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """`build(text, *args) -> inspect`, or None where the builder refused."""
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    made: list[str] = []

    def run(text: str, *args: str, tag: str = "") -> dict[str, Any] | None:
        name = f"{PREFIX}-{tag or 'image'}-{os.urandom(3).hex()}"
        done = docker.raw("build", "-q", "-t", name, *args, "-", stdin=text.encode(), timeout=120)
        if done.returncode:
            return None
        made.append(name)
        return {**docker.inspect(name, "image"), "name": name}

    yield run
    for name in reversed(made):
        docker.raw("rmi", name)


def declared(text: str, **options: Any) -> set[str]:
    return {item.path for item in read_dockerfile(text, **options).volumes}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_equal_to_what_is_built(build: Build, text: str) -> None:
    built = build(text)
    assert built is not None
    assert declared(text) == set(built["Config"]["Volumes"])


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_refused_by_both(build: Build, text: str) -> None:
    assert build(text) is None
    with pytest.raises(UsageError):
        read_dockerfile(text)


def test_build_args_and_target(build: Build) -> None:
    text = (
        "ARG WHERE=/w\nFROM scratch AS first\nARG WHERE\nARG OWN=/own\nVOLUME $WHERE $OWN\n"
        "FROM scratch AS second\nVOLUME /second\n"
    )
    for args, options in (
        (("--target", "first"), {"target": "first"}),
        (
            ("--target", "FIRST", "--build-arg", "WHERE=/given", "--build-arg", "OWN=/o"),
            {"target": "FIRST", "build_args": {"WHERE": "/given", "OWN": "/o"}},
        ),
        ((), {}),
    ):
        built = build(text, *args)
        assert built is not None
        assert declared(text, **options) == set(built["Config"]["Volumes"])
    assert declared(text, target="0") == {"/w", "/own"}  # BuildKit takes numbers too
    with pytest.raises(UsageError, match="target"):
        read_dockerfile(text, target="third")


def test_inherited_from_an_image(build: Build) -> None:
    parent = build(
        "FROM scratch\nENV P=/p\nWORKDIR /w\nVOLUME /own\nONBUILD ENV Q=/q\n"
        'ONBUILD VOLUME ["$P/on", "$Q/build"]\n'
    )
    assert parent is not None
    text = f"FROM {parent['name']}\nVOLUME $P/child $Q/child\n"
    child = build(text)
    assert child is not None
    images = {parent["name"]: parent["Config"]}
    report = read_dockerfile(text, lookup=images.get)
    assert {item.path for item in report.volumes} == set(child["Config"]["Volumes"])
    origins = {item.path: item.origin for item in report.volumes}
    assert origins["/own"] == f"image {parent['name']}"
    assert origins["/p/on"] == f"image {parent['name']} (ONBUILD)"
    assert origins["/q/child"] == "line 2"
    assert not report.warnings
    unseen = read_dockerfile(text.replace("$Q", "/q"))
    assert [w.line for w in unseen.warnings if "could not be looked at" in w.message] == [1]
    shown = image_report(parent["name"], parent)
    assert [item.path for item in shown.volumes] == ["/own"]
    assert shown.onbuild == ["/p/on", "/q/build"]


def test_writes_after_volume(build: Build, docker: Docker, image: str) -> None:
    text = (
        f"FROM {image}\nENV D=/d\nRUN mkdir /d /dd && echo a > /d/before\nVOLUME /d\n"
        "RUN echo b > ${D}/after; echo c > /dd/fine\nRUN echo hello\nWORKDIR /d/work\n"
        "RUN echo relative > inside\n"
    )
    assert build(text, tag="writes") is not None
    name = next(
        n
        for n in docker("images", "--format", "{{.Repository}}").split()
        if f"{PREFIX}-writes" in n
    )
    container = f"{PREFIX}-writes"
    docker("create", "--name", container, "--network", "none", name, "true")
    try:
        names = (
            subprocess.run(
                ["tar", "t"],
                input=docker.bytes("export", container),
                capture_output=True,
                check=True,
            )
            .stdout.decode()
            .split()
        )
    finally:
        docker("rm", "-v", container)
    assert "d/before" in names and "dd/fine" in names and "d/work/" in names
    assert "d/after" not in names and "d/work/inside" not in names
    warned = read_dockerfile(text, lookup=lambda _: {}).warnings
    assert [(item.line, item.path) for item in warned] == [(5, "/d"), (8, "/d")]


def test_here_documents_are_not_instructions() -> None:
    text = (
        "FROM scratch\nRUN <<EOF cat\nVOLUME /not\nEOF\nCOPY <<-'A' <<B /x/\n\tVOLUME /no\n\tA\n"
        "VOLUME /nope\nB\nVOLUME /yes\nRUN echo $((1<<2)) <<< word\nVOLUME /more\n"
    )
    found = instructions(text)
    assert [item.keyword for item in found] == ["FROM", "RUN", "COPY", "VOLUME", "RUN", "VOLUME"]
    assert found[2].documents == ("VOLUME /no", "VOLUME /nope")
    assert declared(text) == {"/yes", "/more"}
    with pytest.raises(UsageError, match="heredoc"):
        read_dockerfile("FROM scratch\nRUN <<EOF\nVOLUME /a\n")


def test_newer_modifiers() -> None:
    env = "FROM scratch\nENV A=/foo/bar.tar.gz\nVOLUME "
    for word, path in {
        "/x${A#/foo}": "/x/bar.tar.gz",
        "${A%.*}": "/foo/bar.tar",
        "${A%%.*}": "/foo/bar",
        "/y${A##*/}": "/ybar.tar.gz",
        "${A/o/0}": "/f0o/bar.tar.gz",
        "${A//o/0}": "/f00/bar.tar.gz",
        "${N-/n}": "/n",
        "${A+/set}": "/set",
    }.items():
        assert declared(env + word) == {path}, word


def test_strange_ones_are_named() -> None:
    report = read_dockerfile("FROM scratch\nVOLUME ['/a']\nVOLUME rel\nARG E\nVOLUME /v$E\n")
    assert [item.line for item in report.warnings] == [2, 3, 5]
    assert "double quotes" in report.warnings[0].message
    out = report.to_dict()
    assert out["volumes"][0]["path"] == "[/a]"
    assert any("docker run -v" in line for line in out["keeps"])
    nothing = read_dockerfile("FROM scratch\n").to_dict()
    assert nothing["volumes"] == [] and "gone with the container" in nothing["keeps"][0]


def test_flags_that_the_engine_takes() -> None:
    """Absolute targets, and volume names of two characters at least."""
    assert keep_flag("/data") == "-v data:/data"
    assert keep_flag("/a") == "-v a-data:/a"
    assert keep_flag("work") == "-v work:/work"
    assert keep_flag("/") == "-v data:/"
    assert keep_flag("$HOME/x") == "-v 'HOME-x:$HOME/x'"
