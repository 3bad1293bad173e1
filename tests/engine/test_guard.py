"""`Guarded` on a real engine: what is not allowed is not there, and owners act as themselves."""

from __future__ import annotations

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.guard import Guarded, container_user
from jupyter_volcopy.core.policy import Rules, User
from jupyter_volcopy.errors import AccessDenied, NoSuchContainer, NoSuchVolume
from tests.engine.conftest import content, file_entry, plain, read_all, sealed


@pytest.fixture
def inner(docker):
    made = open_engine()
    yield made
    made.close()


@pytest.fixture
def owned(docker, container):
    """A running container whose user is 1000, with a secret of root's."""
    name = container("running", "-u", "1000:100", "-e", "NB_UID=1000")
    docker.sh(name, "mkdir -m 700 /secret; echo x > /secret/f; mkdir /w; chown 1000:100 /w")
    return name, docker.inspect(name)["Id"]


def test_what_may_not_be_seen_is_not_there(inner, container, volume, docker):
    name, kept = container("created"), volume()
    guarded = Guarded(inner, User("eve"), Rules())
    ident = docker.inspect(name)["Id"]
    for asked in (name, ident, ident[:12]):
        for call in (
            lambda asked=asked: guarded.container(asked),
            lambda asked=asked: guarded.stat(asked, "/"),
            lambda asked=asked: guarded.list_dir(asked, "/"),
            lambda asked=asked: guarded.open_archive(asked, "/"),
            lambda asked=asked: guarded.extract(asked, "/", plain()),
            lambda asked=asked: guarded.execute(asked, ["true"]),
            lambda asked=asked: guarded.changes(asked),
        ):
            with pytest.raises(NoSuchContainer, match=f"No such container: {asked}"):
                call()
    assert guarded.containers() == [] and guarded.volumes() == []
    with pytest.raises(NoSuchVolume), guarded.volume(kept):
        pass
    with pytest.raises(NoSuchVolume):
        guarded.empty_volume(kept)
    with pytest.raises(NoSuchVolume):
        guarded.json("GET", f"/volumes/{kept}")
    for method, path in (("GET", "/info"), ("GET", "/system/df"), ("POST", "/containers/x/kill")):
        with pytest.raises(AccessDenied):
            guarded.json(method, path)
    assert guarded.info().address == "" and guarded.info().version


def test_an_owner_acts_as_the_container_s_user(inner, owned, docker):
    name, ident = owned
    heard = []
    guarded = Guarded(
        inner, User("ann", owned=frozenset({ident})), Rules(), heard=lambda *it: heard.append(it)
    )
    assert guarded.container(name).id == ident and set(guarded.container(name).raw) <= {
        "HostConfig"
    }
    for call in (
        lambda: guarded.list_dir(name, "/secret"),
        lambda: guarded.stat(name, "/secret/f"),
        lambda: read_all(guarded.open_archive(name, "/secret")),
        lambda: guarded.extract(name, "/secret", plain(file_entry("g", b""))),
        lambda: guarded.list_dir(name, "/secret", user="0:0"),  # asking for more gives no more
    ):
        with pytest.raises(AccessDenied):
            call()
    guarded.extract(name, "/w", plain(file_entry("f", b"mine")))
    assert docker.sh(name, "stat -c %u /w/f") == "1000"
    assert content(read_all(guarded.open_archive(name, "/w/f")), "f") == b"mine"
    assert guarded.execute(name, ["id", "-u"], user="0:0").stdout == b"1000\n"
    assert {item[3].allowed for item in heard} == {True}
    assert {item[2].id for item in heard} == {ident}


def test_reading_is_not_writing(inner, owned):
    name, ident = owned
    guarded = Guarded(inner, User("ina", reads=frozenset({ident})), Rules())
    assert guarded.list_dir(name, "/w").entries == ()
    with pytest.raises(AccessDenied, match="may not write"):
        guarded.extract(name, "/w", plain(file_entry("f", b"")))
    with pytest.raises(AccessDenied, match="may not write"):
        guarded.execute(name, ["id"])
    with pytest.raises(AccessDenied):
        guarded.extract(name, "/w", sealed("f", b"", "0123456789abcdef"))


def test_a_whole_copy_as_the_owner(inner, owned, docker, tmp_path):
    name, ident = owned
    copier = Copier(Guarded(inner, User("ann", owned=frozenset({ident})), Rules()))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "f").write_text("text")
    copier.copy(str(tmp_path / "tree"), f"{name}:/w", safe=True)
    assert docker.sh(name, "stat -c %u:%a /w/tree/f").startswith("1000:")
    copier.copy(f"{name}:/w/tree", str(tmp_path / "back"), safe=True)
    assert (tmp_path / "back" / "f").read_text() == "text"
    with pytest.raises(AccessDenied):
        copier.copy(f"{name}:/secret", str(tmp_path / "no"), safe=True)
    assert not (tmp_path / "no").exists()


def test_a_helper_is_the_volume(inner, volume):
    name = volume()
    guarded = Guarded(inner, User("root", admin=True), Rules(allowed_containers=("no-such",)))
    with guarded.volume(name) as (helper, path):
        guarded.extract(helper, path, plain(file_entry("f", b"data")))
        assert [e.name for e in guarded.list_dir(helper, path).entries] == ["f"]
    with pytest.raises(NoSuchContainer):
        guarded.container(helper)


def test_who_the_container_s_user_is(inner, container):
    for flags, expected in (
        (("-e", "NB_UID=1234", "-e", "NB_GID=100"), "1234:100"),
        (("-u", "7"), "7"),
        (("-u", "7:8"), "7:8"),
        (("-u", "nb"), ""),
        ((), ""),
    ):
        assert container_user(inner.container(container("created", *flags))) == expected
