"""Transfers by REST: start, plan, list, cancel, forget, events; local paths; what outlives what."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from jupyter_volcopy.core.background import Transfers
from jupyter_volcopy.core.direct_root import why_not
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.errors import Conflict, NotFound, TooMany, VolcopyError
from tests.conftest import wait_for
from tests.web.conftest import said


async def over(api, ident, seconds: float = 90.0):
    """The transfer once it is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = said(await api("GET", "transfers", ident))
        if found["state"] in ("done", "failed", "cancelled"):
            return found
        await asyncio.sleep(0.05)
    pytest.fail(f"not over after {seconds} s: {found}")


async def start(api, source, destination, **options):
    wanted = {"source": source, "destination": destination, "options": options}
    return await api("POST", "transfers", body=wanted)


async def test_pull_push_copy(api, container, docker, jp_root_dir):
    name, other = container(), container("created")
    docker.sh(name, "mkdir /d; echo text > /d/f; chmod 4755 /d/f")
    response = await start(api, f"{name}:/d", ".")
    assert response.code == 201
    begun = said(response)
    assert response.headers["Location"].endswith(f"/volcopy/api/transfers/{begun['id']}")
    done = await over(api, begun["id"])
    assert done["state"] == "done" and done["report"]["files"] == 1, done
    assert done["report"]["landed"] == [{"path": "./d"}]
    landed = jp_root_dir / "d" / "f"
    assert landed.read_text() == "text\n" and not landed.stat().st_mode & 0o7000  # always safe
    (jp_root_dir / "up").mkdir()
    (jp_root_dir / "up" / "new").write_text("from here")
    done = await over(api, said(await start(api, "up", f"{name}:/tmp"))["id"])
    assert done["state"] == "done", done
    assert docker.read(name, "/tmp/up/new") == b"from here"
    done = await over(api, said(await start(api, f"{name}:/d/f", f"{other}:/tmp/g"))["id"])
    assert done["state"] == "done", done
    assert docker.bytes("cp", f"{other}:/tmp/g", "-")
    listed = said(await api("GET", "transfers"))["transfers"]
    assert [one["state"] for one in listed] == ["done"] * 3
    for one in listed:
        assert (await api("DELETE", "transfers", one["id"])).code == 204
    assert said(await api("GET", "transfers"))["transfers"] == []


async def test_what_is_reached_directly_is_not_sent_to_the_engine(
    api, service, container, docker, monkeypatch, jp_root_dir
):
    """A file that is put (saving in Lab) and a copy of a tree: the policy hides no direct access."""
    name = container()
    docker.sh(name, "mkdir /d; echo old > /d/put; chmod 640 /d/put")
    engine = service.engine()
    reason = why_not(engine, engine.container(name))
    if reason:
        pytest.skip(f"no direct access here: {reason}")
    for call in ("extract", "execute", "start_program"):
        monkeypatch.setattr(engine, call, lambda *_, **__: pytest.fail("the engine was asked"))
    file = ("containers", name, "file")
    assert (await api("PUT", *file, path="/d/put", body=b"new")).code == 200
    assert (await api("PUT", *file, path="/d/more", body=b"more")).code == 201
    taken = await api("PUT", *file, path="/d/put", body=b"", headers={"If-None-Match": "*"})
    assert taken.code == 412
    (jp_root_dir / "up").mkdir()
    (jp_root_dir / "up" / "f").write_text("from here")
    done = await over(api, said(await start(api, "up", f"{name}:/d"))["id"])
    assert done["state"] == "done", done
    monkeypatch.undo()
    assert docker.sh(name, "cd /d; cat put more up/f; stat -c %a put; ls -A") == (
        "newmorefrom here640\nmore\nput\nup"
    )


async def test_volume_to_volume(api, volume, docker):
    one, two = volume(), volume()
    await api("PUT", "volumes", one, "file", path="/f", body=b"data")
    done = await over(api, said(await start(api, f"volume={one}:/f", f"volume={two}:/g"))["id"])
    assert done["state"] == "done", done
    assert (await api("GET", "volumes", two, "file", path="/g")).body == b"data"


async def test_plan(api, container, docker, jp_root_dir):
    name = container()
    docker.sh(name, "mkdir /d; echo text > /d/f")
    wanted = {"source": f"{name}:/d", "destination": ".", "dry_run": True}
    response = await api("POST", "transfers", body=wanted)
    assert response.code == 200
    plan = said(response)
    assert plan["direction"] == "pull" and plan["steps"][0]["destination"] == "./d"
    assert str(jp_root_dir) not in response.body.decode()
    assert not (jp_root_dir / "d").exists()
    assert said(await api("GET", "transfers"))["transfers"] == []


async def test_requests_that_make_no_sense(api, container, error, jp_root_dir):
    name = container("created")

    async def refused(status, code, **wanted):
        return error(await api("POST", "transfers", body=wanted), status, code)

    await refused(400, "usage")
    await refused(400, "usage", source=f"{name}:/x")
    await refused(400, "usage", source="", destination=".")
    await refused(400, "usage", source=1, destination=".")
    await refused(400, "usage", sources=[], destination=".")
    await refused(400, "usage", source="a", destination="b")
    await refused(400, "usage", source="-", destination=f"{name}:/tmp")
    await refused(400, "usage", source=f"{name}:/x", destination="-")
    await refused(400, "usage", source=f"{name}:/x", destination=".", engine="tcp://evil:1")
    await refused(400, "usage", source=f"{name}:/x", destination=".", dry_run="yes")
    await refused(404, "no-such-container", source="no-such:/x", destination=".")
    await refused(404, "no-such-volume", source="volume=no-such:/x", destination=".")
    for option, value in (
        ("safe", False),
        ("exclude_from", "/etc/passwd"),
        ("access", "direct"),
        ("numeric_owner", True),
        ("parents", "yes"),
        ("exclude", "*.tmp"),
        ("max_entries", True),
        ("nonsense", 1),
    ):
        wanted = {"source": f"{name}:/x", "destination": ".", "options": {option: value}}
        error(await api("POST", "transfers", body=wanted), 400, "bad-option")
    error(await api("POST", "transfers", body=b"[1]"), 400, "usage")
    error(await api("POST", "transfers", body=b"{"), 400, "usage")
    error(await api("GET", "transfers", "nonsense"), 404, "not-found")
    error(await api("DELETE", "transfers", "nonsense"), 404, "not-found")
    done = await over(api, said(await start(api, f"{name}:/no/such", "."))["id"])
    assert done["state"] == "failed" and done["error"]["code"] == "no-such-path"
    assert str(jp_root_dir) not in json.dumps(done)


async def test_local_paths_stay_below_the_root(
    api, container, docker, error, jp_root_dir, tmp_path
):
    name = container()
    docker.sh(name, "echo text > /tmp/f")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (jp_root_dir / "link").symlink_to(outside)
    (jp_root_dir / "file-link").symlink_to(outside / "secret")
    (jp_root_dir / ".hidden").write_text("hidden")
    (jp_root_dir / "tree").mkdir()
    (jp_root_dir / "tree" / ".dot").write_text("hidden")
    (jp_root_dir / "tree" / "plain").write_text("plain")
    for place in (str(outside), "../outside", "a/../../outside", "/etc/passwd", "/"):
        error(await start(api, f"{name}:/tmp/f", place), 403, "denied")
        error(await start(api, place, f"{name}:/tmp"), 403, "denied")
    for place in (".hidden", "tree/.dot", ".new/x"):
        assert (await start(api, f"{name}:/tmp/f", place)).code == 404
        assert (await start(api, place, f"{name}:/tmp")).code == 404
    for source, destination in (
        (f"{name}:/tmp/f", "link/new"),
        ("link/secret", f"{name}:/tmp/got"),
        ("link/.", f"{name}:/tmp"),
    ):
        done = await over(api, said(await start(api, source, destination))["id"])
        assert done["state"] == "failed", done
        assert str(tmp_path) not in json.dumps(done)
    assert sorted(os.listdir(outside)) == ["secret"]
    await over(api, said(await start(api, "file-link", f"{name}:/tmp/as-link"))["id"])
    docker.sh(name, "test ! -f /tmp/as-link")  # the link, not what it leads to
    done = await over(api, said(await start(api, "tree", f"{name}:/tmp"))["id"])
    assert done["state"] == "done"
    assert docker.sh(name, "ls -A /tmp/tree").split() == ["plain"]
    # and none comes out of a container, unless the server shows hidden files
    docker.sh(name, "mkdir /home/h; echo x > /home/h/.bashrc; echo y > /home/h/seen; echo > /.top")
    done = await over(api, said(await start(api, f"{name}:/home/h/.", "."))["id"])
    assert done["state"] == "done", done
    assert (jp_root_dir / "seen").exists() and not (jp_root_dir / ".bashrc").exists()
    error(await start(api, f"{name}:/.top", "."), 403, "denied")
    error(await start(api, "file-link", f"{name}:/tmp", follow_link=True), 400, "bad-option")


async def test_hidden_files_by_the_server_s_rule(api, container, docker, jp_root_dir, jp_serverapp):
    jp_serverapp.contents_manager.allow_hidden = True
    name = container()
    (jp_root_dir / ".hidden").write_text("hidden")
    done = await over(api, said(await start(api, ".hidden", f"{name}:/tmp"))["id"])
    assert done["state"] == "done" and docker.read(name, "/tmp/.hidden") == b"hidden"


async def test_where_local_things_land(api, container, docker, jp_root_dir):
    """A few of docker cp's rules, through the descriptors of the root."""
    name = container()
    docker.sh(name, "mkdir -p /d/s; echo 1 > /d/s/f")
    (jp_root_dir / "old").mkdir()
    for destination in ("./new", "old", "old/deeper", str(jp_root_dir / "absolute")):
        done = await over(api, said(await start(api, f"{name}:/d/s", destination))["id"])
        assert done["state"] == "done", (destination, done)
    for place in ("new/f", "old/s/f", "old/deeper/f", "absolute/f"):
        assert (jp_root_dir / place).read_text() == "1\n", place
    done = await over(api, said(await start(api, f"{name}:/d/s/f", "x/y/z", parents=True))["id"])
    assert done["state"] == "done", done
    assert (jp_root_dir / "x/y/z").is_file()
    for source in ("new/.", "./new/f", "new/"):
        done = await over(api, said(await start(api, source, f"{name}:/tmp/"))["id"])
        assert done["state"] == "done", (source, done)
    assert docker.sh(name, "ls /tmp").split() == ["f", "new"]
    done = await over(api, said(await start(api, ".", f"{name}:/tmp/all"))["id"])
    assert done["state"] == "done", done
    assert "absolute" in docker.sh(name, "ls /tmp/all").split()


async def test_cancel(api, container, docker, jp_root_dir, service):
    name = container()
    docker.sh(name, "dd if=/dev/zero of=/big bs=1048576 count=1 seek=3000 2>/dev/null")
    begun = said(await start(api, f"{name}:/big", "."))
    response = await api("DELETE", "transfers", begun["id"], now=1)
    assert response.code in (202, 204)
    if response.code == 202:
        done = await over(api, begun["id"])
        assert done["state"] == "cancelled"
        assert not (jp_root_dir / "big").exists()
    wait_for(lambda: not service.working, "the end of the transfer")
    docker.sh(name, "true")  # nobody holds it
    assert [n for n in os.listdir(jp_root_dir) if n.startswith(".volcopy")] == []


async def test_events(api, container, docker, jp_fetch):
    name = container()
    docker.sh(name, "echo text > /f")
    pieces: list[str] = []
    seen = asyncio.Event()

    def take(piece: bytes) -> None:
        pieces.append(piece.decode())
        if '"state": "done"' in "".join(pieces):
            seen.set()

    listening = asyncio.ensure_future(
        jp_fetch("volcopy", "api", "events", streaming_callback=take, request_timeout=120)
    )
    begun = said(await start(api, f"{name}:/f", "."))
    await asyncio.wait_for(seen.wait(), 60)
    text = "".join(pieces)
    assert text.startswith(": ")
    events = [part for part in text.split("\n\n") if part.startswith("event: transfer\ndata: ")]
    last = json.loads(events[-1].partition("\ndata: ")[2])
    assert last["id"] == begun["id"] and last["report"]["files"] == 1
    listening.cancel()


# --- the transfers themselves


def quick(meter, cancel):
    return Report("pull")


def until_cancelled(meter, cancel):
    while True:
        cancel.check()
        time.sleep(0.01)


def test_queue_order_limit_and_owners(tmp_path):
    ended = []
    made = Transfers(most=1, per_owner=2, directory=str(tmp_path), ended=ended.append)
    first = made.start(until_cancelled, owner="a", sources=["x"], destination="y")
    second = made.start(quick, owner="a", sources=["x"], destination="y")
    assert second.state == "queued"
    with pytest.raises(TooMany):
        made.start(quick, owner="a", sources=["x"], destination="y")
    third = made.start(quick, owner="b", sources=["x"], destination="y")
    with pytest.raises(NotFound):
        made.get(first.id, "b")
    with pytest.raises(NotFound):
        made.stop(first.id, "b")
    with pytest.raises(Conflict):
        made.forget(second.id, "a")
    made.stop(third.id)
    assert third.state == "cancelled"
    made.stop(first.id)
    assert made.wait(second, 60) and second.state == "done" and first.state == "cancelled"
    assert {one.id for one in ended} == {first.id, second.id, third.id}
    assert {one.id for one in made.list("a")} == {first.id, second.id}
    made.close()
    with pytest.raises(Conflict):
        made.start(quick, owner="a", sources=["x"], destination="y")
    assert os.listdir(tmp_path) == []


def test_one_at_a_time_for_a_container(tmp_path):
    made = Transfers(most=4, directory=str(tmp_path))
    ask = {"owner": "a", "sources": ["x"], "destination": "y"}
    first = made.start(until_cancelled, holds=frozenset(("1", "2")), **ask)
    waits = made.start(quick, holds=frozenset(("2", "3")), **ask)
    other = made.start(quick, holds=frozenset(("3",)), **ask)
    assert made.wait(other, 60) and waits.state == "queued"
    made.stop(first.id)
    assert made.wait(waits, 60) and waits.state == "done"
    made.close()


def test_finished_ones_are_forgotten_after_a_while(tmp_path):
    made = Transfers(keep=0, directory=str(tmp_path))
    one = made.start(quick, owner="a", sources=["x"], destination="y")
    wait_for(lambda: one.state == "done", "its end")
    wait_for(lambda: made.list() == [], "it to be forgotten")
    made.close()


def test_a_server_remembers_them_for_an_hour(tmp_path, monkeypatch):
    """By its own setting, which a site may change."""
    from jupyter_volcopy.config import Volcopy

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = Volcopy().make_transfers()
    one = made.start(quick, owner="a", sources=["x"], destination="y")
    assert made.wait(one, 60)
    one.finished -= 3590
    assert made.list() == [one]
    one.finished -= 20
    assert made.list() == []
    made.close()
    assert Volcopy(keep_finished=60.0).make_transfers().keep == 60


def test_a_mistake_of_ours_is_no_answer(tmp_path):
    def broken(meter, cancel):
        raise ZeroDivisionError("secret /path")

    made = Transfers(directory=str(tmp_path))
    one = made.start(broken, owner="a", sources=["x"], destination="y")
    assert made.wait(one, 60) and one.state == "failed"
    assert isinstance(one.error, VolcopyError) and "secret" not in str(one.error.to_dict())
    made.close()


def test_a_restart_says_what_was_cut(tmp_path):
    """The lines of a process that is gone are read once, by the next."""
    import subprocess
    import sys

    script = (
        "import os, sys, time\n"
        "from jupyter_volcopy.core.background import Transfers\n"
        "from jupyter_volcopy.core.report import Report\n"
        "made = Transfers(directory=sys.argv[1])\n"
        "done = made.start(lambda m, c: Report('pull'), owner='a', sources=['1'], destination='2')\n"
        "made.wait(done, 60)\n"
        "made.start(lambda m, c: time.sleep(600), owner='a', sources=['c:/x'], destination='y')\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=os.getcwd()
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        living = Transfers(directory=str(tmp_path))
        assert living.list() == []  # that process lives
    finally:
        process.kill()
        process.wait()
    made = Transfers(directory=str(tmp_path))
    (lost,) = made.list("a")
    assert lost.state == "failed" and lost.error.code == "interrupted"
    assert (lost.sources, lost.destination) == (["c:/x"], "y")
    assert Transfers(directory=str(tmp_path)).list() == []
    made.close()
