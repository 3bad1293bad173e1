"""Containers, listings, archives and files by REST."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from jupyter_volcopy.core.direct_root import why_not
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.tar_writer import END, encode_entry
from jupyter_volcopy.web.handlers_files import byte_range, disposition
from jupyter_volcopy.web.upload import SafeArchive, Upload
from tests.web.conftest import said


async def test_status(api, docker):
    found = said(await api("GET", "status"))
    assert found["engine"]["version"] == docker("version", "-f", "{{.Server.Version}}")
    assert found["user"]["name"] and found["may"]["local_files"]


async def test_containers(api, container, docker, error):
    name = container("created", "--tmpfs", "/scratch", "-e", "SECRET=hush")
    found = {item["name"]: item for item in said(await api("GET", "containers"))["containers"]}
    assert found[name]["state"] == "created"
    response = await api("GET", "containers", name, exact=1)
    one = said(response)
    assert one["id"] == docker.inspect(name)["Id"] and one["tmpfs"] == ["/scratch"]
    assert b"hush" not in response.body and one["exact"]["env"] == []
    error(await api("GET", "containers", "no-such-one"), 404, "no-such-container")


async def test_facts(api, container, volume, docker, error):
    kept = volume()
    name = container("running", "-v", f"{kept}:/data")
    docker.sh(name, "echo x > /tmp/lost")
    (mount,) = said(await api("GET", "containers", name, "mounts"))["mounts"]
    assert mount["target"] == "/data" and mount["kind"] == "named"
    forecast = said(await api("GET", "containers", name, "forecast", how="rm"))
    assert "/tmp/lost" in [item.get("path") for item in forecast["lost"]]
    error(await api("GET", "containers", name, "forecast", how="magic"), 400, "usage")
    changes = said(await api("GET", "containers", name, "changes"))["changes"]
    assert {"path": "/tmp/lost", "kind": "A"} in changes
    volumes = {item["name"]: item for item in said(await api("GET", "volumes"))["volumes"]}
    assert volumes[kept]["used_by"][0]["container"] == name
    assert said(await api("GET", "volumes", kept))["raw"]["Name"] == kept
    error(await api("GET", "volumes", "volcopy-no-such"), 404, "no-such-volume")
    shares = said(await api("GET", "shares", alone=1))["shares"]
    assert kept in [item["volume"] for item in shares]


async def test_entries_by_pages(api, container, docker, error):
    name = container()
    docker.sh(name, "mkdir /d; cd /d; for i in $(seq 100 124); do echo > f$i; done")
    found = said(await api("GET", "containers", name, "entries", path="/d"))
    assert [item["name"] for item in found["entries"]] == [f"f{i}" for i in range(100, 125)]
    assert found["total"] == 25 and found["next"] is None and found["complete"]
    names, cursor = [], None
    for _ in range(3):
        more = {"cursor": cursor} if cursor else {"path": "/d"}
        page = said(await api("GET", "containers", name, "entries", limit=10, **more))
        names += [item["name"] for item in page["entries"]]
        cursor = page["next"]
    assert names == [f"f{i}" for i in range(100, 125)] and cursor is None
    error(await api("GET", "containers", name, "entries", cursor="nonsense"), 404, "not-found")
    error(await api("GET", "containers", name, "entries", path="/d/f100"), 409, "not-a-directory")
    error(await api("GET", "containers", name, "entries", path="/none"), 404, "no-such-path")
    error(await api("GET", "containers", name, "entries"), 400, "usage")


async def test_file_in_and_out(api, container, docker, error):
    name = container()
    data = os.urandom(3_000_000)
    where = ("containers", name, "file")
    response = await api("PUT", *where, path="/tmp/a b", body=data)
    assert response.code == 201 and said(response)["created"] == 1
    assert docker.read(name, "/tmp/a b") == data
    docker.sh(name, "chmod 600 '/tmp/a b'; ln -s 'a b' /tmp/link; mkdir /tmp/dir")
    response = await api("PUT", *where, path="/tmp/a b", body=b"new")
    assert response.code == 200 and said(response)["replaced"] == 1
    assert docker.sh(name, "stat -c %a '/tmp/a b'") == "600"
    refused = await api("PUT", *where, path="/tmp/a b", body=b"x", headers={"If-None-Match": "*"})
    error(refused, 412, "precondition")
    error(await api("PUT", *where, path="/tmp/dir", body=b"x"), 409, "is-a-directory")
    assert (await api("PUT", *where, path="/no/such/x", body=b"x")).code == 404
    error(await api("PUT", *where, path="/dev/shm/../../proc/x", body=b"x"), 409, "conflict")
    response = await api("GET", *where, path="/tmp/link")
    assert response.body == b"new"
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment;")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    error(await api("GET", *where, path="/tmp/dir"), 409, "is-a-directory")
    error(await api("GET", *where, path="/tmp/none"), 404, "no-such-path")
    empty = await api("PUT", *where, path="/tmp/empty", body=b"")
    assert empty.code == 201
    response = await api("GET", *where, path="/tmp/empty")
    assert (response.body, response.headers["Content-Length"]) == (b"", "0")


async def test_ranges(api, container, docker):
    name = container()
    data = os.urandom(2_500_000)
    docker.write(name, "/tmp/f", data)
    where = ("containers", name, "file")

    def no_page(response):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")

    for asked, part in (
        ("bytes=0-9", data[:10]),
        ("bytes=1000000-2000000", data[1_000_000:2_000_001]),
        ("bytes=2499990-", data[-10:]),
        ("bytes=-5", data[-5:]),
    ):
        response = await api("GET", *where, path="/tmp/f", headers={"Range": asked})
        assert response.code == 206 and response.body == part, asked
        assert response.headers["Content-Range"].endswith("/2500000")
        no_page(response)
    response = await api("GET", *where, path="/tmp/f", headers={"Range": "bytes=2500000-"})
    assert response.code == 416 and response.headers["Content-Range"] == "bytes */2500000"
    no_page(response)
    whole = await api("HEAD", *where, path="/tmp/f")
    assert whole.headers["Content-Length"] == "2500000" and whole.headers["Accept-Ranges"]
    tag = whole.headers["ETag"]
    again = await api("GET", *where, path="/tmp/f", headers={"If-None-Match": tag})
    assert again.code == 304
    no_page(again)
    other = await api(
        "GET", *where, path="/tmp/f", headers={"Range": "bytes=0-1", "If-Range": '"other"'}
    )
    assert other.code == 200 and other.body == data


def test_range_headers():
    assert byte_range("bytes=0-0", 5) == (0, 1)
    assert byte_range("bytes=-0", 5) == (5, 5)
    assert byte_range("bytes=-9", 5) == (0, 5)
    assert byte_range("bytes=3-99", 5) == (3, 5)
    for odd in ("bytes=", "bytes=a-b", "bytes=3-1", "lines=1-2", "bytes=0-1,3-4", "bytes=-", "x"):
        assert byte_range(odd, 5) is None


def test_disposition():
    assert disposition("a.txt") == "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"
    for odd in ('x"; y="z', "new\r\nline: x", "数据", "bad\udcff", "<script>", "a\\b", ""):
        found = disposition(odd)
        assert found.isascii() and found.isprintable() and found.count('"') == 2


async def test_archive_out_and_in(api, container, docker, error):
    name = container()
    docker.sh(name, "mkdir -p /d/sub; echo one > /d/f; echo two > /d/sub/g; ln -s /etc/passwd /d/l")
    where = ("containers", name, "archive")
    response = await api("GET", *where, path="/d")
    with tarfile.open(fileobj=io.BytesIO(response.body)) as tar:
        assert sorted(tar.getnames()) == ["d", "d/f", "d/l", "d/sub", "d/sub/g"]
        assert tar.getmember("d/l").issym()
    assert response.headers["Content-Type"] == "application/x-tar"
    assert response.headers["X-Volcopy-Stat"]
    head = await api("HEAD", *where, path="/d")
    assert head.headers["X-Volcopy-Stat"] and head.code == 200
    missing = await api("HEAD", *where, path="/nothing")
    assert missing.code == 404 and missing.headers["X-Volcopy-Error"]
    error(await api("GET", *where, path="/nothing"), 404, "no-such-path")

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member, text in (("in/x", b"11"), ("in/y", b"22")):
            info = tarfile.TarInfo(member)
            info.size, info.mode = len(text), 0o4755
            tar.addfile(info, io.BytesIO(text))
        pipe = tarfile.TarInfo("in/pipe")
        pipe.type = tarfile.FIFOTYPE
        tar.addfile(pipe)
    response = await api("PUT", *where, path="/tmp", body=out.getvalue())
    assert said(response)["files"] == 2, response.body
    assert docker.sh(name, "ls /tmp/in; stat -c %a /tmp/in/x").split() == ["x", "y", "755"]
    error(await api("PUT", *where, path="/d/f", body=out.getvalue()), 409, "not-a-directory")
    bad = await api("PUT", *where, path="/tmp", body=b"no tar at all" * 100)
    assert bad.code >= 400 and said(bad)["code"]


async def test_volumes_likewise(api, volume, error):
    name = volume()
    response = await api("PUT", "volumes", name, "file", path="/f", body=b"in a volume")
    assert response.code == 201
    assert said(response)["landed"] == [{"path": f"volume={name}:/f"}]
    assert (await api("GET", "volumes", name, "file", path="/f")).body == b"in a volume"
    found = said(await api("GET", "volumes", name, "entries", path="/"))
    assert [item["name"] for item in found["entries"]] == ["f"]
    with tarfile.open(
        fileobj=io.BytesIO((await api("GET", "volumes", name, "archive", path="/f")).body)
    ) as tar:
        assert tar.getnames() == ["f"]
    error(await api("GET", "volumes", "volcopy-none", "file", path="/f"), 404, "no-such-volume")


async def test_odd_names(api, container, docker):
    name = container()
    for odd in ("数据 集", "-rf", "new\nline", "quo'te\"", "a&b=c#d", "%2f", "x" * 255):
        response = await api("PUT", "containers", name, "file", path=f"/tmp/{odd}", body=b"1")
        assert response.code == 201, odd
        assert (await api("GET", "containers", name, "file", path=f"/tmp/{odd}")).body == b"1"
    found = said(await api("GET", "containers", name, "entries", path="/tmp"))
    assert len(found["entries"]) == 7


async def test_nothing_outside_of_what_is_allowed(api, container, docker, error, jp_serverapp):
    """Containers of other names are not there, whatever is asked of them."""
    name = container("created")
    service = jp_serverapp.web_app.settings["volcopy_service"]
    service.rules = type(service.rules)(trusted=True, allowed_containers=("other-*",))
    ident = docker.inspect(name)["Id"]
    for asked in (name, ident, ident[:12]):
        for parts in ((), ("mounts",), ("forecast",), ("changes",)):
            error(await api("GET", "containers", asked, *parts), 404, "no-such-container")
        for parts in (("entries",), ("archive",), ("file",)):
            found = await api("GET", "containers", asked, *parts, path="/etc/passwd")
            error(found, 404, "no-such-container")
        put = await api("PUT", "containers", asked, "file", path="/tmp/x", body=b"")
        error(put, 404, "no-such-container")
    assert said(await api("GET", "containers"))["containers"] == []


def test_an_odd_archive_is_left_to_a_program(tmp_path: Path) -> None:
    """What cannot be staged entry by entry: a name twice, no directory before what is in it."""

    def items(*entries: Entry, seal: str | None = None) -> list[tuple[str, str]] | None:
        upload = Upload(str(tmp_path), 1 << 20)
        upload.write(b"".join(map(encode_entry, entries)) + END)
        archive = SafeArchive(upload, "/t", seal)
        archive.unstage()
        found = archive.items
        named = None if found is None else [(one.entry.name, one.entry.link) for one in found]
        upload.close()
        return named

    def file(name: str) -> Entry:
        return Entry(name, Kind.FILE, 0o644)

    top, hard = Entry("./d", Kind.DIRECTORY, 0o755), Entry("./h", Kind.HARDLINK, link="./d/f")
    assert items(top, file("./d/f"), hard, top) == [("d", ""), ("d/f", ""), ("h", "d/f"), ("d", "")]
    assert items(file("d/f")) is None
    assert items(file("f"), file("./f")) is None
    assert items(top, file("d")) is None
    # what a client of ours sends: each content under one hidden name, and then its own
    hidden, first, second = file(".volcopy-0"), Entry("a", Kind.HARDLINK), Entry("b", Kind.HARDLINK)
    first.link = second.link = hidden.name
    sealed = Entry(hidden.name, Kind.SYMLINK, link="seal" + "x" * 5000)
    assert items(hidden, first, hidden, second, sealed, seal="seal") == [("a", ""), ("b", "")]


async def test_a_user_s_work_starts_no_program_where_it_is_done_directly(
    api, service, container, docker, monkeypatch
):
    """Looking, reading and writing with a user's rights."""
    name = container()
    docker.sh(name, "mkdir -m 777 /t; echo old > /t/f; chown 1000:100 /t/f")
    engine = service.engine()
    reason = why_not(engine, engine.container(name))
    if reason:
        pytest.skip(f"no direct access here: {reason}")
    for call in ("execute", "start_program"):
        monkeypatch.setattr(engine, call, lambda *_, **__: pytest.fail("a program was started"))
    where = ("containers", name, "archive")
    user = {"user": "1000:100"}
    assert (await api("HEAD", *where, path="/t/f", **user)).code == 200
    listed = said(await api("GET", "containers", name, "entries", path="/t", **user))["entries"]
    assert [(item["name"], item["uid"], item["size"]) for item in listed] == [("f", 1000, 4)]
    files = [Entry(one, Kind.FILE, 0o644, size=4) for one in ("d/a", "f")]
    body = encode_entry(Entry("d", Kind.DIRECTORY, 0o755)) + b"".join(
        encode_entry(one) + b"new\n" + bytes(508) for one in files
    )
    put = await api("PUT", *where, path="/t", raw="1", body=body + END, **user)
    assert put.code == 200, put.body
    got = await api("GET", *where, path="/t/.", **user)
    with tarfile.open(fileobj=io.BytesIO(got.body)) as tar:
        found = {item.name: (item.uid, item.gid, item.isdir()) for item in tar if item.name != "."}
    owner = (1000, 100)
    assert found == {
        "./d": (*owner, True),
        "./d/a": (*owner, False),
        "./f": (*owner, False),
    }
    monkeypatch.undo()
    assert docker.sh(name, "cat /t/f /t/d/a; ls -A /t").split() == ["new", "new", "d", "f"]
