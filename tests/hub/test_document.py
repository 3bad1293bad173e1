"""docs/hub.md, followed to the letter on a Hub with DockerSpawner that exists already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Docker
from tests.hub.site import Site

pytestmark = pytest.mark.timeout(900)

EXISTING = """
import os

gateway = os.environ["HUB_GATEWAY"]
public, proxy, hub, service = os.environ["HUB_PORTS"].split(",")
c.JupyterHub.bind_url = f"http://127.0.0.1:{public}"
c.JupyterHub.hub_bind_url = c.JupyterHub.hub_connect_url = f"http://{gateway}:{hub}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{proxy}"
c.ConfigurableHTTPProxy.command = [os.environ["HUB_PROXY"]]
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["HUB_PASSWORD"]
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"root-of-hub"}
c.SharedPasswordAuthenticator.admin_password = os.environ["HUB_PASSWORD"] + " of administrators"
c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = os.environ["HUB_IMAGE"]
c.DockerSpawner.prefix = os.environ["HUB_PREFIX"]
c.DockerSpawner.network_name = os.environ["HUB_NETWORK"]
c.DockerSpawner.pull_policy = "skip"
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
c.JupyterHub.cleanup_servers = False
"""
"""An installation as it may be, before anybody read the page."""

TESTER = """
c.JupyterHub.services.append({"name": "tester", "api_token": os.environ["HUB_TEST_TOKEN"]})
c.JupyterHub.load_roles.append({"name": "tester", "services": ["tester"],
    "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens"]})
"""
"""Only so that the test may make users and tokens."""


def pasted(audit: Path) -> str:
    """The block of the page; what is to be filled in there is filled in."""
    page = (ROOT / "docs/hub.md").read_text()
    (block,) = re.findall(r"## 2\. `jupyterhub_config.py`\n+```python\n(.*?)```", page, re.DOTALL)
    block, gateways = re.subn(r"^gateway = .*$", "", block, flags=re.MULTILINE)
    block, ports = re.subn(r":8090", ":{service}", block)
    block, audits = re.subn(r"/var/log/jupyterhub/volcopy-audit.log", str(audit), block)
    assert (gateways, ports, audits) == (1, 2, 1)
    return str(block)


@pytest.fixture
def by_the_page(docker: Docker, hub_image: str, hub_proxy: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(docker, tmp_path, {})
    made.config = tmp_path / "jupyterhub_config.py"
    made.config.write_text(EXISTING + pasted(tmp_path / "log" / "audit.log") + TESTER)
    try:
        made.start(hub_image, hub_proxy)
        yield made
    finally:
        made.stop()


def test_set_up_by_the_page(by_the_page: Site, docker: Docker, tmp_path: Path) -> None:
    site = by_the_page
    site.until(lambda: " containers\n" in site.log.read_text(), "all that the check says")
    log = site.log.read_text()
    assert "all scopes there" in log and "c.JupyterHub.subdomain_host" in log
    site.hub("POST", "/groups/stats101", {}, ok=(409,))
    site.add("boss", "teacher", "ann", "bob")
    site.hub("POST", "/groups/stats101/users", {"users": ["ann"]})
    site.spawn(("ann", ""), ("bob", ""))
    ann, bob = site.container("ann"), site.container("bob")
    listed = docker("exec", ann, "volcopy", "ps", "-q").split()
    assert listed == [ann]
    docker("exec", ann, "sh", "-c", f"echo 1 > notes.txt; dcp notes.txt {ann}:/tmp/")
    assert docker("exec", ann, "cat", "/tmp/notes.txt") == "1"

    def seen(user: str) -> set[str]:
        found = site.call(user, "GET", "people").json()["people"]
        return {one["label"] for one in found if one["label"]}

    assert seen("boss") == {"ann", "bob"} and seen("teacher") == {"ann"} and seen("bob") == {"bob"}
    answer = site.call("teacher", "PUT", f"containers/{ann}/file?path=/tmp/new", data=b"1")
    assert answer.status_code == 201, answer.text
    answer = site.call("teacher", "GET", f"containers/{bob}/entries?path=/tmp")
    assert answer.status_code == 404
    assert (tmp_path / "log" / "audit.log").read_text().count("\n") > 3
