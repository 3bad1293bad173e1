"""What is done with a container user's rights is the same directly and by a program, and no more than theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_volcopy.core import many
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.direct import DirectEngine
from jupyter_volcopy.core.direct_root import Root, why_not
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.fs_user import FsUser
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.kernel import NotAvailable
from jupyter_volcopy.core.localfs import acting, file_user
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.policy import Rules, User
from jupyter_volcopy.core.reach import mount_points
from jupyter_volcopy.errors import AccessDenied, Conflict, NoSuchPath, ReadOnlyTarget, VolcopyError
from tests.conftest import Docker
from tests.engine.conftest import members, read_all

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="direct access is root's"),
]

USER = "1000:100"


def rights() -> list[str]:
    """What the kernel says of this thread's rights."""
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("Uid", "Gid", "Groups", "Cap"))]


@pytest.fixture(params=["direct", "program"])
def engine(request: pytest.FixtureRequest, docker: Docker, tmp_path: Path) -> Iterator[Engine]:
    """Both ways to work as a user; afterwards this thread has its own rights."""
    before = rights()
    with open_engine() as opened:
        if request.param == "program":
            opened.access = "api"  # type: ignore[attr-defined]
            yield opened
        else:
            with DirectEngine(opened, Journal(str(tmp_path / "journal")), must=True) as direct:
                yield direct
    assert rights() == before


def known(engine: Engine, name: str) -> str:
    """The container's id; where it cannot be reached directly, the test is skipped and says why."""
    try:
        return engine.container(name).id
    except Conflict as error:
        pytest.skip(f"no direct access here: {error.message}")


def copier(engine: Engine, name: str, user: str = USER, journal: Journal | None = None) -> Copier:
    """Copies as a user, in the way of `engine` and no other."""
    owned = User("u", owned=frozenset((engine.container(name).id,)))
    return Copier(Guarded(engine, owned, Rules(), acting_as=lambda _: user), journal=journal)


def put(engine: Engine, name: str, source: Path, target: str, user: str = USER) -> None:
    """Push as a user."""
    assert copier(engine, name, user).copy(str(source), f"{name}:{target}").ok


FILL = """
    mkdir -p /t/open /t/closed /t/way/in /t/drop /t/group
    echo mine > /t/open/mine; echo secret > /t/open/secret; echo below > /t/closed/f; echo in > /t/way/in/f
    echo g > /t/group/f; chmod 640 /t/group/f; chgrp 4242 /t/group/f
    ln -s /t/open/mine /t/open/link; ln -s /nowhere /t/open/gone
    chown 1000:100 /t/open /t/open/mine; chmod 600 /t/open/secret; chmod 700 /t/closed
    chmod 711 /t/way; chmod 733 /t/drop
"""


@pytest.fixture
def box(engine: Engine, container: Callable[..., str], docker: Docker) -> str:
    name = container()
    docker.sh(name, FILL)
    return known(engine, name)  # by its id, as in a copy: only that is reached directly


def test_what_the_user_may_see(engine: Engine, box: str) -> None:
    assert engine.stat(box, "/t/open/secret", user=USER).size == 7
    assert engine.stat(box, "/t/way/in/f", user=USER).kind is Kind.FILE
    link = engine.stat(box, "/t/open/link", user=USER)
    assert (link.kind, link.link_target) == (Kind.SYMLINK, "/t/open/mine")
    assert engine.stat(box, "/t/open/gone", user=USER).kind is Kind.SYMLINK
    names = [item.name for item in engine.list_dir(box, "/t/open", user=USER).entries]
    assert sorted(names) == ["gone", "link", "mine", "secret"]
    for path in ("/t/closed/f", "/t/closed/none"):
        with pytest.raises(AccessDenied):
            engine.stat(box, path, user=USER)
    with pytest.raises(AccessDenied):
        engine.list_dir(box, "/t/closed", user=USER)
    with pytest.raises(NoSuchPath, match="Could not find the file /t/open/none"):
        engine.stat(box, "/t/open/none", user=USER)


def test_what_the_user_may_read(engine: Engine, box: str) -> None:
    found = members(read_all(engine.open_archive(box, "/t/way/in", user=USER)))
    assert sorted(name.rstrip("/") for name in found) == ["in", "in/f"]
    for path in ("/t/open", "/t/open/secret", "/t/closed"):
        with pytest.raises(VolcopyError, match="ermission denied"):
            read_all(engine.open_archive(box, path, user=USER))


@pytest.mark.parametrize(
    ("user", "may"),
    [
        (USER, False),
        ("1000:4242", True),
        ("1003", True),
        ("1004", False),
        ("1005", True),
        ("1006", False),
        ("1007", True),
    ],
)
def test_whose_groups_count(engine: Engine, box: str, docker: Docker, user: str, may: bool) -> None:
    """Those of the container's own passwd and group, where no group is named."""
    docker.sh(
        box,
        "echo 'four:x:4242:three' >> /etc/group; echo 'three:x:1003:100::/:/bin/sh' >> /etc/passwd;"
        "echo 'five:x:1005:4242::/:/bin/sh' >> /etc/passwd; echo '1006:x:5:4242::/:/bin/sh' >> /etc/passwd;"
        "echo 'six:x:1006:100::/:/bin/sh' >> /etc/passwd; echo 'short:x:1007:4242' >> /etc/passwd",
    )
    if may:
        assert "f" in members(read_all(engine.open_archive(box, "/t/group/f", user=user)))
    else:
        with pytest.raises(VolcopyError, match="ermission denied"):
            read_all(engine.open_archive(box, "/t/group/f", user=user))


def test_groups_that_were_added_to_the_container(
    engine: Engine, container: Callable[..., str], docker: Docker
) -> None:
    name = container("running", "--group-add", "4242")
    docker.sh(name, FILL)
    assert "f" in members(
        read_all(engine.open_archive(known(engine, name), "/t/group/f", user=USER))
    )


def test_groups_of_what_is_mounted_over_passwd_do_not_count(
    engine: Engine, container: Callable[..., str], docker: Docker, tmp_path: Path
) -> None:
    """The engine reads that of the root file system."""
    (tmp_path / "passwd").write_text("x:x:1000:4242::/:/bin/sh\n")
    name = container("running", "-v", f"{tmp_path}/passwd:/etc/passwd:ro")
    docker.sh(name, FILL)
    with pytest.raises(VolcopyError, match="ermission denied"):
        read_all(engine.open_archive(known(engine, name), "/t/group/f", user="1000"))


def test_a_root_without_its_capabilities_may_no_more_than_there(
    engine: Engine, container: Callable[..., str], volume: Callable[..., str], docker: Docker
) -> None:
    data = volume()
    docker.sh(
        container("running", "-v", f"{data}:/data"),
        "echo x > /data/f; chmod 600 /data/f; chown 1001 /data/f",
    )
    name = container("running", "--cap-drop", "ALL", "-v", f"{data}:/data")
    with pytest.raises(VolcopyError, match="ermission denied"):
        read_all(engine.open_archive(known(engine, name), "/data/f", user="0:0"))


def test_a_file_that_the_user_may_not_read_is_refused_as_that(
    engine: Engine, box: str, tmp_path: Path
) -> None:
    with pytest.raises(AccessDenied):
        copier(engine, box).copy(f"{box}:/t/open/secret", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_archive_closed_in_the_middle_holds_nothing(engine: Engine, box: str) -> None:
    engine.stat(box, "/t/way/in", user=USER)
    before = os.listdir("/proc/self/fd")
    archive = engine.open_archive(box, "/t/way", user=USER)
    archive.readinto(memoryview(bytearray(512)))
    archive.close()
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(VolcopyError):
        archive.readinto(memoryview(bytearray(1 << 20)))


def test_a_copier_of_what_is_reached_directly_is_content(
    box: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As hand-outs make it."""
    monkeypatch.setenv("VOLCOPY_ACCESS", "direct")
    (tmp_path / "f").write_text("new")
    with open_engine() as opened:
        try:
            with many.acting(opened, many.Goal("x", box, "x"), lambda _: USER) as work:
                assert work.copier.copy(str(tmp_path / "f"), f"{box}:/t/open/").ok
        except Conflict as error:
            pytest.skip(f"no direct access here: {error.message}")


def test_what_the_user_may_write(engine: Engine, box: str, docker: Docker, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep/f").write_text("new")
    (tree / "link").symlink_to("deep/f")
    put(engine, box, tree, "/t/open/")
    put(engine, box, tree / "deep/f", "/t/drop/")
    put(engine, box, tree / "deep/f", "/t/open/mine")
    (tree / "deep/f").write_text("newer")
    put(engine, box, tree, "/t/open/")
    said = docker.sh(
        box,
        "cd /t/open; cat tree/deep/f mine; stat -c '%u:%g %n' tree tree/deep tree/deep/f tree/link ../drop/f",
    )
    owners = [
        f"{USER} {path}" for path in ("tree", "tree/deep", "tree/deep/f", "tree/link", "../drop/f")
    ]
    assert said.split("\n") == ["newernew" + owners[0], *owners[1:]]
    for target in ("/t/closed/", "/t/way/", "/t/way/in/f", "/", "/etc/passwd"):
        with pytest.raises(VolcopyError, match="ermission denied"):
            put(engine, box, tree / "deep/f", target)
    assert docker.sh(box, "find / -xdev -name '.volcopy-*'; cat /t/way/in/f") == "in"


def test_directories_of_others_are_filled_where_the_user_may(
    engine: Engine, box: str, docker: Docker, tmp_path: Path
) -> None:
    """A course's directory: its group may write in it, and it stays whose and what it is."""
    docker.sh(
        box,
        "mkdir -p /t/open/course/all; cd /t/open; chgrp -R 100 course; chmod 2775 course course/all",
    )
    (tmp_path / "course/all").mkdir(parents=True)
    (tmp_path / "course/all/f").write_text("new")
    put(engine, box, tmp_path / "course", "/t/open/")
    said = docker.sh(box, "cd /t/open/course; stat -c '%u:%g %a' all; stat -c '%u:%g' all/f")
    assert said.split("\n") == ["0:100 2775", USER]


def test_read_only_stays_read_only(
    engine: Engine, container: Callable[..., str], volume: Callable[..., str], tmp_path: Path
) -> None:
    name = container(
        "running", "--read-only", "-v", f"{volume()}:/data:ro", "--tmpfs", "/mem:uid=1000"
    )
    known(engine, name)
    (tmp_path / "f").write_text("new")
    for target in ("/data/", "/home/"):
        with pytest.raises(ReadOnlyTarget):
            put(engine, name, tmp_path / "f", target)
    put(engine, name, tmp_path / "f", "/mem/")
    assert engine.stat(name, "/mem/f", user=USER).size == 3


def test_memory_is_the_container_s(
    engine: Engine, container: Callable[..., str], docker: Docker, tmp_path: Path
) -> None:
    """What lies in a tmpfs counts against its limit, as where a program of it writes."""
    name = container("running", "--memory", "48m", "--tmpfs", "/mem:uid=1000,size=500m")
    known(engine, name)
    with (tmp_path / "big").open("wb") as file:
        file.truncate(96 << 20)
        file.write(b"x" * (96 << 20))
    with pytest.raises(VolcopyError):
        put(engine, name, tmp_path / "big", "/mem/")


def test_the_kernel_s_files_are_not_read_with_our_eyes(
    engine: Engine, container: Callable[..., str]
) -> None:
    """Who looks into a `/proc` of this machine sees what is theirs: we are not the user."""
    name = container("running", "-v", "/proc:/host:ro")
    ident = known(engine, name)
    for path in (
        f"/host/{os.getpid()}/fd",
        f"/host/{os.getpid()}/maps",
        f"/host/{os.getpid()}/cwd/.",
    ):
        with pytest.raises(VolcopyError):
            if path.endswith("fd"):
                engine.list_dir(ident, path, user=USER)
            else:
                read_all(engine.open_archive(ident, path, user=USER))


def push_after_a_killed_one(engine: Engine, box: str, left: str, tmp_path: Path) -> None:
    """A push as the user, by a journal in which a dead process left the temporary `left`."""
    journal = Journal(str(tmp_path / "dead"))
    journal.container(engine.address, box, "/t/open", left)
    os.close(journal._fd)
    journal._fd = -1
    (tmp_path / "f").write_text("new")
    copier(engine, box, journal=Journal(str(tmp_path / "dead"))).copy(
        str(tmp_path / "f"), f"{box}:/t/open/"
    )


def test_a_killed_push_leaves_nothing_for_long(
    engine: Engine, box: str, docker: Docker, tmp_path: Path
) -> None:
    left = ".volcopy-0123456789abcdef"
    docker.sh(
        box, f"mkdir /t/open/{left}; touch /t/open/{left}/f; chown -R 1000:100 /t/open/{left}"
    )
    push_after_a_killed_one(engine, box, left, tmp_path)
    if isinstance(engine, DirectEngine):
        assert docker.sh(box, "ls -A /t/open").split() == ["f", "gone", "link", "mine", "secret"]


def test_what_the_user_cannot_remove_is_not_forgotten(
    engine: Engine, box: str, docker: Docker, tmp_path: Path
) -> None:
    left = ".volcopy-0123456789abcdef"
    docker.sh(box, f"mkdir /t/open/{left}; touch /t/open/{left}/f")
    push_after_a_killed_one(engine, box, left, tmp_path)
    if isinstance(engine, DirectEngine):
        found = Journal(str(tmp_path / "dead")).leftovers(str(tmp_path / "dead"))
        assert [one.name for one in found] == [left]


# -- the rights themselves


def test_rights_are_of_one_thread_and_given_back(tmp_path: Path) -> None:
    before = rights()
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    user = FsUser(1000, 100, [4242])
    seen: list[list[str]] = []
    with user:
        inside = {line.split(":")[0]: line.split()[1:] for line in rights()}
        with pytest.raises(PermissionError):
            secret.read_text()
        assert file_user() == 1000
        other = threading.Thread(target=lambda: seen.append(rights()))
        other.start()
        other.join()
        with user, user.ours():
            assert secret.read_text() == "x" and file_user() == 0
        with pytest.raises(PermissionError):
            secret.read_text()
    assert inside["Uid"] == ["0", "0", "0", "1000"] and inside["Gid"] == ["0", "0", "0", "100"]
    assert inside["Groups"] == ["4242"] and int(inside["CapEff"][0], 16) == 0
    assert rights() == before and file_user() == 0

    with pytest.raises(NotAvailable):
        FsUser(0, 0)


def test_rights_are_given_back_whatever_happens() -> None:
    before = rights()
    user = FsUser(1000, 100)

    def items() -> Iterator[int]:
        yield os.getuid()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), user:
        for _ in user.outside(items()):
            assert file_user() == 1000
    assert rights() == before and not acting.depth
    for item in user.inside(iter([1, 2])):
        assert rights() == before, item
    other = FsUser(1001, 100)
    with pytest.raises(RuntimeError), user, other:
        pass
    assert rights() == before and not acting.depth


NOTHING_IS_IMPORTED = """
import builtins, sys
from pathlib import Path
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.direct import DirectEngine
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.localfs import acting
from jupyter_volcopy.core.policy import Rules, User

class Watch:
    def find_spec(self, name, path=None, target=None):
        if acting.depth:
            print("imported with a user's rights:", name)
        return None

sys.meta_path.insert(0, Watch())
name, work = sys.argv[1:]
with open_engine() as opened, DirectEngine(opened, Journal(work + "/journal"), must=True) as engine:
    owned = User("u", owned=frozenset((engine.container(name).id,)))
    copier = Copier(Guarded(engine, owned, Rules(), acting_as=lambda _: "1000:100"))
    for source, target in ((work + "/tree", name + ":/t/open/"), (work + "/tree", name + ":/t/open/"),
                           (name + ":/t/open", work + "/back"), (work + "/tree", name + ":/t/closed/")):
        try:
            copier.copy(source, target)
        except Exception as error:
            print(type(error).__name__)
"""


def test_nothing_is_imported_with_a_users_rights(
    container: Callable[..., str], docker: Docker, tmp_path: Path
) -> None:
    """They need not be allowed to read where we are installed."""
    name = container()
    docker.sh(name, FILL)
    with open_engine() as opened:
        found = opened.container(name)
        reason = why_not(opened, found)
        if reason:
            pytest.skip(f"no direct access here: {reason}")
        Root(found).close()
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/f").write_text("new")
    (tmp_path / "tree/hard").hardlink_to(tmp_path / "tree/deep/f")
    ran = subprocess.run(
        [sys.executable, "-c", NOTHING_IS_IMPORTED, name, str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert (ran.stdout, ran.stderr) == ("AccessDenied\n", "")
    assert (tmp_path / "back/mine").read_text() == "mine\n"
    assert not (tmp_path / "back/secret").exists()


def test_mount_points_of_any_name() -> None:
    table = "1 0 0:1 / /a\\040b rw - ext4 x rw\n2 0 0:1 / /c\u2028\x0cd rw\n".encode()
    assert list(mount_points(table)) == ["/a b", "/c\u2028\x0cd"]
