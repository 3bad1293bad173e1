"""The contract of `Engine.volume`: volumes as paths, and helpers that leave nothing behind."""

from __future__ import annotations

import json

import pytest

from jupyter_volcopy.core.docker_volume import MADE_LABEL, sweep_helpers
from jupyter_volcopy.core.model import HELPER_LABEL
from jupyter_volcopy.errors import DestinationExists, NoSuchPath, NoSuchVolume
from tests.conftest import PREFIX, wait_for
from tests.engine.conftest import content, file_entry, plain, read_all


def _helpers(docker, name: str) -> list[str]:
    return docker(
        "ps", "-aq", "--filter", f"volume={name}", "--filter", f"label={HELPER_LABEL}"
    ).split()


def test_a_volume_nobody_mounts(engine, docker, volume):
    name = volume()
    with engine.volume(name) as (holder, path):
        (helper,) = _helpers(docker, name)
        image = docker.inspect(helper)["Image"]
        assert docker.inspect(helper)["State"]["Status"] == "created"
        engine.extract(holder, path, plain(file_entry("f", b"data")))
        assert content(read_all(engine.open_archive(holder, f"{path}/f")), "f") == b"data"
        assert [entry.name for entry in engine.list_dir(holder, path).entries] == ["f"]
    assert not _helpers(docker, name)
    assert docker.raw("image", "inspect", image).returncode
    with pytest.raises(RuntimeError, match="mine"), engine.volume(name):
        raise RuntimeError("mine")
    assert not _helpers(docker, name)
    with engine.volume(name) as (holder, path):
        assert engine.stat(holder, f"{path}/f").size == 4


def test_never_through_a_container_that_mounts_it(engine, docker, container, volume):
    name = volume()
    user = container("running", "-v", f"{name}:/data")
    docker.sh(user, "echo secret > /secret; ln -s /secret /data/link; echo in > /data/f")
    with engine.volume(name) as (holder, path):
        assert holder != docker.inspect(user)["Id"]
        assert len(_helpers(docker, name)) == 1
        assert engine.stat(holder, f"{path}/f").size == 3
        with pytest.raises(NoSuchPath):
            engine.stat(holder, engine.stat(holder, f"{path}/link").link_target)


def test_a_new_volume_stays_only_if_the_block_ends_well(engine, docker, volume):
    name = volume()
    docker("volume", "rm", name)
    with pytest.raises(RuntimeError, match="mine"), engine.volume(name, create=True):
        assert docker.inspect(name, "volume")
        raise RuntimeError("mine")
    assert docker.raw("volume", "inspect", name).returncode
    with engine.volume(name, create=True) as (holder, path):
        engine.extract(holder, path, plain(file_entry("f", b"data")))
    assert docker.inspect(name, "volume") and not _helpers(docker, name)
    with pytest.raises(DestinationExists), engine.volume(name, create=True):
        pass
    assert docker.inspect(name, "volume")
    engine.empty_volume(name)
    with engine.volume(name) as (holder, path):
        assert not engine.list_dir(holder, path).entries


@pytest.mark.parametrize("name", ["volcopy-test-no-such-volume", "", "..", "a/b", "/etc", "ä"])
def test_no_such_volume_is_never_created(engine, docker, name):
    before = docker("volume", "ls", "-q").split()
    with pytest.raises(NoSuchVolume, match="No such volume"):
        with engine.volume(name):
            pass
    after = docker("volume", "ls", "-q").split()
    assert name not in after or name in before


@pytest.mark.parametrize("engine", ["docker"], indirect=True)  # a service sweeps its own
def test_sweep(engine, docker, empty_image, volume):
    name = volume()
    with engine.volume(name) as (holder, _):
        labels = json.loads(docker("inspect", "-f", "{{json .Config.Labels}}", holder))
        dead = {**labels, f"{HELPER_LABEL}.process": "999999999 1"}
        old = {**labels, f"{HELPER_LABEL}.owner": "elsewhere", f"{HELPER_LABEL}.since": "1000"}
        young = {**labels, f"{HELPER_LABEL}.owner": "elsewhere"}
        made = {}
        for what, marks in (("dead", dead), ("old", old), ("young", young)):
            flags = [flag for key, value in marks.items() for flag in ("--label", f"{key}={value}")]
            made[what] = f"{PREFIX}-sweep-{what}"
            docker("create", "--name", made[what], *flags, empty_image, "none")
        try:
            swept = sweep_helpers(engine)
            assert made["young"] not in swept
            # a server that begins beside this test sweeps, too: who it was does not matter
            for what in ("dead", "old"):
                gone = lambda name=made[what]: docker.raw("inspect", name).returncode  # noqa: E731
                wait_for(gone, f"{what} to be gone")
            assert docker.inspect(holder)["Id"] == holder  # ours is alive: it stays
            assert docker.inspect(made["young"])
            # one that was filling a new volume takes that along
            filled = volume("--label", f"{MADE_LABEL}=text")
            other = volume()
            for new in (filled, other):
                marks = {**dead, f"{HELPER_LABEL}.fills": new, MADE_LABEL: "text"}
                flags = [f for key, value in marks.items() for f in ("--label", f"{key}={value}")]
                docker("create", *flags, "-v", f"{new}:/volume", empty_image, "none")
            sweep_helpers(engine)
            wait_for(lambda: docker.raw("volume", "inspect", filled).returncode, "its volume to go")
            assert docker.inspect(other, "volume")  # somebody else's of that name
            helper = ("ps", "-aq", "--filter", f"volume={other}")
            wait_for(lambda: not docker(*helper), "the other's helper to go, whoever sweeps it")
        finally:
            docker.raw("rm", "-f", *made.values())
