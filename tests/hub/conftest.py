"""One real Hub for all tests of a file: users, a named server, an instructor, an administrator."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT, Docker
from tests.hub.site import Site, script

IMAGE = "volcopy-hub-user"

ROLES = [
    {
        "name": "instructor",
        "users": ["teacher"],
        "scopes": ["access:servers!group=stats101", "custom:volcopy:write!group=stats101"],
    },
    {"name": "reader", "users": ["tutor"], "scopes": ["access:servers!group=stats101"]},
    {
        "name": "volcopy-admin",
        "users": ["boss"],
        "scopes": ["access:servers", "custom:volcopy:admin"],
    },
]
GROUPS = {"stats101": {"users": ["7000211", "a-b"]}}


@pytest.fixture(scope="session")
def hub_image(docker: Docker) -> str:
    """The image of the users' servers, with this project in it."""
    return script(str(ROOT / "scripts/hub-image"), IMAGE)


@pytest.fixture(scope="session")
def hub_proxy() -> str:
    """The command of the Hub's proxy."""
    return script(str(ROOT / "scripts/hub-proxy"))


@pytest.fixture(scope="module")
def site(
    docker: Docker,
    hub_image: str,
    hub_proxy: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A Hub with nobody's server running yet."""
    directory = tmp_path_factory.mktemp("hub")
    made = Site(docker, directory, {"roles": ROLES, "groups": GROUPS})
    made.settings["volumes"] = {
        made.prefix + "-home-{username}-{servername}": "/home/nb",
        made.prefix + "-shared": "/shared",
    }
    folder = directory / "shared-data"
    folder.mkdir()
    (folder / "数据.csv").write_text("1,2\n")
    (folder / "way-out").symlink_to("/etc")
    made.share = made.prefix[-5:]
    share = {"path": str(folder), "read": ["*"], "write": ["group:stats101"]}
    made.settings["arguments"] = [
        *("--set", f"shares={json.dumps({made.share: share})}"),
        *("--set", f"name_template={made.prefix}-{{username}}"),
        *("--set", f"audit_file={directory / 'audit.log'}"),
        *("--set", f"rescue_directory={directory / 'rescued'}"),
        *("--set", "requests_per_second=0"),
    ]
    try:
        made.start(hub_image, hub_proxy)
        yield made
    finally:
        made.stop()
