"""Whole volumes, and volumes as endpoints: only their own files, and nothing left behind."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest

from tests.conftest import PREFIX, wait_for
from tests.rescue.conftest import FILL, helpers, tree


@pytest.fixture
def new(docker):
    """`new() -> name` of a volume that is not there; what is made of it is removed."""
    names: list[str] = []

    def make() -> str:
        names.append(f"{PREFIX}-n{os.urandom(3).hex()}")
        return names[-1]

    yield make
    said = []
    for name in names:
        held = docker("ps", "-aq", "--filter", f"volume={name}").split()
        if held:
            said.append(docker("inspect", *held))
            docker.raw("rm", "-f", *held)
        done = docker.raw("volume", "rm", "-f", name)
        if done.returncode:
            said.append(done.stderr.decode())
    assert not said, "\n".join(said)


@pytest.fixture
def container(new, container):
    """The factory of all tests, set up after `new`: containers go before the volumes they use."""
    return container


@pytest.fixture
def filled(docker, container, volume):
    """A volume with owners, times and links of every kind, its root included."""
    name = volume()
    user = container("running", "-v", f"{name}:/v")
    docker("exec", "-u", "0", user, "sh", "-c", FILL, "sh", "/v")
    docker.sh(
        user,
        "cd /v; echo s > suid; ln suid w/same; chmod 6755 suid; mkfifo pipe;"
        "ln -s /etc/passwd outside; chown 1000:50 .; chmod 3775 .",
    )
    docker("rm", "-f", user)
    return name


def seen(docker, container, name: str) -> list[str]:
    """What a container sees in a volume."""
    user = container("running", "-v", f"{name}:/v")
    found = tree(docker, user, "/v")
    docker("rm", "-f", user)
    return found


def test_clone_export_import(docker, container, volcopy, filled, new, tmp_path):
    before = seen(docker, container, filled)
    one, two, three = new(), new(), new()
    done = volcopy("volume", "clone", filled, one).ok()
    assert "read again and equal" in done.out and f"volume {one} made" in done.out
    assert seen(docker, container, one) == before
    volcopy("volume", "export", one, "v.tar").ok()
    volcopy("volume", "import", "v.tar", two, "--create").ok()
    assert seen(docker, container, two) == before
    piped = volcopy("volume", "export", two, "-").ok().out_bytes
    volcopy("volume", "import", "-", three, "--create", stdin=gzip.compress(piped)).ok()
    assert seen(docker, container, three) == before
    assert seen(docker, container, filled) == before
    with tarfile.open(fileobj=io.BytesIO(piped)) as tar:
        assert tar.getmember("./w/f").uid == 1000
    # over what is there: files of the archive are replaced, others stay
    user = container("running", "-v", f"{three}:/v")
    docker.sh(user, "echo changed > /v/w/zero; echo mine > /v/mine")
    volcopy("volume", "import", "v.tar", three).ok()
    assert docker.sh(user, "cat /v/mine /v/w/zero") == "mine"
    full = volcopy("volume", "clone", filled, three)
    assert full.code == 1 and "not empty" in full.err


def test_empty(docker, container, volcopy, filled):
    user = container("running", "-v", f"{filled}:/v")
    docker.sh(user, "mkdir -p /v/a/b/c; touch /v/.hidden '/v/odd name'")
    asked = volcopy("volume", "empty", filled)
    assert asked.code == 1 and f"used by {user}" in asked.err and "--yes" in asked.err
    assert docker.sh(user, "ls -A /v")
    done = volcopy("volume", "empty", filled, "--yes", "--json").ok().json()
    assert done["removed"] > 10
    assert docker.sh(user, "ls -A /v; stat -c '%a %u %g' /v") == "3775 1000 50"
    volcopy("volume", "empty", filled).ok()


def test_a_misspelt_name_makes_nothing(docker, container, volume, volcopy, dcp, new, tmp_path):
    there, wrong = volume(), new()
    user = container("created")
    (tmp_path / "f").touch()
    with tarfile.open(tmp_path / "f.tar", "w") as tar:
        tar.add(tmp_path / "f", "f")
    for command in (
        (volcopy, "volume", "export", wrong, "out.tar"),
        (volcopy, "volume", "export", wrong, "-"),
        (volcopy, "volume", "import", "f.tar", wrong),
        (volcopy, "volume", "clone", wrong, f"{wrong}-copy"),
        (volcopy, "volume", "empty", wrong, "--yes"),
        (volcopy, "restore", f"volume={wrong}", user),
        (volcopy, "ls", f"volume={wrong}:/"),
        (dcp, f"volume={wrong}:/f", "out"),
        (dcp, "f", f"volume={wrong}:/"),
        (dcp, f"volume={there}:/.", f"volume={wrong}:/"),
        (dcp, f"volume={wrong}:/.", f"volume={there}:/"),
    ):
        done = command[0](*command[1:])
        assert done.code == 1 and "No such volume" in done.err, command[1:]
        assert docker.raw("volume", "inspect", wrong).returncode, command[1:]
    assert docker.raw("volume", "inspect", f"{wrong}-copy").returncode
    assert sorted(os.listdir(tmp_path)) == ["f", "f.tar"]
    assert not helpers(docker, there)
    for odd in ("-x", "../x", "a b", ".", "", "x"):
        assert volcopy("volume", "import", "f.tar", "--create", "--", odd).code


def test_only_the_volumes_own_files(docker, container, volume, volcopy, dcp, tmp_path):
    """Links in a volume lead to no file of a container, not even of one that mounts it."""
    name = volume()
    user = container("running", "-v", f"{name}:/v")
    docker.sh(
        user,
        "echo secret > /secret; mkdir /dir; echo secret > /dir/f;"
        "ln -s /secret /v/file; ln -s /dir /v/dir; ln -s ../../secret /v/up; ln -s dir /v/twice",
    )
    for path in ("/dir/f", "/dir/", "/dir/.", "/twice/f", "/file/"):
        assert dcp(f"volume={name}:{path}", "got").code, path
        assert not os.path.lexists(tmp_path / "got")
    for path in ("/file", "/dir", "/up"):
        assert dcp("-L", f"volume={name}:{path}", "got").code, path
        assert not os.path.lexists(tmp_path / "got")
    dcp(f"volume={name}:/file", "link").ok()  # the link itself
    assert os.readlink(tmp_path / "link") == "/secret"
    (tmp_path / "new").write_text("new")
    for path in ("/dir/new", "/dir/", "/dir", "/twice/new", "/file"):
        done = dcp("new", f"volume={name}:{path}")
        assert done.code == 1 and done.err, path
    assert docker.sh(user, "cat /secret; ls /dir; readlink /v/file") == "secret\nf\n/secret"


def test_as_endpoints(docker, container, volume, dcp, tmp_path):
    one, two = volume(), volume()
    user = container("running", "-v", f"{one}:/one", "-v", f"{two}:/two")
    docker.sh(user, "mkdir /one/d; echo x > /one/d/f; chown -R 1000:50 /one/d; chmod 600 /one/d/f")
    dcp(f"volume={one}:/d", f"volume={two}:/").ok()
    assert tree(docker, user, "/two/d")[1:] == [
        line.replace("/one/", "/two/") for line in tree(docker, user, "/one/d")[1:]
    ]
    dcp(f"volume={two}:d/f", "f").ok()
    assert (tmp_path / "f").read_text() == "x\n"
    (tmp_path / "f").write_text("y")
    report = dcp("--json", "f", f"volume={two}:/d/f").ok().json()
    assert report["landed"] == [{"path": f"volume={two}:/d/f"}]
    assert docker.sh(user, "cat /two/d/f") == "y"
    assert not helpers(docker, one) and not helpers(docker, two)


def test_what_is_mounted_inside_is_said(docker, container, volume, volcopy, dcp, new, tmp_path):
    """Case O22: the volume alone has an empty directory there, and nobody takes it for all."""
    outer, inner = volume(), volume()
    user = container("running", "-v", f"{outer}:/o", "-v", f"{inner}:/o/i")
    docker.sh(user, "echo a > /o/a; echo b > /o/i/b")
    dcp(f"{user}:/o", "both").ok()
    assert (tmp_path / "both/i/b").read_text() == "b\n"
    said = f"/i: is another volume, {inner}"
    done = dcp(f"volume={outer}:/.", "alone").ok()
    assert said in done.err
    assert os.listdir(tmp_path / "alone/i") == []
    assert said in volcopy("volume", "export", outer, "o.tar").ok().err
    assert said in volcopy("volume", "clone", outer, new()).ok().err
    assert said not in dcp(f"volume={outer}:/a", "a").ok().err
    # both brought back one by one are both again
    docker.sh(user, "rm /o/a /o/i/b")
    volcopy("volume", "export", inner, "i.tar").ok()
    dcp("both/i/b", f"volume={inner}:/").ok()
    dcp("both/a", f"volume={outer}:/").ok()
    assert docker.sh(user, "cat /o/a /o/i/b") == "a\nb"


def test_nothing_is_left_after_many_operations(docker, volume, volcopy, dcp, new, tmp_path):
    """Case O21, kills included: volumes and containers are as before."""
    source, target = volume(), volume()
    (tmp_path / "big").write_bytes(os.urandom(8_000_000))
    dcp("big", f"volume={source}:/").ok()
    made = [new() for _ in range(3)]
    for name in made:  # killed while the helper is there
        process = volcopy.start("volume", "clone", source, name)
        wait_for(lambda p=process, n=name: p.poll() is not None or helpers(docker, n), "a helper")
        process.kill()
        process.communicate()
    for signal in (15, 2, 1):
        process = dcp.start("big", f"volume={target}:/copy{signal}")
        wait_for(lambda p=process: p.poll() is not None or helpers(docker, target), "a helper")
        process.send_signal(signal)
        process.communicate(timeout=60)
    for number in range(2):
        assert dcp(f"volume={source}:/nothing", "x").code == 1
        dcp(f"volume={source}:/big", f"out{number}").ok()
    process = dcp.start("big", f"volume={target}:/last")
    wait_for(lambda: process.poll() is not None or helpers(docker, target), "a helper")
    process.kill()
    process.communicate()
    volcopy("clean").ok()
    for name in (source, target, *made):
        assert not helpers(docker, name)
    for name in made:
        found = docker.raw("volume", "inspect", name).returncode == 0
        if found:  # it was done before the kill came: then it is whole
            dcp(f"volume={name}:/big", f"of-{name}").ok()
            assert (tmp_path / f"of-{name}").read_bytes() == (tmp_path / "big").read_bytes()
    listed = volcopy("ls", "--names", f"volume={target}:/").ok().out.split()
    assert not [name for name in listed if name.startswith(".volcopy-")]
