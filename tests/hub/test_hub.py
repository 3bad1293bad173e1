"""A real Hub: who reaches whose container, and what from inside of one."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from tornado.web import RequestHandler

from jupyter_volcopy.web import hub_many
from jupyter_volcopy.web.handlers import routes
from jupyter_volcopy.web.handlers_base import VERBS
from tests.conftest import ROOT, Command, Ran, free_port, wait_for
from tests.hub.site import PASSWORD, Site
from tests.ui.lab import CHROMIUM, FLAGS

pytestmark = pytest.mark.timeout(900)

SERVERS = [
    ("7000211", ""),
    ("70002111", ""),
    ("a-b", ""),
    ("a_b", ""),
    ("x@y.z", ""),
    ("a-b", "gpu"),
]
USERS = sorted({user for user, _ in SERVERS})
GROUP = ("7000211", "a-b")
OTHERS = ("teacher", "tutor", "boss", "stranger")
SLOW_TAR = """#!/usr/bin/python3
import subprocess, sys, time
real = subprocess.Popen(["/usr/bin/tar.real", *sys.argv[1:]], stdout=subprocess.PIPE)
while block := real.stdout.read(65536):
    sys.stdout.buffer.write(block)
    sys.stdout.flush()
    time.sleep(0.3)
sys.exit(real.wait())
"""
"""A tar that needs a minute and a half for 20 MB."""


@pytest.fixture(scope="module")
def people(site: Site) -> Site:
    """The Hub with everybody's server running; in each home a file, in the shared volume a secret of root's."""
    site.add(*USERS, *OTHERS)
    site.spawn(*SERVERS)
    for server in SERVERS:
        name = site.container(*server)
        site.docker.bytes(
            "exec", "-i", name, "sh", "-c", "cat > /home/nb/own.txt", stdin=f"{server}".encode()
        )
    site.docker.bytes(
        "exec", "-i", "-u", "0", name, "sh", "-c",
        "cat > /shared/secret; chmod 600 /shared/secret; chmod 1777 /shared",
        stdin=b"the secret of root",
    )  # fmt: skip
    return site


def relation(user: str, owner: str) -> str:
    """What the Hub lets `user` do with a server of `owner`."""
    if user == owner or user == "boss":
        return "write"
    if user in ("teacher", "tutor") and owner in GROUP:
        return "write" if user == "teacher" else "read"
    return "none"


def names(site: Site, user: str) -> set[str]:
    answer = site.call(user, "GET", "containers")
    assert answer.status_code == 200, answer.text
    return {item["name"] for item in answer.json()["containers"]}


def archive(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def test_everybody_sees_what_the_hub_lets_them_open(people: Site) -> None:
    mine = {server: people.container(*server) for server in SERVERS}
    for user in (*USERS, *OTHERS):
        wanted = {c for (owner, _), c in mine.items() if relation(user, owner) != "none"}
        seen = names(people, user)
        assert wanted <= seen if user == "boss" else wanted == seen, user


def test_each_tries_everything_on_everybodys(people: Site) -> None:
    """Every verb by everybody on every container: as the Hub says, and nothing else happens."""

    idents = {s: people.docker("inspect", "-f", "{{.Id}}", people.container(*s)) for s in SERVERS}

    def tries(user: str, owner: str, server: str) -> list[str]:
        name, may = people.container(owner, server), relation(user, owner)
        ident = idents[owner, server]
        marker = f"/home/nb/by-{user}"
        at = f"containers/{name}"
        wanted = {
            "source": f"{name}:/home/nb/own.txt",
            "destination": f"{name}:/home/nb/copy-{user}",
        }
        reading: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", at, {}),
            ("GET", f"{at}/mounts", {}),
            ("GET", f"{at}/changes", {}),
            ("GET", f"{at}/entries?path=/home/nb", {}),
            ("HEAD", f"{at}/archive?path=/home/nb/own.txt", {}),
            ("GET", f"{at}/archive?path=/home/nb/own.txt", {}),
            ("GET", f"{at}/file?path=/home/nb/own.txt", {}),
        ]
        writing: list[tuple[str, str, dict[str, Any]]] = [
            ("PUT", f"{at}/file?path={marker}", {"data": b"mine now"}),
            ("PUT", f"{at}/archive?path=/home/nb", {"data": archive((f"tar-{user}", b"1"))}),
            ("POST", "transfers", {"json": wanted}),
        ]
        if may == "none":  # other ways to say the same
            reading += [("GET", f"containers/{ident[:n]}", {}) for n in (12, 64)]
        wrong = []
        for method, path, keywords in reading + writing:
            answer = people.call(user, method, path, **keywords)
            wants = {"none": 404, "read": 200, "write": 200}[may]
            if (method, path, keywords) in writing and may == "read":
                wants = 403
            got = 200 if answer.status_code in (200, 201) else answer.status_code
            if got != wants:
                wrong.append(f"{user} {method} {path}: {answer.status_code} {answer.text[:200]}")
            if may == "none" and f"{(owner, server)}".encode() in answer.content:
                wrong.append(f"{user} read {name}")
            if method == "POST" and answer.status_code == 201:
                people.over(user, answer.json()["id"])
        there = people.docker("exec", name, "ls", "-A", "/home/nb").split()
        left = {f"by-{user}", f"tar-{user}", f"copy-{user}"} & set(there)
        if len(left) != (3 if may == "write" else 0):
            wrong.append(f"{user} left {left} in {name}")
        answer = people.call(user, "POST", f"{at}/execute", json={"argv": ["id"]})
        if answer.status_code == 200:
            wrong.append(f"{user} ran a program in {name}")
        return wrong

    todo = [(user, *server) for server in SERVERS for user in (*USERS, *OTHERS)]
    for user in (*USERS, *OTHERS):
        people.token_of(user)
    with ThreadPoolExecutor(4) as pool:
        wrong = [line for found in pool.map(lambda args: tries(*args), todo) for line in found]
    assert not wrong, "\n".join(wrong)
    # what was written belongs to the container's own user, whoever wrote it through the Hub
    owners = people.docker(
        "exec", people.container("a-b"), "stat", "-c", "%u", "/home/nb/by-teacher"
    )
    assert owners == "1000"


def test_transfers_are_their_owners_business(people: Site) -> None:
    name = people.container("a-b")
    done = people.transfer("a-b", {"source": f"{name}:/home/nb/own.txt", "destination": f"{name}:/home/nb/again"})  # fmt: skip
    assert done["state"] == "done", done
    for user in ("a_b", "teacher", "stranger"):
        assert people.call(user, "GET", f"transfers/{done['id']}").status_code == 404
        assert people.call(user, "DELETE", f"transfers/{done['id']}").status_code == 404
        listed = people.call(user, "GET", "transfers").json()["transfers"]
        assert done["id"] not in {item["id"] for item in listed}
    listed = people.call("boss", "GET", "transfers").json()["transfers"]
    assert done["id"] in {item["id"] for item in listed}


def test_between_ones_own_servers_but_not_others(people: Site) -> None:
    mine, gpu, other = (
        people.container("a-b"),
        people.container("a-b", "gpu"),
        people.container("a_b"),
    )
    done = people.transfer("a-b", {"source": f"{mine}:/home/nb/own.txt", "destination": f"{gpu}:/home/nb/from-mine"})  # fmt: skip
    assert done["state"] == "done", done
    assert people.docker("exec", gpu, "cat", "/home/nb/from-mine") == "('a-b', '')"
    for wanted in (
        {"source": f"{mine}:/home/nb/own.txt", "destination": f"{other}:/home/nb/x"},
        {"source": f"{other}:/home/nb/own.txt", "destination": f"{mine}:/home/nb/x"},
    ):
        answer = people.call("a-b", "POST", "transfers", json=wanted)
        assert answer.status_code == 404, answer.text
    # an administrator moves between all of them
    done = people.transfer("boss", {"source": f"{mine}:/home/nb/own.txt", "destination": f"{other}:/home/nb/from-boss"})  # fmt: skip
    assert done["state"] == "done", done


def test_nobodys_deputy(people: Site) -> None:
    """The engine works as root; a user of the Hub may only what their own shell may (safety S15)."""
    name = people.container("7000211")
    at = f"containers/{name}"
    run: Callable[..., str] = lambda *argv: people.docker("exec", name, *argv)  # noqa: E731
    run("ln", "-s", "/shared/secret", "/home/nb/link")
    run("ln", "-s", "/shared", "/home/nb/way")
    paths = [
        "/shared/secret",
        "/home/nb/link",
        "/home/nb/way/secret",
        "/home/nb/../../shared/secret",
    ]
    for path in paths:
        for route in ("file", "archive"):
            try:
                answer = people.call("7000211", "GET", f"{at}/{route}", params={"path": path})
            except requests.RequestException:
                continue  # broken off, so that nobody takes it for whole
            assert b"the secret" not in answer.content, (route, path)
        answer = people.call(
            "7000211", "PUT", f"{at}/file", params={"path": path}, data=b"overwritten"
        )
        done = people.call(
            "7000211", "POST", "transfers",
            json={"source": f"{name}:{path}", "destination": f"{name}:/home/nb/stolen"},
        )  # fmt: skip
        if done.status_code == 201:
            people.over("7000211", done.json()["id"])
    body = archive(("way/secret", b"overwritten"), ("link", b"overwritten"))
    people.call("7000211", "PUT", f"{at}/archive", params={"path": "/home/nb"}, data=body)
    people.call("7000211", "PUT", f"{at}/archive", params={"path": "/shared"}, data=archive(("secret", b"overwritten")))  # fmt: skip
    secret = people.docker("exec", "-u", "0", name, "cat", "/shared/secret")
    assert secret == "the secret of root"
    assert (
        people.docker("exec", "-u", "0", name, "stat", "-c", "%u %a", "/shared/secret") == "0 600"
    )
    stolen = people.docker(
        "exec", "-u", "0", name, "sh", "-c", "cat /home/nb/stolen* 2>/dev/null || true"
    )
    assert "the secret" not in stolen


def test_volumes_and_host_paths_are_for_administrators(people: Site) -> None:
    seen = {one["name"] for one in people.call("a-b", "GET", "volumes").json()["volumes"]}
    assert seen == {f"volcopy-share-{people.share}"}
    shared = f"{people.prefix}-shared"
    for method, path in (
        ("GET", f"volumes/{shared}"),
        ("GET", f"volumes/{shared}/entries?path=/"),
        ("POST", f"volumes/{shared}/lease"),
        ("POST", f"volumes/{shared}/empty"),
    ):
        answer = people.call("a-b", method, path, **({"json": {}} if method == "POST" else {}))
        assert answer.status_code == 404, (method, path, answer.text)
    name = people.container("a-b")
    for side in (f"volume={shared}:/secret", "/etc/passwd", "./x"):
        answer = people.call("a-b", "POST", "transfers", json={"source": side, "destination": f"{name}:/home/nb/"})  # fmt: skip
        assert answer.status_code in (403, 404), answer.text
    answer = people.call("boss", "POST", "transfers", json={"source": "/etc/passwd", "destination": f"{name}:/home/nb/"})  # fmt: skip
    assert answer.status_code == 403, answer.text
    done = people.transfer("boss", {"source": f"volume={shared}:/secret", "destination": f"{name}:/home/nb/for-boss"})  # fmt: skip
    assert done["state"] == "done", done


def test_the_reference_of_what_only_a_hub_has(people: Site) -> None:
    """api.yaml names exactly the routes that a Jupyter server has not, and the service keeps to it."""
    document = yaml.safe_load((Path(hub_many.__file__).parent / "api.yaml").read_text())
    paths = {path: item for path, item in document["paths"].items() if "servers" in item}
    said = {
        (re.sub(r"\{\w+\}", "([^/]+)", path.lstrip("/")), verb)
        for path, item in paths.items()
        for verb in item
        if verb in VERBS
    }
    there = {
        (path, verb)
        for path, mixin in hub_many.ROUTES
        for verb in VERBS
        if getattr(mixin, verb) is not getattr(RequestHandler, verb)
    }
    assert said == there
    schema = schemathesis.openapi.from_dict({**document, "security": [], "paths": paths})

    def keeps(path: str, verb: str, query: str = "", **keywords: Any) -> int:
        url = re.sub(r"\{\w+\}", "none", path.lstrip("/")) + query
        answer = people.call("boss", verb, url, **keywords)
        schema[path][verb].validate_response(answer)
        return answer.status_code

    assert keeps("/people", "GET") == keeps("/people", "GET", "?sizes=1") == 200
    assert keeps("/audit", "GET", "?limit=5") == 200 and keeps("/audit", "GET", "?limit=0") == 400
    assert keeps("/collections/{id}", "GET") == 404
    assert keeps("/rescues", "POST", json={"to": ["user:none"]}) == 400
    order = {"path": "/home/nb/own.txt", "from": ["a-b"], "limits": {"bytes": 1000}}
    assert keeps("/collections", "POST", json=order) == 201
    assert keeps("/handouts", "PUT", "?to=a-b", data=b"") == 400
    query = "?to=a-b&name=by-rest.txt"
    assert keeps("/handouts", "PUT", query, data=archive(("by-rest.txt", b"1"))) == 201
    done = people.call("boss", "GET", "transfers").json()["transfers"][-1]
    report = people.over("boss", done["id"])["report"]
    many = schema.raw_schema["components"]["schemas"]["ManyReport"]
    assert set(many["required"]) <= set(report)
    assert set(many["properties"]["outcomes"]["items"]["required"]) <= set(report["outcomes"][0])  # fmt: skip
    brief = people.call("boss", "GET", "transfers?brief=1").json()["transfers"]
    assert all(one["report"] is None for one in brief)


def test_nothing_without_a_token(people: Site) -> None:
    """Every route, every verb: 401, no log-in page; a token of nobody's is none."""
    prefix = "/"
    for pattern, _ in [*routes(prefix), *hub_many.ROUTES]:
        path = pattern.removeprefix(prefix).replace("(containers|volumes)", "containers")
        path = path.replace("([^/]+)", people.container("a-b"))
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"):
            for token in ("", "0" * 32):
                answer = people.call(None, method, path, token=token)
                assert answer.status_code in (401, 405), (method, path, answer.status_code)
    assert people.call("a-b", "GET", "no/such/route").status_code == 404


def test_no_request_names_an_engine(people: Site) -> None:
    name = people.container("a-b")
    for extra in ({"engine": "tcp://127.0.0.1:1"}, {"host": "x"}, {"DOCKER_HOST": "x"}):
        wanted = {
            "source": f"{name}:/home/nb/own.txt",
            "destination": f"{name}:/home/nb/y",
            **extra,
        }
        assert people.call("a-b", "POST", "transfers", json=wanted).status_code == 400
        assert people.call("a-b", "GET", "containers", params=extra).status_code == 200
    said = people.call("a-b", "GET", "status").text
    assert "docker.sock" not in said


def test_from_inside_of_a_container(people: Site) -> None:
    """`dcp`, `volcopy` and `%dcp` in a user's server find the service and see just their own."""
    mine, gpu, other = (
        people.container("a-b"),
        people.container("a-b", "gpu"),
        people.container("a_b"),
    )

    def inside(*argv: str) -> subprocess.CompletedProcess[bytes]:
        return people.docker.raw("exec", mine, *argv, timeout=300)

    listed = inside("volcopy", "ps", "-q")
    assert set(listed.stdout.decode().split()) == {mine, gpu}, listed.stderr
    push = inside(
        "sh",
        "-c",
        f"mkdir -p /tmp/d/sub && echo 教程 > /tmp/d/sub/名 && dcp /tmp/d {gpu}:/home/nb/",
    )
    assert push.returncode == 0, push.stderr
    assert people.docker("exec", gpu, "cat", "/home/nb/d/sub/名") == "教程"
    pull = inside("sh", "-c", f"cd /tmp && dcp {gpu}:/home/nb/own.txt pulled && cat pulled")
    assert pull.stdout.decode().endswith("('a-b', 'gpu')"), pull.stderr
    refused = inside("dcp", f"{other}:/home/nb/own.txt", "/tmp/")
    assert refused.returncode == 1 and b"No such container" in refused.stderr
    cell = f"%load_ext jupyter_volcopy\n%dcp {gpu}:/home/nb/own.txt /tmp/by-magic"
    magic = inside("ipython", "--quick", "-c", cell)
    assert magic.returncode == 0, (magic.stdout, magic.stderr)
    assert people.docker("exec", mine, "cat", "/tmp/by-magic") == "('a-b', 'gpu')"


def test_shared_folders(people: Site) -> None:
    """`share=NAME:PATH`: a folder of the host, read by whom and written by whom its declaration says."""
    share, folder = f"share={people.share}", people.directory / "shared-data"

    def inside(user: str, line: str) -> subprocess.CompletedProcess[bytes]:
        return people.docker.raw("exec", people.container(user), "sh", "-c", line, timeout=300)

    for user in ("a_b", "7000211"):
        done = inside(user, f"cd /tmp && dcp {share}:数据.csv . && cat 数据.csv")
        assert done.stdout.decode().endswith("1,2\n"), done.stderr
    done = inside("7000211", f"echo mine > /tmp/mine && dcp /tmp/mine {share}:/")
    assert done.returncode == 0 and (folder / "mine").read_text() == "mine\n", done.stderr
    done = inside("a_b", f"echo bad > /tmp/mine && dcp /tmp/mine {share}:/")
    assert done.returncode == 4 and (folder / "mine").read_text() == "mine\n", done.stderr
    for path in ("way-out/passwd", "way-out/", "../../../etc/passwd"):
        done = inside("7000211", f"dcp {share}:{path} /tmp/out; cat /tmp/out 2>/dev/null")
        assert b"root:" not in done.stdout, path
    name = people.container("a_b")
    moved = people.transfer(
        "a_b", {"source": f"{share}:/数据.csv", "destination": f"{name}:/home/nb/"}
    )
    assert moved["state"] == "done", moved
    assert people.docker("exec", name, "cat", "/home/nb/数据.csv") == "1,2"
    wanted = {"source": f"{name}:/home/nb/own.txt", "destination": f"{share}:/"}
    assert people.call("a_b", "POST", "transfers", json=wanted).status_code == 403


def test_rights_end_while_one_is_logged_in(people: Site) -> None:
    """Out of the group: out of its servers, though the token stays the same (safety S26)."""
    name = people.container("a-b", "gpu")
    assert name in names(people, "teacher")
    people.hub("DELETE", "/groups/stats101/users", {"users": ["a-b"]})
    try:
        people.until(lambda: name not in names(people, "teacher"), "the end of the rights")
        assert people.call("teacher", "GET", f"containers/{name}").status_code == 404
    finally:
        people.hub("POST", "/groups/stats101/users", {"users": ["a-b"]})
    people.until(lambda: name in names(people, "teacher"), "the rights again")


def test_rights_end_while_it_is_copied(people: Site) -> None:
    """A running transfer of whoever loses the right, or logs out, ends within half a minute (S26)."""
    source, goal = people.container("a-b"), people.container("a-b", "gpu")
    people.docker.bytes(
        "exec", "-i", "-u", "0", source, "sh", "-c",
        "mv /usr/bin/tar /usr/bin/tar.real; cat > /usr/bin/tar; chmod 755 /usr/bin/tar;"
        "head -c 20000000 /dev/urandom > /home/nb/big",
        stdin=SLOW_TAR.encode(),
    )  # fmt: skip
    made = people.hub("POST", "/users/a-b/tokens", {"note": "to be revoked"})
    wanted = {"source": f"{source}:/home/nb/big"}
    running = {}
    try:
        for user, token in (("teacher", ""), ("a-b", made["token"])):
            answer = people.call(
                user, "POST", "transfers", token=token,
                json={**wanted, "destination": f"{goal}:/home/nb/big-{user}"},
            )  # fmt: skip
            assert answer.status_code == 201, answer.text
            running[user] = answer.json()["id"]

        def moving(user: str) -> bool:
            found = people.call("boss", "GET", f"transfers/{running[user]}").json()
            assert found["state"] in ("queued", "running"), found
            return found["state"] == "running" and "tar.real" in people.docker("top", source)

        # The second waits for the first: one at a time for a container.
        people.until(lambda: moving("teacher"), "its tar")
        assert people.call("boss", "GET", f"transfers/{running['a-b']}").json()["state"] == "queued"
        people.hub("DELETE", "/groups/stats101/users", {"users": ["a-b"]})
        people.hub("DELETE", f"/users/a-b/tokens/{made['id']}")
        began = time.monotonic()
        over = {user: people.over("boss", ident) for user, ident in running.items()}
        assert time.monotonic() - began < 80  # its tar needs longer
        assert over["teacher"]["state"] == "cancelled" and over["a-b"]["state"] != "done", over
    finally:
        people.hub("POST", "/groups/stats101/users", {"users": ["a-b"]})
        people.docker("exec", "-u", "0", source, "mv", "/usr/bin/tar.real", "/usr/bin/tar")
    assert not [
        n for n in people.docker("exec", goal, "ls", "-A", "/home/nb").split() if "big" in n
    ]
    lines = [json.loads(line) for line in (people.directory / "audit.log").read_text().splitlines()]
    lost = {line["user"]: line["reason"] for line in lines if line["event"] == "rights-lost"}
    assert "not to be seen any more" in lost["teacher"] and "token" in lost["a-b"]
    people.until(lambda: goal in names(people, "teacher"), "the rights again")


def test_a_server_shared_by_the_hub(people: Site) -> None:
    """A Hub share lets one open a server, so it lets one read there; it ends with the share."""
    name = people.container("x@y.z")
    people.hub(
        "POST", "/shares/x@y.z/", {"user": "stranger", "scopes": ["access:servers!server=x@y.z/"]}
    )
    people.until(lambda: name in names(people, "stranger"), "the share")
    assert (
        people.call("stranger", "GET", f"containers/{name}/file?path=/home/nb/own.txt").status_code
        == 200
    )
    assert (
        people.call(
            "stranger", "PUT", f"containers/{name}/file?path=/home/nb/w", data=b"1"
        ).status_code
        == 403
    )
    people.hub("PATCH", "/shares/x@y.z/", {"user": "stranger"})
    people.until(lambda: name not in names(people, "stranger"), "the end of the share")


def test_the_audit_tells_everything_but_tokens(people: Site) -> None:
    people.call(None, "GET", "status", params={"token": "a-token-in-an-address"})
    lines = [json.loads(line) for line in (people.directory / "audit.log").read_text().splitlines()]
    assert all(line["time"] and line["event"] for line in lines)
    refused = [line for line in lines if line["event"] == "refused"]
    assert refused and refused[-1]["status"] == 401
    decisions = [line for line in lines if line["event"] == "decision"]
    assert any(not line["allowed"] and line["user"] == "a_b" for line in decisions)
    assert any(
        line["allowed"] and line["user"] == "teacher" and line["as_owner"] for line in decisions
    )
    assert all(line["remote"] for line in decisions)
    started = {line["transfer"]: line for line in lines if line["event"] == "start"}
    over = [line for line in lines if line["event"] == "transfer" and line["transfer"] in started]
    assert over and all(line["outcome"] and "bytes" in line for line in over)
    assert all(line["remote"] and line["user"] for line in started.values())
    said = people.log.read_text(errors="replace")
    said += (people.directory / "audit.log").read_text()
    for user in (*USERS, *OTHERS):
        assert people.token_of(user) not in said
    service = [line for line in said.splitlines() if " volcopy]" in line]
    assert "a-token-in-an-address" not in "".join(service)
    assert oct((people.directory / "audit.log").stat().st_mode)[-3:] == "600"


def test_the_check_at_the_start(people: Site) -> None:
    said = people.log.read_text(errors="replace")
    assert "all scopes there" in said
    assert "because of a mistake" not in said  # what the service says of its own faults


def test_it_stops_when_told_and_says_what_is_missing(people: Site, tmp_path: Path) -> None:
    """A service whose scopes are missing says what to paste; SIGTERM ends it well."""
    port = free_port()
    token = people.hub("POST", "/users/stranger/tokens", {"note": "a service without scopes"})[
        "token"
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JUPYTERHUB_API_TOKEN": token,
        "JUPYTERHUB_API_URL": people.hub_api,
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVICE_NAME": "volcopy",
        "JUPYTERHUB_SERVICE_PREFIX": "/services/volcopy/",
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}",
        "JUPYTERHUB_CLIENT_ID": "service-volcopy",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:services!service=volcopy"]',
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_volcopy", "service"],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/services/volcopy/api/"

        def answer() -> int:
            try:
                return requests.get(url + "status", timeout=30).status_code
            except requests.RequestException:
                return 0

        wait_for(lambda: answer() == 401, "the service", 120)
        wait_for(lambda: "volcopy-service" in (tmp_path / "log").read_text(), "what to paste", 120)
        said = requests.get(
            url + "containers", headers={"Authorization": f"token {token}"}, timeout=60
        )
        assert said.status_code == 403 and "scopes" in said.json()["hint"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_hand_out_and_collect(people: Site, tmp_path: Path, volcopy: Command) -> None:
    """By the command through the service, for a group; who may not is told so."""
    lab = tmp_path / "lab1"
    lab.mkdir()
    (lab / "answer.txt").write_text("?")

    def run(user: str, *args: str) -> Ran:
        environment = {"VOLCOPY_TOKEN": people.token_of(user)}
        return volcopy(
            *args, "--service", people.service_url, "--json", env=environment, timeout=300
        )

    def states(ran: Ran) -> dict[str, str]:
        return {item["label"]: item["state"] for item in ran.json()["outcomes"]}

    everybody = ["7000211", "a-b", "a-b/gpu"]
    refused = run("teacher", "handout", str(lab), "--to", "group:stats101")
    assert refused.code == 4 and "custom:volcopy:admin" in refused.err
    first = run("boss", "handout", str(lab), "--to", "group:stats101")
    assert states(first.ok()) == dict.fromkeys(everybody, "done")
    gpu = people.container("a-b", "gpu")
    people.docker("exec", gpu, "sh", "-c", "printf 42 > /home/nb/lab1/answer.txt")
    (lab / "answer.txt").write_text("? (2)")
    again = run("boss", "handout", str(lab), "--to", "group:stats101")
    assert states(again.ok()) == {"7000211": "done", "a-b": "done", "a-b/gpu": "kept"}
    assert people.docker("exec", gpu, "cat", "/home/nb/lab1/answer.txt") == "42"
    into = tmp_path / "submissions"
    collected = (
        "collect",
        "/home/nb/lab1/answer.txt",
        "--from",
        "group:stats101",
        "--into",
        str(into),
    )
    assert run("teacher", *collected).code == 4
    assert states(run("boss", *collected).ok()) == dict.fromkeys(everybody, "done")
    (kept,) = (into / "a-b/server-gpu").iterdir()
    assert (kept / "answer.txt").read_text() == "42"
    assert states(run("boss", *collected).ok()) == dict.fromkeys(everybody, "same")
    lines = [json.loads(line) for line in (people.directory / "audit.log").read_text().splitlines()]
    said = [line for line in lines if line["event"] == "collect" and line["target"] == "a-b/gpu"]
    assert said and said[0]["user"] == "boss" and said[0]["files"][0]["sha256"]


def test_rescue_of_many(people: Site) -> None:
    name = people.container("a_b")
    people.docker("exec", name, "sh", "-c", "echo work > /tmp/precious")
    for user in ("a_b", "teacher"):
        assert people.call(user, "POST", "rescues", json={"to": ["all"]}).status_code == 403
    answer = people.call("boss", "POST", "rescues", json={"to": ["user:a_b"]})
    assert answer.status_code == 201, answer.text
    done = people.over("boss", answer.json()["id"])
    assert done["state"] == "done", done
    saved = list((people.directory / "rescued").rglob("precious"))
    assert len(saved) == 1 and saved[0].read_text() == "work\n"


def test_people(people: Site) -> None:
    mine = people.call("a-b", "GET", "people").json()["people"]
    assert [one["label"] for one in mine] == ["a-b", "a-b/gpu"]
    found = people.call("boss", "GET", "people").json()
    owned = {one["label"] for one in found["people"] if one["label"]}
    assert owned == {f"{user}/{server}".rstrip("/") for user, server in SERVERS}
    assert found["groups"] == ["stats101"]
    assert people.call("a-b", "GET", "audit").status_code == 403


def test_the_page(people: Site) -> None:
    """Log in, look, hand out, collect in a browser; names are text, never markup."""
    sync = pytest.importorskip("playwright.sync_api", reason="scripts/setup installs playwright")
    if not os.path.exists(CHROMIUM):
        pytest.skip("no Chromium here")
    evil = "<img src=x onerror=alert(1)>"
    name = people.container("x@y.z")
    people.docker.bytes("exec", "-i", name, "sh", "-c", f"cat > '/tmp/{evil}'", stdin=b"x")
    with sync.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:

            def page_of(user: str) -> Any:
                page = browser.new_context(viewport={"width": 1100, "height": 900}).new_page()
                page.set_default_timeout(120_000)
                page.on("console", lambda message: said.append(message.text))
                page.on("pageerror", lambda error: said.append(str(error)))
                page.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
                page.goto(f"{people.base}/services/volcopy/")
                page.fill("#username_input", user)
                page.fill("#password_input", PASSWORD)
                page.click("#login_submit")
                page.wait_for_selector("#rows tr")
                return page

            said: list[str] = []
            mine = page_of("a-b")
            assert mine.locator("#rows tr").count() == 2
            assert not mine.locator("#handout").is_visible()
            boss = page_of("boss")
            boss.fill("#find", people.prefix)
            sync.expect(boss.locator("#rows tr")).to_have_count(len(SERVERS), timeout=120_000)
            boss.get_by_role("button", name=f"Details of {name}").click()
            boss.wait_for_selector("#lost li:has-text('onerror')")
            assert boss.evaluate("document.querySelectorAll('#lost img').length") == 0
            boss.set_input_files(
                "#handout-files", [{"name": "教程.txt", "mimeType": "text/plain", "buffer": b"new"}]
            )
            boss.fill("#handout-name", "lab9")
            boss.fill("#handout-to", "user:x@y.z")
            boss.click("#handout button[type=submit]")
            boss.wait_for_selector("#transfers li:has-text('lab9') strong:has-text('done')")
            assert people.docker("exec", name, "cat", "/home/nb/lab9/教程.txt") == "new"
            boss.fill("#collect-path", "/home/nb/lab9")
            boss.fill("#collect-from", "user:x@y.z")
            boss.click("#collect button[type=submit]")
            link = boss.locator("#transfers > li", has_text="/home/nb/lab9").get_by_role("link")
            link.wait_for()
            with boss.expect_download() as download:
                link.click()
            with tarfile.open(download.value.path()) as tar:
                assert any(member.endswith("lab9/教程.txt") for member in tar.getnames())
            boss.click("#audit-load")
            boss.wait_for_selector("#audit li:has-text('handout')")
            assert said == []
        finally:
            browser.close()


def test_a_cookie_alone_changes_nothing(people: Site) -> None:
    """With a log-in's cookie every request but the page itself needs the XSRF token (safety S28)."""
    session = requests.Session()
    session.get(f"{people.base}/hub/login", timeout=60)
    xsrf = session.cookies.get("_xsrf", path="/hub/")
    login = {"username": "a-b", "password": PASSWORD, "_xsrf": xsrf}
    session.post(f"{people.base}/hub/login", data=login, timeout=60)
    page = session.get(f"{people.base}/services/volcopy/", timeout=60)
    assert page.status_code == 200 and "volcopy-xsrf" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    token = re.search('volcopy-xsrf" content="([^"]+)"', page.text)
    assert token is not None
    name = people.container("a-b")
    url = f"{people.base}/services/volcopy/api/containers/{name}/file?path=/home/nb/by-cookie"
    for headers in ({}, {"X-XSRFToken": "wrong"}):
        # 503 is the Hub's proxy, where the refusal came before it had sent the body.
        code = session.put(url, data=b"1", headers=headers, timeout=60).status_code
        assert code in (401, 403, 503)

    def put() -> int:
        """The status, once the proxy has noticed that the connection of the refused one is gone."""
        headers = {"X-XSRFToken": token[1]}
        code = session.put(url, data=b"1", headers=headers, timeout=60).status_code
        return 0 if code == 503 else code

    # 201, not 200: nothing was there before.
    assert wait_for(put, "an answer of the service") == 201
    assert (
        requests.get(f"{people.base}/services/volcopy/static/page.js", timeout=60).status_code
        == 401
    )


def test_a_stopped_server_is_still_ones_own(people: Site) -> None:
    """Not running: nobody can act as its user, so the engine is not asked either; an administrator may."""
    people.halt("7000211")
    name = people.container("7000211")
    assert name in names(people, "7000211")
    answer = people.call("7000211", "GET", f"containers/{name}/file?path=/home/nb/own.txt")
    assert answer.status_code == 409 and "not running" in answer.text, answer.text
    answer = people.call("boss", "GET", f"containers/{name}/file?path=/home/nb/own.txt")
    assert answer.text == "('7000211', '')"
