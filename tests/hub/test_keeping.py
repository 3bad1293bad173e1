"""Before a container is removed its user's files are kept; into the next one they are put back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.many_keeping import Shelf
from jupyter_volcopy.errors import LimitExceeded
from tests.conftest import Docker
from tests.hub.site import Site

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def keeping_site(docker: Docker, hub_image: str, hub_proxy: str, tmp_path: Path) -> Iterator[Site]:
    """A Hub whose spawner removes containers, and keeps what would be lost."""
    made = Site(
        docker,
        tmp_path,
        {
            "remove": True,
            "spawner": "jupyter_volcopy.web.hub_spawner.KeepingDockerSpawner",
            "keep": str(tmp_path / "kept"),
        },
    )
    try:
        made.start(hub_image, hub_proxy)
        yield made
    finally:
        made.stop()


def test_kept_and_put_back(keeping_site: Site, docker: Docker, tmp_path: Path) -> None:
    site = keeping_site
    site.add("x@y.z")
    site.spawn(("x@y.z", ""))
    first = site.container("x@y.z")
    docker.bytes("exec", "-i", first, "sh", "-c", "mkdir ~/论文; cat > ~/论文/draft.txt; chmod 640 ~/论文/draft.txt", stdin=b"months of work")  # fmt: skip
    before = docker("inspect", "-f", "{{.Id}}", first)
    site.halt("x@y.z")
    assert first not in docker("ps", "-a", "--format", "{{.Names}}").split()
    (saved,) = (tmp_path / "kept/x@y.z/default").iterdir()
    assert (saved / "manifest.json").is_file()
    site.spawn(("x@y.z", ""))
    assert docker("inspect", "-f", "{{.Id}}", first) != before
    assert docker("exec", first, "cat", "/home/nb/论文/draft.txt") == "months of work"
    assert (
        docker("exec", first, "stat", "-c", "%u:%g %a", "/home/nb/论文/draft.txt")
        == "1000:1000 640"
    )
    (marked,) = (tmp_path / "kept/x@y.z/default").iterdir()
    assert marked.name == saved.name + ".restored"


def test_quota_and_age(docker: Docker, container: Callable[..., str], tmp_path: Path) -> None:
    engine = open_engine()
    try:
        name = container("created")
        (tmp_path / "f").write_bytes(b"x" * 5000)
        docker("cp", str(tmp_path / "f"), f"{name}:/srv/f")
        shelf = Shelf(str(tmp_path / "shelf"), quota=20_000, days=1)
        assert shelf.newest("a") == ""
        for _ in range(3):
            done = shelf.keep(engine, name, "a", how="rm")
            assert done is not None and done.files == 1
            assert shelf.newest("a") == done.destination
        place = Path(shelf.place("a"))
        count = len(list(place.iterdir()))
        assert 1 <= count < 4  # each has its manifest, too: the oldest had to go
        old = time.time() - 3 * 86_400
        for one in place.iterdir():
            os.utime(one, (old, old))
        shelf.tidy("a")
        assert list(place.iterdir()) == []
        with pytest.raises(LimitExceeded):
            Shelf(str(tmp_path / "small"), quota=1000).keep(engine, name, "a", how="rm")
        unchanged = container("created")
        assert shelf.keep(engine, unchanged, "b", how="rm") is None
    finally:
        engine.close()
