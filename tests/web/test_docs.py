"""The lines of docs/rest.md, run as they stand there; and the commands over the service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from jupyter_volcopy.core.service_engine import open_service
from tests.web.running import ROOT, RunningServer

PAGE = (ROOT / "docs" / "rest.md").read_text()
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


# What the page's container `lab` has.
FILL = "mkdir -p /srv; for i in 1 2 3; do echo $i > /home/f$i; done; seq 500 > /home/report.csv"


@pytest.fixture(scope="module")
def server(things, tmp_path_factory):
    made = RunningServer(
        tmp_path_factory.mktemp("server"),
        allowed_containers=[things, "volcopy-helper-*"],
        allowed_volumes=[things],
    )
    yield made.start()
    made.stop()


def test_every_line_of_the_page(server, things, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("no curl")
    assert len(LINES) > 20
    ident = ""
    for line in LINES:
        mine = line.replace("containers/lab", f"containers/{things}")
        mine = mine.replace("lab:", f"{things}:")
        mine = mine.replace("volumes/data", f"volumes/{things}").replace("=data:", f"={things}:")
        done = subprocess.run(
            [
                "bash",
                "-c",
                'ask() { curl -sS --fail-with-body -H "Authorization: token $TOKEN" "$@"; }\n'
                + mine,
            ],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "API": server.api.rstrip("/"),
                "TOKEN": server.token,
                "ID": ident,
            },
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout!r}\n{done.stderr!r}"
        if done.stdout.startswith(b"{"):
            said = json.loads(done.stdout)
            ident = said.get("id", ident) if "progress" in said else ident
    assert (tmp_path / "report.csv").read_text().startswith("1\n2\n")
    assert (tmp_path / "head.csv").stat().st_size == 100
    assert (tmp_path / "home.tar").stat().st_size > 1024


def test_the_page_names_every_setting_rightly():
    from jupyter_volcopy.config import Volcopy

    table = PAGE.partition("## Settings")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", row):
            assert name in Volcopy.class_trait_names(config=True), name


def test_dcp_over_the_service(server, things, dcp, docker, tmp_path):
    env = {"VOLCOPY_TOKEN": server.token}
    dcp("--service", server.url, f"{things}:/home/report.csv", ".", env=env).ok()
    assert (tmp_path / "report.csv").read_text().endswith("500\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "数据").write_text("content")
    dcp("--service", server.url, "tree", f"{things}:/srv", env=env).ok()
    assert docker.read(things, "/srv/tree/数据") == b"content"
    dcp("--service", server.url, f"{things}:/srv/tree", f"volume={things}:/", env=env).ok()
    assert docker.read(things, "/data/tree/数据") == b"content"
    refused = dcp("--service", server.url, f"{things}:/home/f1", ".", env={"VOLCOPY_TOKEN": "no"})
    assert refused.code == 4 and "token" in refused.err
    refused = dcp("--service", server.url, "no-such:/x", ".", env=env)
    assert refused.code == 1 and "No such container: no-such" in refused.err
    refused = dcp("--service", "ftp://x", f"{things}:/x", ".", env=env)
    assert refused.code == 1 and "no address" in refused.err
    assert server.token not in refused.err


def moved(server) -> float:
    """Bytes of bodies that the server has sent and taken, by its own count."""
    asked = urllib.request.Request(server.url + "metrics")
    asked.add_header("Authorization", f"token {server.token}")
    with urllib.request.urlopen(asked, timeout=60) as answer:
        text = answer.read().decode()
    return sum(float(n) for n in re.findall(r"^volcopy_bytes_total{.*} (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_again_over_the_service_moves_what_changed(server, things, dcp, docker, tmp_path, state):
    """`--update` compares by a listing, which the service makes: what is equal is not sent."""
    env = {"VOLCOPY_TOKEN": server.token}
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"f{number}").write_bytes(os.urandom(50_000))
    place = f"{things}:/srv/again-{state}"
    if state == "stopped":
        docker("stop", "-t", "0", things)
    try:
        dcp("--service", server.url, "tree", place, env=env).ok()
        dcp("--service", server.url, place, "back", env=env).ok()
        before = moved(server)
        pushed = (
            dcp("--service", server.url, "--update", "--json", "tree/.", place, env=env).ok().json()
        )
        pulled = dcp("--service", server.url, "--update", "--json", f"{place}/.", "back", env=env)
        pulled = pulled.ok().json()
        assert (pushed["files"], pulled["files"]) == (0, 0)
        assert len(pushed["skipped"]) == len(pulled["skipped"]) == 40
        # a pull from a container that does not run reads its archive once, as on a socket
        once = 0 if state == "running" else 40 * 51_000
        assert moved(server) - before < 100_000 + once
        (tree / "f7").write_bytes(b"changed")
        (tmp_path / "back" / "f9").write_bytes(b"other")
        pushed = (
            dcp("--service", server.url, "--update", "--json", "tree/.", place, env=env).ok().json()
        )
        pulled = dcp("--service", server.url, "--update", "--json", f"{place}/.", "back", env=env)
        assert (pushed["files"], pulled.ok().json()["files"]) == (1, 2)  # f7 there, f7 and f9 here
        assert moved(server) - before < 400_000 + 2 * once
    finally:
        docker("start", things)
    for number in range(40):
        got = (tmp_path / "back" / f"f{number}").read_bytes()
        assert got == (tree / f"f{number}").read_bytes()


def test_backup_in_memory_over_the_service(server, things, dcp, docker, tmp_path):
    """The one program of a copy that makes something runs over the service, and no other."""
    env = {"VOLCOPY_TOKEN": server.token}
    docker.sh(things, "echo old > /dev/shm/f")
    (tmp_path / "f").write_text("new")
    dcp("--service", server.url, "--backup", "f", f"{things}:/dev/shm/f", env=env).ok()
    assert docker.read(things, "/dev/shm/f~") == b"old\n"
    assert docker.read(things, "/dev/shm/f") == b"new"
    for argv in (
        ["ln", "-f", "/etc/passwd", "/etc/shadow"],
        ["ln", "-f", "-s", "-s~"],
        ["sync", "/etc"],
        ["rm", "/dev/shm/f"],
    ):
        body = json.dumps({"argv": argv}).encode()
        assert server.request("POST", f"containers/{things}/execute", body)[0] == 403, argv


def test_where_there_is_no_socket(server, things, dcp, volcopy, tmp_path):
    env = {
        "VOLCOPY_TOKEN": server.token,
        "VOLCOPY_SERVICE_URL": server.url,
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
    }
    dcp(f"{things}:/home/f1", "copy", env=env).ok()
    assert (tmp_path / "copy").read_text() == "1\n"
    listed = volcopy("ps", "--json", env=env).ok().json()
    assert things in json.dumps(listed)
    forecast = volcopy("forecast", things, "--json", env=env).ok().json()
    assert "/home/f1" in [item.get("path") for item in forecast["lost"]]
    program = "import jupyter_volcopy; print(jupyter_volcopy.copy({!r}, {!r}).files)".format(
        f"{things}:/home/f2",
        str(tmp_path / "again"),
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **env, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and done.stdout == "1\n", done.stderr
    assert Path(tmp_path / "again").read_text() == "2\n"


def test_too_many_requests_are_waited_out(things, tmp_path):
    made = RunningServer(tmp_path, requests_per_second=2.0, allowed_containers=[things]).start()
    engine = open_service(made.url, token=made.token)
    try:
        for _ in range(14):
            engine.stat(things, "/home/f1")
    finally:
        engine.close()
        made.stop()
