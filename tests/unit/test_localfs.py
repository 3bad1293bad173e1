"""Trees held by descriptor: what is read, in which order, and that no link is followed."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile

import pytest

from jupyter_volcopy.core import kernel
from jupyter_volcopy.core.localfs import Descent, Tree, components, local_stat
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.errors import (
    Conflict,
    LocalError,
    LocalPermission,
    NoSuchPath,
    NotADirectory,
    UnsafeEntry,
    VolcopyError,
)
from tests.unit.local_setup import as_user, needs_root, no_descriptor_left, put


@pytest.fixture
def place():
    root = tempfile.mkdtemp(prefix="volcopy-test-")
    os.chmod(root, 0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root)


def test_walk_is_parents_first_in_the_order_of_bytes(place):
    for name in ("b/x", "b.txt", "a", "é", "B", "b/c/d", "caf\udce9"):
        put(f"{place}/{name}")
    os.symlink("/etc", place + "/l")
    os.symlink("nowhere", place + "/b/dangling")
    os.mkfifo(place + "/p")
    with Tree.open(place) as tree:
        found = list(tree.walk())
        assert [item.rel for item in found] == [
            "", "B", "a", "b", "b/c", "b/c/d", "b/dangling", "b/x", "b.txt",
            "caf\udce9", "l", "p", "é",
        ]  # fmt: skip
        kinds = {item.rel: (item.kind, item.link) for item in found}
        assert kinds["l"] == (Kind.SYMLINK, "/etc")
        assert kinds["b/dangling"] == (Kind.SYMLINK, "nowhere")
        assert kinds["p"] == (Kind.FIFO, "")
        assert kinds["b/c"] == (Kind.DIRECTORY, "")
        assert all(item.stat is not None and item.error is None for item in found)
        assert [item.rel for item in tree.walk("b/c")] == ["b/c", "b/c/d"]
        assert [item.rel for item in tree.walk("l")] == ["l"]
        assert [item.rel for item in tree.walk("a")] == ["a"]
        with pytest.raises(NoSuchPath, match="no such file or directory"):
            list(tree.walk("no"))


def test_a_directory_may_be_left_out_of_the_walk(place):
    put(place + "/a/x")
    put(place + "/b/y")
    with Tree.open(place) as tree:
        found = []
        for item in tree.walk():
            found.append(item.rel)
            if item.rel == "a":
                item.kind = Kind.FIFO
    assert found == ["", "a", "b", "b/y"]


def test_a_walk_may_be_left_in_the_middle(place):
    put(place + "/a/b/c/x")
    with no_descriptor_left():
        with Tree.open(place) as tree:
            for item in tree.walk():
                if item.rel == "a/b/c":
                    break
            del item
        gc.collect()


@needs_root
def test_unreadable_directories_are_named_not_raised(place):
    put(place + "/a/x")
    put(place + "/b/x")
    put(place + "/c/x")
    os.chmod(place + "/a", 0o700)
    os.chmod(place + "/b", 0o744)  # may be listed, not entered

    def work():
        with Tree.open(place) as tree:
            found = {item.rel: item.error for item in tree.walk()}
        assert sorted(found) == ["", "a", "b", "b/x", "c", "c/x"]
        assert isinstance(found["a"], LocalPermission)
        assert f"open {place}/a: permission denied" in str(found["a"])
        assert isinstance(found["b/x"], LocalPermission)
        assert found["b"] is None and found["c/x"] is None

    as_user(work)


@needs_root
def test_a_tree_that_may_be_entered_but_not_listed(place):
    put(place + "/d/x", b"x")
    os.chmod(place + "/d", 0o711)

    def work():
        with Tree.open(place + "/d") as tree:
            (top,) = tree.walk()
            assert isinstance(top.error, LocalPermission)
            assert f"open {place}/d: permission denied" in str(top.error)
            assert tree.stat("x").st_size == 1
            os.close(tree.open_file("x"))

    as_user(work)


def test_deep_tree_with_few_descriptors(place):
    fd = os.open(place, os.O_RDONLY)
    for i in range(400):
        os.mkdir(f"d{i}", dir_fd=fd)
        below = os.open(f"d{i}", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)

    def work():
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        with Tree.open(place) as tree:
            found = [item.rel for item in tree.walk()]
            assert len(found) == 402
            os.close(tree.open_file(found[-1]))
            os.close(tree.open_dir(found[-2]))

    as_user(work, os.getuid(), os.getgid())


@pytest.mark.parametrize("without", [set(), {"openat2"}])
def test_no_link_below_is_followed(place, without, monkeypatch):
    monkeypatch.setattr(kernel, "_missing", set(without))
    put(place + "/real/d/e/x", b"x")
    os.symlink("real", place + "/l")
    os.symlink("x", place + "/real/d/e/lx")
    with Tree.open(place) as tree:
        fd = tree.open_file("real/d/e/x")
        assert os.read(fd, 10) == b"x"
        os.close(fd)
        for rel in ("l/d/e/x", "l/d", "real/d/e/lx"):
            with pytest.raises(VolcopyError):
                tree.open_file(rel)
        for rel in ("l", "l/d", "l/d/e"):
            with pytest.raises(VolcopyError):
                tree.open_dir(rel)
        os.close(tree.open_dir("real/d/e"))
        assert tree.read_link("l") == "real"
        assert tree.stat("l").st_size == 4
        for rel in ("..", "real/../l", "/etc", "real//d", "a\0b"):
            with pytest.raises(UnsafeEntry):
                tree.stat(rel)
            with pytest.raises(UnsafeEntry):
                tree.open_dir(rel)


def test_only_regular_files_are_opened_and_nothing_waits(place):
    os.mkfifo(place + "/p")
    os.mkdir(place + "/d")
    with Tree.open(place) as tree:
        for rel in ("p", "d"):
            with pytest.raises(Conflict, match="not a regular file"):
                tree.open_file(rel)
        with pytest.raises(NoSuchPath, match="no such file or directory"):
            tree.open_file("no")
        with pytest.raises(NotADirectory):
            tree.open_dir("p")


def test_the_named_directory_is_followed_unless_not(place):
    put(place + "/d/x")
    os.symlink("d", place + "/l")
    with Tree.open(place + "/l") as tree:
        assert [item.rel for item in tree.walk()] == ["", "x"]
    with pytest.raises(VolcopyError):
        Tree.open(place + "/l", follow=False)
    with pytest.raises(NoSuchPath):
        Tree.open(place + "/no")
    with pytest.raises(NotADirectory):
        Tree.open(place + "/d/x")
    with pytest.raises(UnsafeEntry):
        Tree.open(place + "/a\0b")


def test_many_parents_are_kept_few(place):
    for i in range(100):
        put(f"{place}/d{i}/e/x", b"%d" % i)
    with Tree.open(place) as tree:
        for _ in range(2):
            for i in range(100):
                fd = tree.open_file(f"d{i}/e/x")
                assert os.read(fd, 10) == b"%d" % i
                os.close(fd)
        assert len(tree._parents) <= 32
        tree.close()
        tree.close()


def test_xattr(place):
    put(place + "/f")
    try:
        os.setxattr(place + "/f", "user.k", b"v")
    except OSError:
        pytest.skip("no extended attributes here")
    os.symlink("f", place + "/l")
    with Tree.open(place) as tree:
        assert tree.xattr("f", "user.k") == b"v"
        assert tree.xattr("f", "user.no") is None
        assert tree.xattr("l", "user.k") is None
        fd = tree.open_file("f")
        assert tree.xattr(fd, "user.k") == b"v"
        os.close(fd)


def test_a_moved_directory_is_noticed(place):
    path = place
    for i in range(20):
        path += f"/d{i}"
    os.makedirs(path)
    os.mkdir(place + "/aside")
    fd = os.open(place, os.O_RDONLY)
    try:
        descent = Descent(fd, place)
        for i in range(20):
            descent.down(b"d%d" % i)
        os.rename(place + "/d0/d1/d2", place + "/aside/d2")
        with pytest.raises(Conflict, match="moved"):
            while descent.depth:
                os.close(descent.up())
        descent.close()
    finally:
        os.close(fd)


def test_local_stat(place):
    put(place + "/f", b"12345", 0o640)
    os.symlink("f", place + "/l")
    found = local_stat(place + "/f")
    assert (found.name, found.kind, found.mode, found.size) == ("f", Kind.FILE, 0o640, 5)
    assert local_stat(place + "/l").kind is Kind.SYMLINK
    assert local_stat(place + "/l").link_target == "f"
    assert local_stat(place + "/l", follow=True).size == 5
    assert local_stat(place + "/no") is None
    assert local_stat(place).is_dir
    with pytest.raises(NotADirectory, match="not a directory"):
        local_stat(place + "/f/x")
    with pytest.raises(LocalError, match="file name too long"):
        local_stat(place + "/" + "x" * 300)
    os.symlink("loop", place + "/loop")
    with pytest.raises(LocalError, match="too many levels of symbolic links"):
        local_stat(place + "/loop", follow=True)


@pytest.mark.parametrize("rel", ["a/..", "./a", "a//b", "/a", "a/", "a\0"])
def test_components_refuse(rel):
    with pytest.raises(UnsafeEntry):
        components(rel)


def test_renameat2(place):
    put(place + "/a", b"a")
    put(place + "/b", b"b")
    fd = os.open(place, os.O_RDONLY)
    try:
        try:
            kernel.renameat2(fd, b"a", fd, b"c", kernel.RENAME_NOREPLACE)
        except kernel.NotAvailable:
            pytest.skip("no renameat2 here")
        with pytest.raises(FileExistsError):
            kernel.renameat2(fd, b"b", fd, b"c", kernel.RENAME_NOREPLACE)
        kernel.renameat2(fd, b"b", fd, b"c", kernel.RENAME_EXCHANGE)
        kernel.syncfs(fd)
    finally:
        os.close(fd)
    with open(place + "/b", "rb") as file:
        assert file.read() == b"a"
