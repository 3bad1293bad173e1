"""A tree that is listed while its archive is read: what happens between the two is not lost, nor made up.

The program that lists runs beside the archive (fact E12). What is made sure of here is every other
order: it had to wait until the archive was closed, it was cut, or nobody could wait for it.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.core import room
from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Listing
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.errors import NoSpace, TransferCancelled
from tests.conftest import Docker, wait_for

LARGE = 1 << 20


@pytest.fixture
def engine(docker: Docker) -> Iterator[DockerEngine]:
    with open_engine() as opened:
        opened.access = "api"
        yield opened


@pytest.fixture
def copier(engine: DockerEngine, tmp_path: Path) -> Copier:
    return Copier(engine, journal=Journal(str(tmp_path / "journal")))


@pytest.fixture
def shared(container: Callable[..., str], tmp_path: Path) -> tuple[str, Path]:
    """A container, and a directory of ours that is its `/play`: it changes while it is read."""
    play = tmp_path / "play"
    (play / "sub").mkdir(parents=True)
    (play / "a").write_bytes(b"a")
    (play / "sub" / "b").write_bytes(b"b")
    return container("running", "-v", f"{play}:/play"), play


class Late:
    """A listing that had to wait until the archive was read and closed (fact E1)."""

    def __init__(
        self, engine: DockerEngine, name: str, path: str, meanwhile: Callable[[], object]
    ) -> None:
        self._begin = lambda: DockerEngine.list_beside(engine, name, path)
        self._meanwhile = meanwhile
        self._told: Callable[[Listing], None] | None = None

    def begin(self, told: Callable[[Listing], None]) -> bool:
        self._told = told
        return True

    def abort(self) -> None:
        pass

    def wait(self, cancel: Cancel | None = None) -> Listing | None:
        self._meanwhile()
        found = self._begin()
        assert found is not None and self._told is not None
        found.begin(self._told)
        return found.wait(cancel)


def late(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> None:
    """What happens before the listing, and after the archive."""
    made = lambda name, path: Late(engine, name, path, meanwhile)  # noqa: E731
    monkeypatch.setattr(engine, "list_beside", made)


@pytest.fixture
def pull_late(
    engine: DockerEngine,
    copier: Copier,
    shared: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Report]:
    """`pull_late(meanwhile, **options)`: `/play` to `got`, with a `late` listing."""

    def pull(meanwhile: Callable[[], object], **options: Any) -> Report:
        late(engine, monkeypatch, meanwhile)
        return copier.copy(f"{shared[0]}:/play", str(tmp_path / "got"), **options)

    return pull


def tree(path: Path) -> dict[str, bytes | None]:
    return {
        str(item.relative_to(path)): item.read_bytes() if item.is_file() else None
        for item in path.rglob("*")
    }


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda play: (play / "sub" / "new").write_bytes(b"new"),
    "a directory": lambda play: shutil.copytree(play / "sub", play / "later", dirs_exist_ok=True),
    "a link": lambda play: (play / "l").is_symlink() or (play / "l").symlink_to("/etc/hostname"),
    "another name": lambda play: (play / "z").exists() or (play / "a").rename(play / "z"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_came_after_it_was_read(
    what: str, pull_late: Callable[..., Report], shared: tuple[str, Path], tmp_path: Path
) -> None:
    """Whether it came late or was left out is no guess: listed first, all is read once more."""
    play = shared[1]
    report = pull_late(lambda: CHANGES[what](play))
    assert report.ok and {note.code for note in report.warnings} <= {"link"}
    assert tree(tmp_path / "got") == tree(play)


def test_what_came_then_and_is_not_wanted_is_not_missed(
    pull_late: Callable[..., Report], shared: tuple[str, Path], tmp_path: Path
) -> None:
    new = shared[1] / "sub" / "x.tmp"
    assert pull_late(lambda: new.write_bytes(b"x"), exclude=("*.tmp",)).ok
    assert sorted(tree(tmp_path / "got")) == ["a", "sub", "sub/b"]


def test_a_directory_that_was_emptied_before_it_was_listed(
    pull_late: Callable[..., Report], shared: tuple[str, Path], tmp_path: Path
) -> None:
    only = shared[1] / "sub" / "b"
    assert pull_late(lambda: only.unlink(missing_ok=True)).ok
    assert sorted(tree(tmp_path / "got")) == ["a", "sub"]


def test_what_is_left_out_is_named_all_the_same(
    engine: DockerEngine,
    copier: Copier,
    shared: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file goes after it was listed and before it is read, each time."""
    name, play = shared
    opened, listed, meter = engine.open_archive, engine.list_dir, Meter()

    def open_archive(*args: Any, **more: Any) -> Any:
        wait_for(lambda: meter.bytes_total is not None, "the listing")
        (play / "sub" / "b").unlink(missing_ok=True)
        return opened(*args, **more)

    def list_dir(*args: Any, **more: Any) -> Listing:
        (play / "sub" / "b").write_bytes(b"again")
        return listed(*args, **more)

    monkeypatch.setattr(engine, "open_archive", open_archive)
    monkeypatch.setattr(engine, "list_dir", list_dir)
    report = copier.copy(f"{name}:/play", str(tmp_path / "got"), meter=meter)
    assert not report.ok and [note.path for note in report.failed] == ["sub/b"]
    assert sorted(tree(tmp_path / "got")) == ["a", "sub"]


def test_what_went_before_it_was_listed_came(
    pull_late: Callable[..., Report], shared: tuple[str, Path], tmp_path: Path
) -> None:
    assert pull_late((shared[1] / "a").unlink).ok
    assert (tmp_path / "got" / "a").read_bytes() == b"a"


@pytest.mark.parametrize("second", ["the same second", "another second"])
def test_a_file_that_changed_before_it_was_listed_is_read_once_more(
    second: str, pull_late: Callable[..., Report], shared: tuple[str, Path], tmp_path: Path
) -> None:
    """The listing knows only what it became; what was read says what it was."""
    play = shared[1]
    (play / "a").write_bytes(b"1" * LARGE)
    if second == "another second":
        os.utime(play / "a", (1_600_000_000, 1_600_000_000))
    assert pull_late(lambda: (play / "a").write_bytes(b"2" * LARGE)).ok
    assert (tmp_path / "got" / "a").read_bytes() == b"2" * LARGE


@pytest.mark.parametrize("why", ["it was cut", "it raced", "it could not begin"])
def test_one_that_is_of_no_use_is_made_again(
    why: str,
    engine: DockerEngine,
    copier: Copier,
    shared: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the archive leaves out is named all the same."""
    name, _ = shared
    monkeypatch.chdir(shared[1])  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")
    begin = engine.list_beside

    def broken(ident: str, path: str) -> Any:
        if why == "it could not begin":
            return None
        found = begin(ident, path)
        assert found is not None
        wait = found.wait
        if why == "it was cut":
            found.abort()
        else:

            def raced(cancel: Cancel) -> Listing | None:
                listing = wait(cancel)
                assert listing is not None
                return Listing(listing.path, (), raced=True)

            monkeypatch.setattr(found, "wait", raced)
        return found

    monkeypatch.setattr(engine, "list_beside", broken)
    report = copier.copy(f"{name}:/play", str(tmp_path / "got"))
    assert report.ok and [note.code for note in report.warnings] == ["socket"]
    assert sorted(tree(tmp_path / "got")) == ["a", "sub", "sub/b"]


class Held:
    """An archive that goes on after its first piece only once it is closed, or `go_on` says so."""

    def __init__(self, reader: Any, began: threading.Event, go_on: Callable[[], bool]) -> None:
        self._reader = reader
        self._began = began
        self._go_on = go_on
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def readinto(self, buffer: memoryview) -> int:
        if self._began.is_set():
            wait_for(lambda: self._closed or self._go_on(), "the archive to be stopped")
        count = self._reader.readinto(buffer)
        self._began.set()
        return count

    def close(self) -> None:
        self._closed = True
        self._reader.close()


@pytest.mark.parametrize("known", ["while it is read", "before it is opened", "afterwards"])
def test_what_does_not_fit_stops_the_archive(
    known: str,
    engine: DockerEngine,
    copier: Copier,
    shared: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is there afterwards, and the message has the numbers; what came whole did fit."""
    name, play = shared
    (play / "a").write_bytes(bytes(4 * LARGE))
    monkeypatch.setattr(room, "local_free", lambda _: 2 * LARGE)
    meter, began = Meter(), threading.Event()
    opened, begin = engine.open_archive, engine.list_beside

    def open_archive(*args: Any, **more: Any) -> Any:
        if known == "before it is opened":
            wait_for(lambda: meter.bytes_total is not None, "the listing")
        return Held(opened(*args, **more), began, lambda: known == "afterwards")

    def list_beside(ident: str, path: str) -> Any:
        found = begin(ident, path)
        assert found is not None
        real = found.begin

        def begin_late(told: Callable[[Listing], None]) -> bool:
            def late(listing: Listing) -> None:
                assert began.wait(60)
                told(listing)

            return bool(real(late if known == "while it is read" else told))

        monkeypatch.setattr(found, "begin", begin_late)
        return found

    monkeypatch.setattr(engine, "open_archive", open_archive)
    if known == "afterwards":
        late(engine, monkeypatch, lambda: None)
    else:
        monkeypatch.setattr(engine, "list_beside", list_beside)
    (tmp_path / "to").mkdir()
    target = str(tmp_path / "to" / "got")
    if known == "afterwards":
        assert copier.copy(f"{name}:/play", target, meter=meter).ok
        return
    with pytest.raises(NoSpace, match=f"{4 * LARGE + 1} bytes are needed") as refused:
        copier.copy(f"{name}:/play", target, meter=meter)
    assert refused.value.context == {"needed": 4 * LARGE + 1, "free": 2 * LARGE}
    assert not any((tmp_path / "to").iterdir())


@pytest.mark.parametrize("now", [True, False], ids=["at once", "asked"])
def test_a_cancel_waits_for_no_program(
    now: bool,
    engine: DockerEngine,
    copier: Copier,
    shared: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The archive is read, and `find` hangs: a cancel ends the copy, and its thread."""
    name, _ = shared
    begin = engine.start_program
    hanging = ["sleep", "1000"]
    monkeypatch.setattr(
        engine, "start_program", lambda ident, argv, **more: begin(ident, hanging, **more)
    )
    (tmp_path / "to").mkdir()
    cancel, meter, ended = Cancel(), Meter(), []

    def copy() -> None:
        try:
            copier.copy(f"{name}:/play", str(tmp_path / "to" / "got"), cancel=cancel, meter=meter)
        except TransferCancelled as error:
            ended.append(error)

    thread = threading.Thread(target=copy)
    thread.start()
    wait_for(lambda: meter.entries >= 4, "the archive to be read")
    cancel.cancel(now=now)
    thread.join(8)
    assert ended and not thread.is_alive()
    assert not any((tmp_path / "to").iterdir())
