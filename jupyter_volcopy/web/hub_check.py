"""What the service looks at when it starts, and what it says where something is missing (S38).

Nothing here stops the service: what it may not ask the Hub it cannot allow anybody. Each finding is
a sentence for the log with what to paste where.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jupyter_volcopy.errors import VolcopyError

if TYPE_CHECKING:
    from jupyter_volcopy.web.hub import HubService

__all__ = ["HOLES", "NEEDED", "check", "holes", "missing_scopes", "older"]

_WIDER = {
    "list:users": ("admin:users",),
    "read:users:name": ("read:users", "admin:users", "users"),
    "read:users:groups": ("read:users", "admin:users", "users"),
    "read:servers": ("servers", "admin:servers"),
    "admin:server_state": (),
}
NEEDED = tuple(_WIDER)
"""Scopes of the service itself; beside each in `_WIDER` those which hold it."""

_HUB = "5.4.5"

HOLES = (
    ("18.09.7", "CVE-2018-15664", "a container can lead the engine's own copy out of itself"),
    ("19.03.1", "CVE-2019-14271", "the engine's own copy may run code of the container"),
    ("20.10.9", "CVE-2021-41089, -41091", "copying in may change modes of files on the host"),
    ("27.1.1", "CVE-2024-41110", "plugins that authorise can be passed over (patches of older "
     "series have it: 26.1.5, 25.0.6, 23.0.15)"),
    ("29.3.1", "CVE-2026-34040", "plugins that authorise can be passed over"),
    ("29.5.1", "CVE-2026-41567, -41568, -42306", "a container that runs can race its mounts while "
     "the engine's own archive call works on it; users' own copies do not use that call, "
     "administrators' do"),
)  # fmt: skip
"""Known holes of engines that copies meet: first version without, its number, what it is."""

_ROLE = """the Hub does not let this service ask who owns what: {missing}. In jupyterhub_config.py:
    c.JupyterHub.load_roles = [
        {{"name": "volcopy-service", "services": ["{name}"],
          "scopes": ["list:users", "read:users", "read:servers", "admin:server_state"]}},
        ...
    ]"""

_SUBDOMAINS = """users have no subdomain of their own: a page of one user's server can act on the
others' and on this service as whoever looks at it. With TLS and a wildcard name of DNS:
    c.JupyterHub.subdomain_host = "https://hub.example.org\""""

_COOKIES = """cookies are not bound to one host. With TLS, in jupyterhub_config.py:
    c.JupyterHub.cookie_host_prefix_enabled = True"""


def older(version: str, than: str) -> bool:
    """Whether a version is older than another; one that is not understood is not."""
    mine, other = (tuple(map(int, re.findall(r"\d+", text)[:3])) for text in (version, than))
    return bool(mine) and mine < other


def holes(version: str) -> list[tuple[str, str, str]]:
    """Those of `HOLES` which an engine of this version has (or its distribution has patched)."""
    found = [one for one in HOLES if older(version, one[0])]
    if older(version, "19.03.0"):
        found = [one for one in found if one[1] != "CVE-2019-14271"]  # came with 19.03.0
    return found


def missing_scopes(scopes: list[str]) -> list[str]:
    """Those of `NEEDED` which `scopes` do not hold, unfiltered or in a wider one."""
    return [
        scope
        for scope in NEEDED
        if scope not in scopes and not any(wider in scopes for wider in _WIDER[scope])
    ]


def check(service: HubService) -> Iterator[tuple[int, str]]:
    """Look at everything: level of the log and sentence, one by one."""
    yield from _hub(service)
    yield from _engine(service)


def _hub(service: HubService) -> Iterator[tuple[int, str]]:
    name = os.environ.get("JUPYTERHUB_SERVICE_NAME", "volcopy")
    try:
        version = str(service.users.get("/").get("version", ""))
        said: dict[str, Any] = service.users.get("/user")
    except VolcopyError as error:
        yield logging.ERROR, str(error)
        return
    if older(version, _HUB):
        yield logging.WARNING, f"JupyterHub {version} has known holes; use {_HUB} or newer"
    missing = missing_scopes([str(item) for item in said.get("scopes") or ()])
    if missing:
        yield logging.ERROR, _ROLE.format(missing=", ".join(missing), name=name)
    else:
        yield logging.INFO, f"JupyterHub {version}, all scopes there"
    if not os.environ.get("JUPYTERHUB_HOST"):
        yield logging.WARNING, _SUBDOMAINS
    if os.environ.get("JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED", "0") in ("", "0"):
        yield logging.WARNING, _COOKIES


def _engine(service: HubService) -> Iterator[tuple[int, str]]:
    try:
        info = service.engine().info()
        containers = service.engine().containers()
    except VolcopyError as error:
        yield logging.ERROR, f"{error}; the service needs the engine's socket"
        return
    yield logging.INFO, f"engine {info.version}, {len(containers)} containers"
    for version, name, what in holes(info.version):
        yield logging.WARNING, f"engine {info.version} has {name}: {what}; {version} has not"
    for item in containers:
        if any(mount.source.endswith("/docker.sock") for mount in item.mounts):
            yield (
                logging.WARNING,
                f"the container {item.name} has the engine's socket: whoever works in it is root "
                "on this host",
            )
