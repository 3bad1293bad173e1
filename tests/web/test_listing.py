"""The first page of a very large directory: quick, because the rest is not looked at for it."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from tests.conftest import PREFIX
from tests.engine.conftest import gnu_image  # noqa: F401 - a fixture
from tests.web.conftest import said

NUMBER = 20_000
NAMES = sorted(f"f-{number}" for number in range(NUMBER))
WAYS = ("busybox", "gnu", "archive")


def filled(docker, name, prefix, number):
    """Make `/many` in a container with so many files, each with its number in it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for at in range(number):
            text = b"%d\n" % at
            info = tarfile.TarInfo(f"many/{prefix}-{at}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    docker.bytes("cp", "-", f"{name}:/", stdin=out.getvalue())


@pytest.fixture(scope="module", params=WAYS)
def many(request, docker, image):
    """A container with 20,000 files in `/many`, listed in one of the ways."""
    if request.param == "gnu":
        image = request.getfixturevalue("gnu_image")
    name = f"{PREFIX}-many{os.urandom(3).hex()}"
    docker("create", "--name", name, "--network", "none", image, "sleep", "100000")
    filled(docker, name, "f", NUMBER)
    if request.param != "archive":
        docker("start", name)
    yield name
    docker.raw("rm", "-fv", name)


class Watched:
    """What the engine was asked for: programs with the size of their answers, bytes of archives."""

    def __init__(self, engine, monkeypatch) -> None:
        self.programs: list[int] = []
        self.archives: list[int] = []
        execute, opened = engine.execute, engine.open_archive

        def run(*args, **more):
            result = execute(*args, **more)
            self.programs.append(len(result.stdout))
            return result

        def read(*args, **more):
            reader = opened(*args, **more)
            at, fill = len(self.archives), reader.readinto
            self.archives.append(0)

            def readinto(buffer):
                count = fill(buffer)
                self.archives[at] += count
                return count

            reader.readinto = readinto
            return reader

        monkeypatch.setattr(engine, "execute", run)
        monkeypatch.setattr(engine, "open_archive", read)


async def test_a_page_costs_a_page(api, service, many, request, monkeypatch):
    ways = request.node.callspec.params["many"]
    monkeypatch.setattr(service.engine(), "access", "api")
    where = ("containers", many, "entries")
    await api("GET", *where, path="/")  # which programs there are is found out once
    watched = Watched(service.engine(), monkeypatch)
    first = said(await api("GET", *where, path="/many", limit=1000))
    assert [item["name"] for item in first["entries"]] == NAMES[:1000]
    assert first["complete"] and first["next"]
    assert [item["size"] for item in first["entries"][:3]] == [2, 2, 3]
    if ways == "archive":
        assert first["total"] is None and not watched.programs
        # a header and a block of content for each, of twenty times as much; and who owns them
        assert sum(watched.archives) < 3 << 20
    else:
        assert first["total"] == NUMBER and not watched.archives
        names, entries = watched.programs
        assert names < NUMBER * 20 and entries < 1000 * 120
    # the rest, where somebody asks for it: once for all pages
    names, page, asked = [], first, []
    while page["next"]:
        before = len(watched.programs) + len(watched.archives)
        page = said(await api("GET", *where, cursor=page["next"], limit=7000))
        names += [item["name"] for item in page["entries"]]
        asked.append(len(watched.programs) + len(watched.archives) - before)
        assert page["total"] == NUMBER
    assert names == NAMES[1000:]
    assert asked[0] and not any(asked[1:])


async def test_what_changes_between_two_pages(api, container, docker):
    """Every name comes at most once, in order, and whatever stays there all the time comes."""
    name = container()
    filled(docker, name, "f" * 30, 3000)
    before = sorted(f"{'f' * 30}-{at}" for at in range(3000))
    first = said(await api("GET", "containers", name, "entries", path="/many", limit=500))
    assert first["total"] == 3000
    docker("exec", "-w", "/many", name, "rm", before[0], before[2000])
    docker("exec", "-w", "/many", name, "touch", "a-new", "z-new")
    rest = said(await api("GET", "containers", name, "entries", cursor=first["next"], limit=5000))
    names = [item["name"] for item in first["entries"] + rest["entries"]]
    assert names == [*before[:2000], *before[2001:], "z-new"]  # that page was over for `a-new`
