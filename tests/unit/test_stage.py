"""Stage: nothing half-written under a final name, and exactly what docker cp leaves."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading

import pytest

from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.stage import Stage
from jupyter_volcopy.errors import (
    Conflict,
    CutStream,
    LocalError,
    LocalPermission,
    NoSpace,
    NoSuchPath,
    NotADirectory,
    PartialWrite,
    ReadOnlyTarget,
    UnsafeEntry,
    VolcopyError,
)
from tests.unit.local_setup import (
    NOBODY,
    OLD,
    C,
    D,
    F,
    H,
    L,
    P,
    age,
    as_user,
    contents,
    copy,
    fill,
    look,
    needs_root,
    no_descriptor_left,
    put,
    small_disk,
)

TREE = [
    D("", 0o750, 5),
    F("a", b"A", 0o600),
    D("r", 0o555, 6),
    F("r/x", b"X", 0o444),
    D("z", 0, 7),
    F("z/deep", b"Z", 0),
    L("l", "../nowhere", 8),
    H("a2", "a"),
    H("l2", "l"),
    D("s", 0o711),
    H("s/a3", "a"),
    P("s/p", 0o640),
]


@pytest.fixture
def place():
    """A directory others may enter, with `in` in it for the copies."""
    root = tempfile.mkdtemp(prefix="volcopy-test-")
    os.chmod(root, 0o755)
    os.mkdir(root + "/in")
    try:
        yield root + "/in"
    finally:
        shutil.rmtree(root)


def test_new_file(place):
    landed, stage = copy(place, "f", [F("", b"new", 0o640, 1234567890.987)])
    assert (landed.created, landed.replaced) == (1, 0)
    assert look(place)["f"][:2] == (stat.S_IFREG, 0o640)
    assert look(place)["f"][4:6] == (1234567890, b"new")
    assert stage.notes == []
    assert os.listdir(place) == ["f"]


@pytest.mark.parametrize("umask", [0o077, 0])
def test_mode_is_the_sources_whatever_the_umask(place, umask):
    def work():
        os.umask(umask)
        copy(place, "t", [D("", 0o777), F("f", mode=0o666), P("p", 0o666), D("d", 0o1777)])

    as_user(work, os.getuid(), os.getgid())
    tree = look(place + "/t")
    assert [tree[name][1] for name in ("", "f", "p", "d")] == [0o777, 0o666, 0o666, 0o1777]


def test_file_before_1970_gets_1970(place):
    copy(place, "f", [F("", mtime=-1000)])
    assert os.stat(place + "/f").st_mtime == 0


def test_nothing_stands_under_the_final_name_before_the_commit(place):
    put(place + "/f", b"old")
    age(place)
    before = look(place)
    journal = Journal(place + "/../journal")
    stage = Stage(place, "f", safe=False, owner=None, journal=journal)
    fill(stage, [F("", b"new")])
    stage.check()
    assert contents(place)["f"] == b"old"
    stage.abort()
    assert look(place) == before
    journal.close()


@pytest.mark.parametrize("merge_top", [False, True])
def test_aborted_tree_leaves_everything_as_it_was(place, merge_top):
    put(place + "/t/a", b"old")
    age(place)
    before = look(place)
    journal = Journal(place + "/../journal")
    directory = place + "/t" if merge_top else place
    with Stage(
        directory, "t", safe=False, owner=None, journal=journal, merge_top=merge_top
    ) as stage:
        fill(stage, TREE)
        stage.check()
        assert contents(place)["t/a"] == b"old"
    assert look(place) == before
    assert journal.path and os.path.exists(journal.path)
    journal.close()
    assert not os.listdir(place + "/../journal")


def expected_tree(root):
    tree = look(root)
    assert {rel: (f[1], f[4], f[5]) for rel, f in tree.items() if rel not in ("z/deep",)} == {
        "": (0o750, 5, None),
        "a": (0o600, OLD, b"A"),
        "a2": (0o600, OLD, b"A"),
        "l": (0o777, 8, b"../nowhere"),
        "l2": (0o777, 8, b"../nowhere"),
        "r": (0o555, 6, None),
        "r/x": (0o444, OLD, b"X"),
        "s": (0o711, OLD, None),
        "s/a3": (0o600, OLD, b"A"),
        "s/p": (0o640, OLD, None),
        "z": (0, 7, None),
    }
    assert tree["z/deep"][:2] == (stat.S_IFREG, 0)
    assert [tree[n][6] for n in ("a", "a2", "s/a3", "l", "l2")] == ["a", "a", "a", "l", "l"]


def test_new_tree(place):
    landed, _ = copy(place, "t", TREE)
    expected_tree(place + "/t")
    assert (landed.created, landed.replaced) == (8, 0)


def test_merge(place):
    put(place + "/t/keep", b"K")
    put(place + "/t/a", b"old a")
    put(place + "/t/r/x", b"old x", 0o444)
    put(place + "/t/r/other", b"O")
    os.link(place + "/t/a", place + "/a-elsewhere")
    os.mkfifo(place + "/t/a2")
    os.symlink("../a-elsewhere", place + "/t/l")
    landed, _ = copy(place, "t", TREE)
    assert (landed.created, landed.replaced) == (4, 4)
    assert contents(place)["a-elsewhere"] == b"old a"
    assert os.stat(place + "/t/r").st_mode & 0o777 == 0o555
    assert contents(place)["t/r/other"] == b"O"
    os.unlink(place + "/t/keep")
    os.unlink(place + "/t/r/other")
    os.utime(place + "/t/r", (6, 6))
    os.utime(place + "/t", (5, 5))
    expected_tree(place + "/t")


def test_merge_twice_keeps_hard_links_together(place):
    copy(place, "t", TREE)
    copy(place, "t", TREE)
    expected_tree(place + "/t")
    assert os.listdir(place) == ["t"]


def test_contents_into_a_directory_keep_its_mode_and_make_its_time_now(place):
    os.chmod(place, 0o711)
    age(place)
    copy(place, "", TREE, merge_top=True)
    info = os.stat(place)
    assert stat.S_IMODE(info.st_mode) == 0o711
    assert info.st_mtime > OLD + 1000
    assert sorted(os.listdir(place)) == ["a", "a2", "l", "l2", "r", "s", "z"]
    assert os.stat(place + "/r").st_mtime == 6


def test_empty_contents_do_not_change_the_time(place):
    age(place)
    before = look(place)
    copy(place, "", [D("", 0o700)], merge_top=True)
    assert look(place) == before


@pytest.mark.parametrize(
    ("there", "nodes", "text"),
    [
        ("t/d/", [D(""), F("a"), F("d")], 'cannot overwrite directory "{P}/t/d" with non-directory "{P}"'),
        ("t/f", [D(""), F("a"), D("f"), F("f/x")], 'cannot overwrite non-directory "{P}/t/f" with directory "{P}"'),
        ("t/s/f", [D(""), D("s"), D("s/f")], 'cannot overwrite non-directory "{P}/t/s/f" with directory "{P}"'),
        ("t", [D(""), F("a")], 'cannot overwrite non-directory "{P}/t" with directory "{P}"'),
        ("t/", [F("")], 'cannot overwrite directory "{P}/t" with non-directory "{P}"'),
    ],
)  # fmt: skip
def test_conflicts_are_found_before_anything_changes(place, there, nodes, text):
    if there.endswith("/"):
        os.makedirs(f"{place}/{there}")
    else:
        put(f"{place}/{there}")
    age(place)
    before = look(place)
    with pytest.raises(Conflict) as caught:
        copy(place, "t", nodes)
    assert text.replace("{P}", place) in caught.value.message
    assert look(place) == before


@pytest.mark.parametrize("name", ["t", "t/sub"])
def test_a_link_where_a_directory_is_due_is_refused(place, name):
    os.mkdir(place + "/real")
    os.makedirs(os.path.dirname(f"{place}/{name}"), exist_ok=True)
    os.symlink(place + "/real", f"{place}/{name}")
    age(place)
    before = look(place)
    with pytest.raises(Conflict, match="cannot overwrite non-directory"):
        copy(place, "t", [D(""), D("sub"), F("sub/x")])
    assert look(place) == before


def test_a_link_where_a_file_goes_is_replaced_and_not_followed(place):
    put(place + "/other", b"other")
    os.symlink("other", place + "/f")
    os.makedirs(place + "/t")
    os.symlink("../other", place + "/t/f")
    copy(place, "f", [F("", b"new")])
    copy(place, "t", [D(""), F("f", b"new")])
    assert contents(place) == {"f": b"new", "other": b"other", "t": None, "t/f": b"new"}


def test_keep_and_backup(place):
    put(place + "/t/a", b"old a")
    put(place + "/f", b"old f")
    landed, _ = copy(place, "t", [D(""), F("a", b"A"), F("b", b"B")], existing="keep")
    assert (landed.created, landed.replaced, landed.kept) == (1, 0, ["a"])
    landed, _ = copy(place, "f", [F("", b"new")], existing="keep")
    assert (landed.created, landed.kept) == (0, [""])
    landed, _ = copy(place, "t", [D(""), F("a", b"A"), F("b", b"B2")], existing="backup")
    assert (landed.created, landed.replaced) == (0, 2)
    copy(place, "f", [F("", b"new")], existing="backup")
    assert contents(place) == {
        "f": b"new", "f~": b"old f", "t": None, "t/a": b"A", "t/a~": b"old a",
        "t/b": b"B2", "t/b~": b"B",
    }  # fmt: skip
    os.unlink(place + "/f~")
    os.mkdir(place + "/f~")
    before = contents(place)
    with pytest.raises(Conflict, match="f~"):
        copy(place, "f", [F("", b"newer")], existing="backup")
    assert contents(place) == before


def test_single_link_pipe_and_device(place):
    put(place + "/l")
    copy(place, "l", [L("", "x/y", 9)])
    copy(place, "p", [P("", 0o600)])
    assert contents(place) == {"l": b"x/y", "p": None}
    assert os.lstat(place + "/l").st_mtime == 9
    assert look(place)["p"][:2] == (stat.S_IFIFO, 0o600)


@needs_root
def test_devices_set_id_and_owner(place):
    nodes = [
        D("", 0o3777),
        F("u", mode=0o4755, uid=7, gid=8),
        F("g", mode=0o2755),
        C("null"),
        L("l", "u"),
    ]
    _, stage = copy(place, "t", nodes, owner="keep")
    tree = look(place + "/t")
    assert tree[""][1] == 0o3777
    assert tree["u"][1:4] == (0o4755, 7, 8)
    assert tree["null"][0] == stat.S_IFCHR and tree["null"][5] == os.makedev(1, 3)
    assert [(note.path.rpartition("/")[2], note.code) for note in stage.notes] == [
        ("u", "setuid"), ("g", "setgid"), ("null", "special"),
    ]  # fmt: skip
    copy(place, "mine", [D(""), F("u"), L("l", "u"), P("p")], owner=(11, 12))
    assert {facts[2:4] for facts in look(place + "/mine").values()} == {(11, 12)}
    copy(place, "mine", [D("", 0o700), F("u")], owner=(13, 14))
    assert look(place + "/mine")[""][1:4] == (0o700, 13, 14)


def test_safe_takes_no_power_along(place):
    nodes = [
        D("", 0o3777),
        F("u", mode=0o6755, xattrs={"security.capability": b"\1\0\0\2" + bytes(16)}),
        C("null"),
        H("null2", "null"),
        P("p"),
    ]
    _, stage = copy(place, "t", nodes, safe=True)
    assert {rel: facts[1] for rel, facts in look(place + "/t").items()} == {"": 0o777, "u": 0o755}
    with pytest.raises(OSError):
        os.getxattr(place + "/t/u", "security.capability")
    codes = [(note.path.rpartition("/")[2], note.code) for note in stage.notes]
    assert codes == [
        ("u", "setuid"), ("u", "capability"), ("null", "special"),
        ("null2", "special"), ("p", "special"),
    ]  # fmt: skip


@needs_root
def test_capability_travels(place):
    value = bytes.fromhex("0100000200040000000000000000000000000000")
    _, stage = copy(place, "f", [F("", xattrs={"security.capability": value, "user.k": b"v"})])
    if os.listxattr(place + "/f") == []:
        pytest.skip("no capabilities on this disk")
    assert os.listxattr(place + "/f") == ["security.capability"]
    assert os.getxattr(place + "/f", "security.capability") == value
    assert [note.code for note in stage.notes] == ["capability"]


def test_sockets_are_left_out(place):
    entry = Entry("s", Kind.SOCKET)
    landed, stage = copy(place, "s", [("", entry, None)])
    assert landed.created == 0 and os.listdir(place) == []
    assert [note.code for note in stage.notes] == ["socket"]
    copy(place, "t", [D(""), ("s", entry, None), F("f")])
    assert sorted(contents(place + "/t")) == ["f"]


@needs_root
def test_groups_of_setgid_directories(place):
    os.chown(place, -1, 4242)
    os.chmod(place, 0o2777)
    copy(place, "f", [F("")])
    copy(place, "l", [L("", "x")])
    copy(place, "t", [D(""), F("x"), D("g", 0o2755), F("g/y")])
    copy(place, "", [D(""), F("m"), D("n"), F("n/o")], merge_top=True)
    mine = os.getegid()
    groups = {rel: facts[3] for rel, facts in look(place).items()}
    assert groups == {
        "": 4242, "f": 4242, "l": 4242, "t": 4242, "t/x": mine, "t/g": mine, "t/g/y": mine,
        "m": 4242, "n": 4242, "n/o": mine,
    }  # fmt: skip
    os.chown(place + "/t/g", -1, 4343)
    os.chmod(place + "/t/g", 0o2755)
    copy(place, "t", [D(""), D("g", 0o2755), F("g/new", mode=0o4755), D("g/sub")])
    tree = look(place + "/t/g")
    assert tree["new"][1] == 0o4755
    assert (tree["new"][3], tree["sub"][3]) == (4343, 4343)


@needs_root
def test_set_gid_trees_below_a_directory_of_another_group(place):
    os.chown(place, -1, 4242)
    mine = os.getegid()
    copy(place, "t", [D("", 0o2755), F("x"), D("d"), F("d/y")])
    assert {facts[3] for rel, facts in look(place).items() if rel} == {mine}
    os.chown(place + "/t", -1, 4343)
    os.chmod(place + "/t", 0o2755)
    copy(place, "t", [D("", 0o2755), F("z"), D("d"), F("d/y2")])
    copy(place, "t", [D("", 0o755), F("w")])
    groups = {rel: facts[3] for rel, facts in look(place + "/t").items()}
    assert groups == {
        "": 4343,
        "x": mine,
        "d": mine,
        "d/y": mine,
        "z": 4343,
        "d/y2": mine,
        "w": mine,
    }
    assert look(place)["t"][1] == 0o755


@needs_root
def test_a_closed_directory_of_ours_is_as_it_was_after_a_refusal(place):
    os.chown(place, NOBODY, NOBODY)
    os.makedirs(place + "/t/d")
    put(place + "/t/d/x/y")
    put(place + "/t/f")
    for path in ("t/d/x", "t/d", "t"):
        os.chown(f"{place}/{path}", NOBODY, NOBODY)
        os.chmod(f"{place}/{path}", 0)
    age(place)
    before = look(place)

    def refused():
        with pytest.raises(Conflict):
            copy(place, "t", [D(""), F("a"), D("d"), D("d/x"), F("d/x/y"), D("f")])
        journal = Journal("/proc/nowhere")
        with Stage(place, "t", safe=False, owner=None, journal=journal) as stage:
            fill(stage, [D(""), F("a"), D("d"), D("d/x"), F("d/x/y")])
            stage.check()

    as_user(refused)
    assert look(place) == before
    as_user(lambda: copy(place, "t", [D("", 0o700), D("d", 0o711), F("d/z"), D("d/x")]) and None)
    assert look(place)["t/d"][1] == 0o711 and "t/d/z" in contents(place)


@needs_root
def test_without_root(place):
    os.chown(place, NOBODY, NOBODY)

    def work():
        copy(place, "t", TREE)
        copy(place, "t", TREE)
        copy(place, "u", [D("", 0), D("a", 0o555), F("a/x"), F("y"), H("a/z", "y"), H("w", "a/x")])
        with pytest.raises(LocalPermission, match="operation not permitted"):
            copy(place, "c", [D(""), C("null")])
        with pytest.raises(LocalPermission, match="operation not permitted"):
            copy(place, "o", [F("")], owner=(1, 1))

    shutil.rmtree(place + "/../journal", ignore_errors=True)
    os.mkdir(place + "/../journal")
    os.chown(place + "/../journal", NOBODY, NOBODY)
    as_user(work)
    expected_tree(place + "/t")
    assert sorted(os.listdir(place)) == ["t", "u"]
    assert look(place + "/u")["a"][1] == 0o555
    assert look(place + "/u")["a/x"][6] == look(place + "/u")["w"][6] == "a/x"


@needs_root
def test_merge_that_may_not_write_somewhere_changes_nothing(place):
    os.chown(place, NOBODY, NOBODY)
    for path in ("t", "t/a", "t/b", "t/c"):
        os.mkdir(f"{place}/{path}")
        os.chown(f"{place}/{path}", NOBODY, NOBODY)
    put(place + "/t/a/x", b"old")
    os.chown(place + "/t/b", 0, 0)  # not ours
    os.chmod(place + "/t/c", 0o555)  # ours: docker cp would open it up
    age(place)
    before = look(place)
    nodes = [D(""), D("a"), F("a/x", b"new"), D("b"), F("b/x"), D("c", 0o750), F("c/x")]

    def refused():
        with pytest.raises(LocalPermission, match="permission denied"):
            copy(place, "t", nodes)

    as_user(refused)
    assert look(place) == before
    os.chown(place + "/t/b", NOBODY, NOBODY)
    as_user(lambda: copy(place, "t", nodes) and None)
    assert contents(place + "/t")["c/x"] == b"hello\n"
    assert look(place + "/t")["c"][1] == 0o750


@needs_root
def test_directory_that_may_not_be_written(place):
    os.chmod(place, 0o555)
    before = look(place)

    def refused():
        for nodes in ([F("")], [D(""), F("x")], [L("", "x")]):
            with pytest.raises(LocalPermission, match="permission denied"):
                copy(place, "new", nodes)

    as_user(refused)
    assert look(place) == before


@needs_root
def test_merge_into_a_tree_of_ours_in_a_directory_that_is_not(place):
    os.mkdir(place + "/t")
    os.chown(place + "/t", NOBODY, NOBODY)
    as_user(lambda: copy(place, "t", [D("", 0o700), F("x")]) and None)
    assert look(place)["t"][1] == 0o700
    assert contents(place) == {"t": None, "t/x": b"hello\n"}


@needs_root
def test_full_disk_gives_the_space_back(place):
    with small_disk(place + "/disk") as disk:
        os.mkdir(disk + "/t")
        put(disk + "/t/keep", b"old")
        put(disk + "/f", b"old")
        age(disk)
        before, free = look(disk), os.statvfs(disk).f_bavail
        big = [F(f"f{i}", os.urandom(900_000)) for i in range(4)]
        for name in ("t", "new"):
            with pytest.raises(NoSpace, match="no space left on device"):
                copy(disk, name, [D(""), F("keep", b"new"), *big], journal=Journal(place + "/j"))
        with pytest.raises(NoSpace, match="no space left on device"):
            copy(disk, "f", [F("", os.urandom(4_000_000))], journal=Journal(place + "/j"))
        with pytest.raises(NoSpace, match="no space left on device"):
            # below the size that is asked for room first: the disk itself says no
            put(disk + "/fill", os.urandom(1_500_000))
            try:
                copy(disk, "f", [F("", os.urandom(1_000_000))], journal=Journal(place + "/j"))
            finally:
                os.unlink(disk + "/fill")
                os.utime(disk, (OLD, OLD))
        assert look(disk) == before
        assert os.statvfs(disk).f_bavail == free


@needs_root
def test_need(place):
    with small_disk(place + "/disk") as disk:
        journal = Journal(place + "/j")
        with Stage(disk, "f", safe=False, owner=None, journal=journal) as stage:
            stage.need(1_000_000)
            with pytest.raises(NoSpace, match="no space left on device"):
                stage.need(3_000_000)
        journal.close()


@needs_root
def test_mounts_inside_the_destination(place):
    os.makedirs(place + "/t/m")
    with small_disk(place + "/t/m"):
        put(place + "/t/m/x", b"old")
        nodes = [
            D(""), F("a"), D("m", 0o711, 5), F("m/x", b"new", 0o4640, 6), L("m/l", "x"), P("m/p"),
            D("m/n", 0o555, 7), F("m/n/y", b"Y", 0), D("m/n/o", 0o700, 8),
        ]  # fmt: skip
        copy(place, "t", nodes)
        tree = look(place + "/t/m")
        assert tree[""][1] == 0o711 and tree[""][4] == 5
        assert tree["x"][1] == 0o4640 and tree["x"][4:6] == (6, b"new")
        assert tree["l"][5] == b"x" and tree["p"][0] == stat.S_IFIFO
        assert tree["n"][1] == 0o555 and tree["n"][4] == 7
        assert tree["n/y"][5] == b"Y" and tree["n/o"][4] == 8
        assert sorted(tree) == ["", "l", "n", "n/o", "n/y", "p", "x"]
        # the top itself may be the mount
        copy(place + "/t", "m", [D("", 0o700), F("z")])
        assert look(place + "/t/m")["z"][5] == b"hello\n"


@needs_root
def test_read_only_mount_in_the_middle_changes_nothing(place):
    os.makedirs(place + "/t/m")
    put(place + "/t/a", b"old")
    with small_disk(place + "/t/m"):
        import subprocess

        subprocess.run(["mount", "-o", "remount,ro", place + "/t/m"], check=True)
        before = contents(place)
        with pytest.raises(ReadOnlyTarget, match="read-only file system"):
            copy(place, "t", [D(""), F("a", b"new"), D("m"), F("m/x")])
        assert contents(place) == before
        with pytest.raises(ReadOnlyTarget, match="read-only file system"):
            copy(place + "/t/m", "f", [F("")])


@needs_root
def test_a_merge_that_stops_says_how_far_it_came(place):
    os.makedirs(place + "/t/s")
    put(place + "/t/b", b"old b")
    put(place + "/t/s/x", b"old x")
    os.chown(place + "/t/s/x", 0, 0)
    os.chmod(place + "/t", 0o777)
    os.chown(place + "/t", NOBODY, NOBODY)
    os.chown(place + "/t/s", 1, 1)
    os.chmod(place + "/t/s", 0o1777)  # sticky: another's file cannot be replaced

    def work():
        with pytest.raises(PartialWrite, match="in their place") as caught:
            copy(place + "/t", "", [D(""), F("b", b"new b"), D("s"), F("s/x", b"new x"), F("z")],
                 merge_top=True, journal=Journal("/nonexistent/journal"))  # fmt: skip
        assert caught.value.context["arrived"] == 1
        assert caught.value.context["failed"].endswith("/s/x")

    os.chown(place + "/t/s", NOBODY, NOBODY)
    os.chown(place + "/t/s/x", 0, 0)
    import subprocess

    if subprocess.run(["chattr", "+i", place + "/t/s/x"], capture_output=True).returncode:
        pytest.skip("no immutable files here")
    try:
        as_user(work)
    finally:
        subprocess.run(["chattr", "-i", place + "/t/s/x"], check=True)
    assert contents(place + "/t") == {"b": b"new b", "s": None, "s/x": b"old x"}


@pytest.mark.parametrize(
    "nodes",
    [
        [D(""), F("no/parent")],
        [F("x")],
        [D(""), F("f"), F("f/x")],
        [D(""), L("l", "/"), F("l/x")],
        [D(""), L("l", "."), D("l/x")],
        [D(""), F("../x")],
        [D(""), F("a/../../x")],
        [D(""), F("/x")],
        [D(""), F("x\0y")],
        [D(""), F("f"), F("f")],
        [D(""), D("f"), F("f")],
        [D(""), F("f"), D("f")],
        [D(""), D("")],
        [D(""), H("h", "no")],
        [D(""), H("h", "../x")],
        [D(""), H("h", "..")],
        [D(""), D("d"), H("h", "d")],
        [D(""), L("l", "/etc"), H("h", "l/passwd")],
        [H("", "x")],
    ],
)
def test_what_no_archive_of_an_engine_holds(place, nodes):
    age(place)
    before = look(place)
    with pytest.raises(UnsafeEntry):
        copy(place, "t", nodes)
    assert look(place) == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_final_name_is_one_component(place, name):
    with pytest.raises(UnsafeEntry):
        copy(place, name, [F("")])


def test_short_and_long_content(place):
    for size in (3, 8):
        rel, entry, _ = F("", b"12345")
        with pytest.raises(CutStream, match="unexpected EOF"):
            copy(place, "f", [(rel, entry, b"x" * size)])
    assert os.listdir(place) == []


def test_directories_may_come_in_any_order_after_their_parents(place):
    nodes = [
        D(""),
        D("a", 0o555, 3),
        D("b", 0o500, 4),
        F("a/x"),
        F("b/y"),
        D("a/c", 0, 5),
        F("a/c/z"),
    ]
    copy(place, "t", nodes)
    tree = look(place + "/t")
    assert [(tree[n][1], tree[n][4]) for n in ("a", "b", "a/c")] == [(0o555, 3), (0o500, 4), (0, 5)]
    assert sorted(tree) == ["", "a", "a/c", "a/c/z", "a/x", "b", "b/y"]


def test_deep_tree_with_few_descriptors(place):
    path, nodes = "", [D("")]
    for i in range(300):
        path = f"{path}/d{i}" if path else f"d{i}"
        nodes.append(D(path, 0o500, i))
    nodes.append(F(path + "/f", b"deep"))
    nodes.append(F("top"))

    def work():
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        copy(place, "t", nodes)
        copy(place, "t", nodes)
        with pytest.raises(Conflict):
            copy(place, "t", [D(""), D("top")])

    as_user(work, os.getuid(), os.getgid())
    deep = place + "/t"
    for i in range(60):
        deep += f"/d{i}"
        assert os.stat(deep).st_mtime == i
    assert os.listdir(place) == ["t"]


def test_names_are_bytes(place):
    names = [
        "教程-研究功能介绍.ipynb",
        "e\u0301",
        "\xe9",
        "caf\udce9-\udcff",
        "a\nb",
        " t\t",
        "-rf",
        "x" * 255,
    ]
    copy(place, "t", [D(""), *(F(n, n.encode("utf-8", "surrogateescape")) for n in names)])
    found = {os.fsencode(n): data for n, data in contents(place + "/t").items()}
    assert found == {
        n.encode("utf-8", "surrogateescape"): n.encode("utf-8", "surrogateescape") for n in names
    }


@pytest.mark.parametrize("nodes", [[D(""), F("x" * 256)], [D(""), D("x" * 256)]])
def test_name_too_long(place, nodes):
    age(place)
    before = look(place)
    with pytest.raises(LocalError, match="file name too long"):
        copy(place, "t", nodes)
    assert look(place) == before


def test_zeros_become_holes(place):
    data = bytearray(os.urandom(50)) + bytes(5_000_000) + b"x" * 100_000 + bytes(3 << 20)
    copy(place, "f", [F("", bytes(data))])
    with open(place + "/f", "rb") as file:
        assert file.read() == data
    assert os.stat(place + "/f").st_blocks * 512 < 1_000_000


def test_sparse_runs(place):
    rel, entry, _ = F("")
    entry.size, entry.sparse = 1 << 30, [(10, 3), (1 << 20, 4)]
    copy(place, "f", [(rel, entry, b"abcdefg")])
    with open(place + "/f", "rb") as file:
        assert file.read(14) == bytes(10) + b"abc\0"
        file.seek(1 << 20)
        assert file.read(5) == b"defg\0"
    assert os.stat(place + "/f").st_size == 1 << 30


def test_missing_destination(place):
    with pytest.raises(NoSuchPath, match="no such file or directory"):
        copy(place + "/no", "f", [F("")], journal=Journal(place + "/j"))
    put(place + "/f")
    with pytest.raises(NotADirectory, match="not a directory"):
        copy(place + "/f", "f", [F("")], journal=Journal(place + "/j"))


def test_name_that_appears_meanwhile_is_merged_or_refused(place):
    journal = Journal(place + "/../journal")
    with Stage(place, "t", safe=False, owner=None, journal=journal) as stage:
        fill(stage, TREE)
        stage.check()
        put(place + "/t/mine", b"mine")
        landed = stage.commit()
    assert landed.created == 8
    assert contents(place)["t/mine"] == b"mine" and contents(place)["t/a"] == b"A"
    with Stage(place, "u", safe=False, owner=None, journal=journal) as stage:
        fill(stage, TREE)
        stage.check()
        put(place + "/u", b"mine")
        with pytest.raises(Conflict, match="cannot overwrite non-directory"):
            stage.commit()
    assert contents(place)["u"] == b"mine"
    assert sorted(os.listdir(place)) == ["t", "u"]
    journal.close()


def test_second_writer_waits_for_the_first(place):
    journal = Journal(place + "/../journal")
    first = Stage(place, "t", safe=False, owner=None, journal=journal)
    fill(first, [D(""), F("a", b"first"), F("b", b"first")])
    first.check()
    done: list[object] = []

    def second():
        try:
            done.append(copy(place, "t", [D(""), F("a", b"second"), F("b", b"second")])[0])
        except VolcopyError as error:
            done.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive() and not done
    first.commit()
    thread.join(60)
    assert not thread.is_alive()
    assert done[0].replaced == 2
    assert contents(place + "/t") == {"a": b"second", "b": b"second"}
    journal.close()


def test_users_own_name_of_our_form_survives(place):
    put(place + "/.volcopy-0123456789abcdef", b"mine")
    copy(place, "", [D(""), F(".volcopy-fedcba9876543210", b"theirs")], merge_top=True)
    copy(place, "t", [D(""), F("x")])
    assert contents(place)[".volcopy-0123456789abcdef"] == b"mine"
    assert contents(place)[".volcopy-fedcba9876543210"] == b"theirs"


def test_notes_do_not_fill_the_memory(place):
    journal = Journal(place + "/../journal")
    with Stage(place, "t", safe=True, owner=None, journal=journal) as stage:
        fill(stage, [D("")])
        for i in range(10_050):
            stage.skip(f"p{i}", "a pipe")
        assert len(stage.notes) == 10_000
        assert "more" in stage.notes[-1].text
    journal.close()


def test_durable(place):
    copy(place, "f", [F("")], durable=True)
    copy(place, "t", TREE, durable=True)
    copy(place, "t", TREE, durable=True)
    expected_tree(place + "/t")


def test_no_descriptor_is_left(place):
    with no_descriptor_left():
        for _ in range(20):
            copy(place, "f", [F("")])
            copy(place, "t", TREE)
            with pytest.raises(UnsafeEntry):
                copy(place, "t", [D(""), D("a"), D("a/b"), F("x/y")])
            with pytest.raises(Conflict):
                copy(place, "t", [F("")])
