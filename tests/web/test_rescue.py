"""The rescue of a container by REST: whole, as a transfer, and only where the request may write."""

from __future__ import annotations

import json
import logging
import os
import tarfile

import pytest

from jupyter_volcopy.core.policy import Rules
from tests.conftest import PREFIX, wait_for
from tests.web.conftest import said
from tests.web.test_transfers import over


async def rescue(api, name, destination, **more):
    return await api(
        "POST", "containers", name, "rescue", body={"destination": destination, **more}
    )


def manifest(text: bytes | str) -> dict[str, dict]:
    return {item["path"]: item for item in json.loads(text)["entries"]}


@pytest.mark.parametrize("volcopy_config", [{"allowed_volumes": ["*"]}], ids=["nameless"])
@pytest.mark.parametrize("state", ["running", "stopped"])
async def test_all_that_would_be_lost(api, container, docker, volume, jp_root_dir, state):
    """Hidden files, too, though this server shows none: they cannot hide or replace anything."""
    named = volume()
    name = container("running", "-v", f"{named}:/kept", "-v", "/nameless")
    docker.sh(
        name,
        "echo k > /kept/k; echo n > /nameless/n; mkdir -p /home/h/.cfg; echo l > /home/h/.cfg/l;"
        "echo s > /tmp/s; chmod 4755 /tmp/s",
    )
    if state == "stopped":
        docker("kill", name)
        docker("wait", name)
    (jp_root_dir / "saved").mkdir()
    response = await rescue(api, name, "saved/one/", how="rm-v")
    assert response.code == 201, response.body
    begun = said(response)
    assert response.headers["Location"].endswith(f"/volcopy/api/transfers/{begun['id']}")
    assert begun["options"] == {"rescue": "rm-v", "caches": True, "unknown": False}
    done = await over(api, begun["id"])
    assert done["state"] == "done", done
    saved = jp_root_dir / "saved" / "one"
    lost = manifest((saved / "manifest.json").read_bytes())
    assert {"/nameless/n", "/home/h/.cfg/l", "/tmp/s"} <= set(lost) and "/kept/k" not in lost
    assert (saved / "data/home/h/.cfg/l").read_text() == "l\n"
    assert (saved / "data/tmp/s").stat().st_mode & 0o7000 == 0
    report = done["report"]
    assert report["landed"] == [{"path": "saved/one"}] and report["destination"] == "saved/one"
    assert report["rescue"] == {"container": name, "how": "rm-v", "unknown": []}
    assert report["files"] == report["verified"] >= 3
    assert str(jp_root_dir) not in json.dumps(done) and "/proc/" not in json.dumps(done)


async def test_into_a_tar_and_into_a_volume(api, container, docker, jp_root_dir):
    name = container()
    docker.sh(name, "echo x > /home/x")
    done = await over(api, said(await rescue(api, name, "saved.tar"))["id"])
    assert done["state"] == "done", done
    with tarfile.open(jp_root_dir / "saved.tar") as tar:
        assert {"data/home/x", "manifest.json"} <= set(tar.getnames())
    kept = f"{PREFIX}-rescued{os.urandom(3).hex()}"
    try:
        done = await over(api, said(await rescue(api, name, f"volume={kept}"))["id"])
        assert done["state"] == "done", done
        got = await api("GET", "volumes", kept, "file", path="/manifest.json")
        assert "/home/x" in manifest(got.body)
    finally:
        docker.raw("volume", "rm", "-f", kept)


async def test_places_that_are_none(api, container, error, jp_root_dir, tmp_path):
    """Nothing outside of the root, nothing over what is there, no second meaning."""
    name = container("created")
    outside = tmp_path / "outside"
    outside.mkdir()
    (jp_root_dir / "link").symlink_to(outside)
    (jp_root_dir / "full").mkdir()
    (jp_root_dir / "full" / "mine").write_text("mine")
    (jp_root_dir / "old.tar").write_text("old")
    for place in (str(outside), "../x", "/etc/x"):
        error(await rescue(api, name, place), 403, "denied")
    assert (await rescue(api, name, ".hidden")).code == 404
    for place in (".", "", "-", f"{name}:/x", "volume=x:/inside"):
        error(await rescue(api, name, place), 400, "usage")
    for more in ({"how": "magic"}, {"caches": 1}, {"unknown": "no"}, {"engine": "tcp://x:1"}):
        error(await rescue(api, name, "new", **more), 400, "usage")
    error(await rescue(api, "no-such", "new"), 404, "no-such-container")
    for place, code in (
        ("full", "exists"),
        ("old.tar", "exists"),
        ("link/new", "not-a-directory"),
        ("link", "not-a-directory"),
        ("no/such/new", "no-such-path"),
    ):
        done = await over(api, said(await rescue(api, name, place))["id"])
        assert (done["state"], done["error"]["code"]) == ("failed", code), (place, done)
        assert str(tmp_path) not in json.dumps(done) and "/proc/" not in json.dumps(done)
    assert os.listdir(outside) == [] and os.listdir(jp_root_dir / "full") == ["mine"]
    assert (jp_root_dir / "old.tar").read_text() == "old"


async def test_cancelled_it_leaves_nothing(api, container, docker, jp_root_dir, service):
    name = container()
    docker.sh(name, "dd if=/dev/zero of=/big bs=1048576 count=1 seek=6000 2>/dev/null")
    begun = said(await rescue(api, name, "saved"))
    assert (await api("DELETE", "transfers", begun["id"], now=1)).code == 202
    assert (await over(api, begun["id"]))["state"] == "cancelled"
    wait_for(lambda: not service.working, "the end of the rescue")
    assert os.listdir(jp_root_dir) == []
    docker.sh(name, "true")  # nobody holds it


async def test_the_policy_is_asked_and_the_audit_told(api, container, error, service, caplog):
    name = container("created")
    with caplog.at_level(logging.INFO):
        await over(api, said(await rescue(api, name, "saved"))["id"])
    lines = [
        json.loads(record.getMessage().partition("volcopy-audit ")[2])
        for record in caplog.records
        if record.getMessage().startswith("volcopy-audit ")
    ]
    read = [line for line in lines if line["event"] == "decision" and line["action"] == "read"]
    assert [(line["name"], line["allowed"]) for line in read][:1] == [(name, True)]
    (ended,) = [line for line in lines if line["event"] == "transfer"]
    assert ended["options"]["rescue"] == "rm" and ended["outcome"] == "done"
    assert (ended["sources"], ended["destination"]) == ([f"{name}:/"], "saved")
    service.rules = Rules(trusted=True, allowed_containers=("other-*",))
    error(await rescue(api, name, "other"), 404, "no-such-container")
