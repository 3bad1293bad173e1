"""Every place is named: kind, origin, who shares it, what hides what (case O18); the story's two forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.insight import draw, mounts, shares, volumes
from jupyter_volcopy.core.model import Container, Mount
from jupyter_volcopy.core.mounts import places
from tests.conftest import Command, Docker
from tests.insight.conftest import volumes_of


def test_every_place(
    docker: Docker,
    engine: DockerEngine,
    container: Callable[..., str],
    volume: Callable[..., str],
    build_image: Callable[[str], str],
    nameless: list[str],
    tmp_path: Path,
    volcopy: Command,
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    single = tmp_path / "single.txt"
    single.write_text("12345")
    named, bare, outer, inner = volume(), volume(), volume(), volume()
    given = volume()
    giver = container("created", "-v", "/from", "-v", f"{given}:/from-named")
    image = build_image(
        'VOLUME ["/json1"]\nVOLUME ["/json2", "/json3"]\nVOLUME /plain1\nVOLUME /plain2 /plain3'
    )
    name = container(
        "running",
        *("-v", f"{folder}:/bind:ro"),
        *("-v", f"{single}:/etc/one"),
        *("-v", f"{named}:/named"),
        *("-v", "/anon"),
        *("-v", "/plain3"),
        *("--tmpfs", "/t1:size=1m"),
        *("--mount", "type=tmpfs,dst=/t2"),
        *("--mount", "type=volume,dst=/mount-api"),
        *("--mount", f"type=volume,src={bare},dst=/bare,volume-nocopy,readonly"),
        *("-v", f"{outer}:/o"),
        *("-v", f"{inner}:/o/i"),
        *("--volumes-from", giver),
        image=image,
    )
    nameless += volumes_of(docker, name).values()
    neighbour = container("created", "-v", f"{folder.parent}:/all", "-v", f"{named}:/n:ro")
    docker.write(name, "/named/f", b"x" * 5000)
    found = {row["target"]: row for row in volcopy("mounts", name, "--json").ok().json()}
    assert set(found["/bind"]) >= {
        *("target", "kind", "origin", "source", "read_only", "shared_with", "hides"),
        *("hidden_by", "survives"),
    }
    short = {t: (row["kind"], row["origin"], row["survives"]) for t, row in found.items()}
    assert short == {
        "/bind": ("bind", "flag", True),
        "/etc/one": ("bind", "flag", True),
        "/named": ("named", "flag", True),
        "/anon": ("anonymous", "flag", True),
        "/json1": ("anonymous", "image", True),
        "/json2": ("anonymous", "image", True),
        "/json3": ("anonymous", "image", True),
        "/plain1": ("anonymous", "image", True),
        "/plain2": ("anonymous", "image", True),
        "/plain3": ("anonymous", "image", True),
        "/t1": ("tmpfs", "flag", False),
        "/t2": ("tmpfs", "flag", False),
        "/mount-api": ("anonymous", "flag", True),
        "/bare": ("named", "flag", True),
        "/o": ("named", "flag", True),
        "/o/i": ("named", "flag", True),
        "/from": ("anonymous", f"volumes-from {giver}", True),
        "/from-named": ("named", f"volumes-from {giver}", True),
    }
    assert found["/bind"]["read_only"] and found["/bare"]["read_only"]
    assert not found["/named"]["read_only"]
    assert found["/bind"]["source"] == str(folder)
    assert found["/etc/one"]["single_file"] and not found["/bind"]["single_file"]
    assert found["/named"]["shared_with"] == [neighbour]
    assert found["/bind"]["shared_with"] == [neighbour]  # it sees the folder above
    assert found["/from"]["shared_with"] == [giver]
    assert found["/anon"]["shared_with"] == []
    assert found["/o"]["hidden_by"] == ["/o/i"] and found["/o/i"]["hides"] == ["/o"]
    assert found["/bind"]["flag"] == f"-v {folder}:/bind:ro"
    assert found["/named"]["flag"] == f"-v {named}:/named"
    assert found["/anon"]["keep"] == "-v anon:/anon"
    sized = {place.target: place.size for place in mounts(engine, name, sizes=True)}
    assert sized["/named"] == 5000 and sized["/etc/one"] == 5 and sized["/t1"] == 0
    said = volcopy("mounts", name, "-s").ok().out
    assert "anonymous" in said and f"volumes-from {giver}" in said and "bind (one file)" in said


def test_the_two_forms_of_the_story(
    docker: Docker,
    container: Callable[..., str],
    build_image: Callable[[str], str],
    volcopy: Command,
) -> None:
    image = build_image("VOLUME /data1\nVOLUME /data2")
    first = container("running", image=image, name="first")
    same = container("running", "--volumes-from", first, image=image, name="same")
    other = container("running", "--volumes-from", f"{first}:ro", name="other")
    docker.write(first, "/data1/f", b"shared")
    assert docker.read(same, "/data1/f") == docker.read(other, "/data1/f") == b"shared"
    for one in (same, other):
        rows = {row["target"]: row for row in volcopy("mounts", one, "--json").ok().json()}
        assert set(rows) == {"/data1", "/data2"}
        for row in rows.values():
            assert row["origin"] == f"volumes-from {first}"
            assert row["kind"] == "anonymous"
            assert row["shared_with"] == sorted({first, same, other} - {one})
            assert row["read_only"] is (one == other)
    rows = {row["target"]: row for row in volcopy("mounts", first, "--json").ok().json()}
    assert {row["origin"] for row in rows.values()} == {"image"}
    shared = [
        s
        for s in volcopy("shares", "--json").ok().json()
        if s["volume"] == rows["/data1"]["volume"]
    ]
    assert len(shared) == 1
    assert [(c["container"], c["origin"]) for c in shared[0]["containers"]] == [
        (first, "image"),
        (same, f"volumes-from {first}"),
        (other, f"volumes-from {first}"),
    ]
    drawing = volcopy("shares").ok().out
    assert f"├── {first} at /data1 [image]" in drawing
    assert f"└── {other} at /data1 read-only [volumes-from {first}]" in drawing


def test_volumes_and_who_uses_them(
    docker: Docker,
    engine: DockerEngine,
    container: Callable[..., str],
    volume: Callable[..., str],
    volcopy: Command,
) -> None:
    used, alone = volume(), volume()
    one = container("running", "-v", f"{used}:/a")
    two = container("created", "-v", f"{used}:/b:ro", "-v", "/anon")
    docker.write(one, "/a/f", b"y" * 1234)
    rows = {row["name"]: row for row in volcopy("volumes", "--size", "--json").ok().json()}
    assert rows[alone]["unused"] and rows[alone]["used_by"] == []
    assert rows[used]["size"] == 1234 and rows[used]["kind"] == "named"
    assert [
        (u["container"], u["state"], u["target"], u["read_only"]) for u in rows[used]["used_by"]
    ] == sorted([(one, "running", "/a", False), (two, "created", "/b", True)])
    assert all(use["since"] for use in rows[used]["used_by"])
    assert rows[volumes_of(docker, two)["/anon"]]["kind"] == "anonymous"
    said = volcopy("volumes").ok().out
    assert "nobody uses it" in said and f"{two} (created)" in said
    assert alone in volcopy("volumes", "--unused").ok().out
    assert any(facts.volume.name == used for facts in volumes(engine))
    assert not draw([]) and isinstance(shares(engine), list)


def test_a_giver_that_is_another_now() -> None:
    hexadecimal = "ab" * 32
    own = Container(
        *("1" * 64, "heir", "image", "created"),
        mounts=(Mount("volume", "/x", name=hexadecimal), Mount("volume", "/y", name="word")),
        raw={"HostConfig": {"VolumesFrom": ["giver"]}, "Config": {"Volumes": {"/z": {}}}},
    )
    gone = {place.target: place for place in places(own, None, [own])}
    assert gone["/x"].asked_by_name is None and gone["/x"].origin == "volumes-from giver"
    assert gone["/y"].kind == "named"
    another = Container(
        *("2" * 64, "giver", "image", "created"),
        mounts=(Mount("volume", "/x", name="cd" * 32),),
        raw={"HostConfig": {}},
    )
    assert places(own, None, [own, another])[0].asked_by_name is None
    right = Container(
        *("2" * 64, "giver", "image", "created"),
        mounts=(Mount("volume", "/x", name=hexadecimal),),
        raw={"HostConfig": {"Binds": [f"{hexadecimal}:/x"]}},
    )
    assert places(own, None, [own, right])[0].asked_by_name is True
    unasked = Container(*("2" * 64, "giver", "image", "created"), mounts=right.mounts)
    assert places(own, None, [own, unasked])[0].asked_by_name is None


def test_helpers_of_ours_are_nobody(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    volcopy: Command,
    engine: DockerEngine,
) -> None:
    """While a volume is reached through a helper, no answer counts that as somebody who uses it."""
    name = volume()
    user = container("created", "-v", f"{name}:/d")
    with engine.volume(name) as (helper, _):
        there = engine.container(helper)
        assert there.is_helper and there.name not in volcopy("ps", "-q").ok().out
        assert name not in volcopy("shares").ok().out
        assert volcopy("mounts", user, "--json").ok().json()[0]["shared_with"] == []
        (found,) = [one for one in engine.volumes() if one.name == name]
        assert [use.container for use in found.used_by] == [user]


def test_commands_in_words(
    docker: Docker,
    container: Callable[..., str],
    volcopy: Command,
    build_image: Callable[[str], str],
    tmp_path: Path,
) -> None:
    name = container("running", "-v", "/anon")
    docker.sh(
        name,
        "mkdir -p /home/nb/sub && cd /home/nb && echo hi > w && echo > sub/v && echo > /etc/x && echo > /r",
    )
    said = volcopy("forecast", name, "--how", "rm-v").ok().out
    for word in ("/home/nb/w", "at /anon", "docker run -v anon:/anon", "volcopy rescue"):
        assert word in said
    assert "Dockerfile" in said
    out = volcopy("forecast", name, "--json").ok().json()
    assert out["flags"] == ["-v /HOST/FILE:/r", "-v etc:/etc", "-v home-nb:/home/nb"]
    out["lost"] = [item for item in out["lost"] if item["path"] == "/home/nb/w"]
    assert out["how"] == "rm" and {"lost", "kept", "unknown"} <= set(out)
    assert out["lost"][0]["path"] == "/home/nb/w" and out["lost"][0]["bytes"] == 3
    assert set(out["kept"][0]) >= {"volume", "bytes", "modified", "why"}
    assert "path" not in out["kept"][0]
    plain = container("created")
    assert "has no mounts" in volcopy("mounts", plain).ok().out
    image = build_image("VOLUME /d")
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nVOLUME /e\nRUN touch /e/x\n")
    report = volcopy("dockerfile", "--json").ok().json()
    assert [(v["path"], v["origin"]) for v in report["volumes"]] == [
        ("/d", f"image {image}"),
        ("/e", "line 2"),
    ]
    done = volcopy("dockerfile", "Dockerfile").ok()
    assert "docker run -v d-data:/d -v e-data:/e" in done.out and "line 3" in done.err
    assert volcopy("dockerfile", image, "--json").ok().json()["volumes"][0]["path"] == "/d"
    assert volcopy("dockerfile", f"{image}-not").code == 1
