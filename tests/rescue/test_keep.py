"""`volcopy keep`: the volume, the lines that use it, and the container made again."""

from __future__ import annotations

import os

import pytest

from jupyter_volcopy.cli.volcopy import main as volcopy_main
from jupyter_volcopy.core import keep_recreate
from tests.conftest import PREFIX
from tests.rescue.conftest import FILL, tree


@pytest.fixture
def kept(docker):
    """Name of a volume that is not there; removed at the end, with whoever uses it."""
    name = f"{PREFIX}-kept{os.urandom(3).hex()}"
    yield name
    users = docker("ps", "-aq", "--filter", f"volume={name}").split()
    if users:
        docker.raw("rm", "-fv", *users)
    docker.raw("volume", "rm", "-f", name)


@pytest.fixture
def others(docker):
    """Containers that keep another name for a while are removed at the end."""
    yield
    left = docker("ps", "-aq", "--filter", f"name={PREFIX}.*-before-").split()
    if left:
        docker.raw("rm", "-fv", *left)


def test_the_volume_and_the_lines(docker, container, volcopy, kept):
    name = container("running", "--tmpfs", "/home/nb/w/sub2")
    docker("exec", "-u", "0", name, "sh", "-c", FILL, "sh", "/home/nb")
    docker.sh(name, "chown 1000:50 /home/nb/w; chmod 2770 /home/nb/w; echo m > /home/nb/w/sub2/m")
    before = [line for line in tree(docker, name, "/home/nb/w") if "/sub2" not in line]
    done = volcopy("keep", f"{name}:/home/nb/w", "--volume", kept).ok()
    assert "/home/nb/w/sub2: is a mount of its own" in done.err
    assert f"docker run -v {kept}:/home/nb/w volcopy-test-image" in done.out
    assert f'- "{kept}:/home/nb/w"' in done.out and "external: true" in done.out
    assert f'c.DockerSpawner.volumes = {{"{kept}": "/home/nb/w"}}' in done.out
    user = container("running", "-v", f"{kept}:/home/nb/w")
    after = [line for line in tree(docker, user, "/home/nb/w") if "/sub2" not in line]
    assert after == before
    assert docker.sh(user, "ls -A /home/nb/w/sub2") == ""
    again = volcopy("keep", f"{name}:/home/nb/w", "--volume", kept)
    assert again.code == 1 and "not empty" in again.err


def test_refusals_make_nothing(docker, container, volume, volcopy, kept):
    there = volume()
    name = container("running", "-v", f"{there}:/there")
    docker.sh(name, "echo x > /file; ln -s /there /link")
    for path, word in (
        ("/there", "kept already"),
        ("/there/below", "o such file"),
        ("/link", "kept already"),
        ("/file", "not a directory"),
        ("/", "no volume can be there"),
        ("/proc", "no volume can be there"),
        ("/none", "o such file"),
    ):
        done = volcopy("keep", f"{name}:{path}", "--volume", kept)
        assert done.code == 1, path
        assert word in done.err.replace("Could not find the file", "no such file"), done.err
    for odd in (name, "volume=x:/y", "/local"):
        assert volcopy("keep", odd).code == 1
    assert docker.raw("volume", "inspect", kept).returncode


def test_a_server_of_a_hub_gets_its_name(docker, container, volcopy):
    user = "u" + os.urandom(4).hex()
    name = container("created", "-e", f"JUPYTERHUB_USER={user}")
    try:
        done = volcopy("keep", f"{name}:/root", "--json").ok().json()
        assert done["volume"] == f"jupyterhub-user-{user}"
        assert done["lines"]["spawner"] == (
            'c.DockerSpawner.volumes = {"jupyterhub-user-{username}": "/root"}'
        )
    finally:
        docker.raw("volume", "rm", "-f", f"jupyterhub-user-{user}")


def test_recreate(docker, container, volume, volcopy, kept, others):
    there = volume()
    name = container(
        "running",
        "-v",
        f"{there}:/there:ro",
        "-v",
        "/nameless",
        "-e",
        "A=b c",
        "--user",
        "1000",
        "--label",
        "l=v",
        "--memory",
        "64m",
        "--init",
        "--tmpfs",
        "/t",
        "--workdir",
        "/home/nb",
        command=("sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"),
    )
    docker.sh(
        name, "mkdir /data; echo d > /data/f; chown 1000:50 /data /data/f; echo n > /nameless/n"
    )
    before = docker.inspect(name)
    asked = volcopy("keep", f"{name}:/data", "--volume", kept, "--recreate")
    assert asked.code == 1 and "--yes" in asked.err
    assert docker.inspect(name)["Id"] == before["Id"]
    done = volcopy("keep", f"{name}:/data", "--volume", kept, "--recreate", "--yes").ok()
    assert f"{name} was made again" in done.out
    after = docker.inspect(name)
    assert after["Id"] != before["Id"] and after["State"]["Running"]
    assert docker.raw("inspect", before["Id"]).returncode  # all it had is in the new one
    for key in ("Env", "Cmd", "User", "Labels", "Image", "WorkingDir", "Entrypoint"):
        assert after["Config"][key] == before["Config"][key], key
    for key in ("Memory", "Init", "NetworkMode", "Tmpfs", "RestartPolicy", "Binds"):
        assert after["HostConfig"][key] == before["HostConfig"][key], key
    mounts = {m["Destination"]: (m["Name"], m["RW"]) for m in after["Mounts"]}
    old = {m["Destination"]: (m["Name"], m["RW"]) for m in before["Mounts"]}
    assert mounts == {**old, "/data": (kept, True)}
    shown = docker.sh(name, "cat /data/f /nameless/n; stat -c '%u %g' /data /data/f")
    assert shown == "d\nn\n1000 50\n1000 50"
    nameless = old["/nameless"][0]
    docker("rm", "-f", name)
    docker.raw("volume", "rm", "-f", nameless)


def test_recreate_keeps_the_old_one_if_it_has_more(docker, container, volcopy, kept, others):
    name = container("created")
    docker("start", name)
    docker.sh(name, "mkdir /data; echo d > /data/f; echo more > /more")
    docker("stop", "-t", "0", name)
    done = volcopy("keep", f"{name}:/data", "--volume", kept, "--recreate", "--yes", "--json")
    found = done.ok().json()
    assert found["recreated"] and found["old"].startswith(f"{name}-before-")
    assert not docker.inspect(name)["State"]["Running"]  # as it was
    assert docker.bytes("cp", f"{found['old']}:/more", "-")
    assert docker.inspect(name)["Mounts"][0]["Name"] == kept


def test_when_the_new_one_fails_all_is_as_before(docker, container, kept, monkeypatch, capsys):
    monkeypatch.setattr(keep_recreate, "_STARTS", 60.0)  # a busy machine may end it late
    script = "test -e /data/ran && exit 3; mkdir /data; : > /data/ran; trap exit TERM; while :; do sleep 0.1; done"
    name = container("running", "-v", "/nameless", command=("sh", "-c", script))
    docker.sh(name, "while ! test -e /data/ran; do sleep 0.1; done")
    before = docker.inspect(name)
    # started again, it fails; so does the old one, but it is there under its name
    code = volcopy_main(["keep", f"{name}:/data", "--volume", kept, "--recreate", "--yes"])
    assert code == 1 and "status 3" in capsys.readouterr().err
    after = docker.inspect(name)
    assert after["Id"] == before["Id"] and after["Mounts"] == before["Mounts"]
    assert after["State"]["StartedAt"] != before["State"]["StartedAt"]
    assert docker.raw("volume", "inspect", kept).returncode
    assert docker("ps", "-aq", "--filter", f"name={name}").split() == [before["Id"][:12]]


@pytest.mark.parametrize(
    ("flags", "by"),
    [
        (("--label", "com.docker.compose.project=p"), "docker compose"),
        (("-e", "JUPYTERHUB_API_TOKEN=x"), "JupyterHub"),
        (("--rm",), "--rm"),
    ],
)
def test_recreate_is_refused_for_others_containers(docker, container, volcopy, kept, flags, by):
    name = container("running", *flags)
    docker.sh(name, "mkdir /data")
    before = docker.inspect(name)["Id"]
    done = volcopy("keep", f"{name}:/data", "--volume", kept, "--recreate", "--yes")
    assert done.code == 1 and by in done.err
    assert docker.inspect(name)["Id"] == before and docker.inspect(name)["State"]["Running"]
    assert docker.raw("volume", "inspect", kept).returncode
