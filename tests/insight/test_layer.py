"""The writable layer: what the diff says, without noise, with sizes (case O20)."""

from __future__ import annotations

import os
from collections.abc import Callable

from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.layer import is_cache, layer, tidy
from jupyter_volcopy.core.model import Change, Kind
from tests.conftest import Docker


def changes(*lines: str) -> list[Change]:
    return [Change(line[2:], line[0]) for line in lines]


def test_noise_is_left_out() -> None:
    diff = changes(
        *("C /bin", "D /bin/awk", "C /home", "A /home/nb", "A /home/nb/w", "A /a", "A /a/b"),
        *("A /a/b/c", "C /etc", "A /etc/hosts", "C /dev", "A /dev/console", "A /empty", "C /var"),
        *("D /var/x", "D /var/x/y", "A /a/own", "C /lonely", "A /vol"),
    )
    kept, deleted = tidy(diff, ["/a/b/c", "/vol"])
    # /lonely may be a file; whether it is will be asked
    assert {c.path for c in kept} == {"/home/nb/w", "/empty", "/a/own", "/lonely", "/etc"}
    assert deleted == ["/bin/awk", "/var/x"]


def test_caches() -> None:
    for path in ("/home/nb/.cache/x", "/a/__pycache__/m.pyc", "/x.pyc", "/var/cache/apt/a"):
        assert is_cache(path), path
    for path in ("/home/nb/cache/x", "/var/cached", "/home/nb/w"):
        assert not is_cache(path), path


def test_what_the_diff_misses(
    engine: DockerEngine, docker: Docker, container: Callable[..., str]
) -> None:
    name = container("running", "-v", "/vol", "-v", "/deep/er/vol")
    docker.sh(
        name,
        "mkdir -p /home/nb/.cache && echo hello > /home/nb/w && echo new > /vol/new; echo x > /home/nb/.cache/c;"
        "echo changed >> /etc/passwd; rm /bin/awk; ln -s w /home/nb/l; mkdir /srv/void; touch -d '2001-02-03 04:05:06' /home/nb/w;"
        "chmod 700 /srv; touch /tmp/gone; rm /tmp/gone",
    )
    id = docker.inspect(name)["Id"]
    found = layer(engine, id, ["/vol", "/deep/er/vol"])
    entries = {entry.path: entry for entry in found.entries}
    assert set(entries) == {
        "/home/nb/w",
        "/home/nb/l",
        "/home/nb/.cache/c",
        "/etc/passwd",
        "/srv/void",
    }
    assert entries["/home/nb/w"].bytes == 6
    assert entries["/home/nb/w"].modified == "2001-02-03T04:05:06Z"
    assert entries["/home/nb/l"].kind is Kind.SYMLINK
    assert entries["/srv/void"].kind is Kind.DIRECTORY
    assert entries["/etc/passwd"].change == "C"
    assert found.deleted == ["/bin/awk"]
    without = layer(engine, id, ["/vol", "/deep/er/vol"], caches=False)
    assert without.caches == 1 and len(without.entries) == 4


def test_many_files_and_odd_names(
    engine: DockerEngine, docker: Docker, container: Callable[..., str]
) -> None:
    name = container("running")
    docker.sh(
        name,
        "mkdir -p '/data/多 层' && cd '/data/多 层' && i=0; while [ $i -lt 400 ]; do echo $i > f$i; i=$((i+1)); done;"
        "echo odd > \"$(printf 'b\\377ad')\"; echo line > \"$(printf 'a\\nb')\"",
    )
    id = docker.inspect(name)["Id"]
    for state in ("running", "stopped"):
        if state == "stopped":
            docker("kill", name)
        found = {entry.path: entry for entry in layer(engine, id, []).entries}
        assert len(found) == 402
        assert found["/data/多 层/f7"].bytes == 2
        assert found["/data/多 层/a\nb"].bytes == 5
        odd = os.fsdecode(b"/data/\xe5\xa4\x9a \xe5\xb1\x82/b\xffad")
        assert found[odd].bytes == 4
        assert found[odd].to_dict()["path"].endswith("b\\xffad")
