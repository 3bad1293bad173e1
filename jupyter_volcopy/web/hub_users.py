"""Who somebody is on a Hub, and which containers the Hub lets them open.

The Hub is asked, nothing is guessed (safety S24): the state of each server holds the id of its
container. Only where a server's state holds none, its name is made as DockerSpawner makes it, and a
name that two servers could have belongs to nobody.

The rights come from the scopes of whoever asks (S25): one's own servers always; another's server
exactly if the Hub lets one open it (`access:servers`, unfiltered or for a user, group or server);
writing there with `custom:volcopy:write`, filtered the same way. `custom:volcopy:admin` is an
administrator's. There is no list of roles here.

What the Hub said is kept for a few seconds; a Hub that does not answer means no (S26).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from jupyter_volcopy.core.model import Container
from jupyter_volcopy.core.policy import User
from jupyter_volcopy.errors import AccessDenied, EngineUnreachable

__all__ = ["ADMIN", "OPEN", "WRITE", "HubUser", "HubUsers", "Roster", "Server", "escaped"]

OPEN = "access:servers"
WRITE = "custom:volcopy:write"
ADMIN = "custom:volcopy:admin"

_PAGE = 200
_KEEP_MOST = 15.0  # rights end within this, and the period at which running transfers are looked at
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


@dataclass(frozen=True, slots=True)
class Server:
    """One server of one user.

    Attributes:
        name: "" for the default one.
        ready: it runs.
        object_id, object_name: of its container as the spawner's state says, or "".
    """

    user: str
    name: str
    ready: bool
    object_id: str
    object_name: str

    @property
    def label(self) -> str:
        """`USER`, or `USER/SERVER` for a named one."""
        return f"{self.user}/{self.name}" if self.name else self.user


@dataclass(frozen=True, slots=True)
class HubUser:
    """One user as the Hub knows them."""

    name: str
    groups: frozenset[str]
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Roster:
    """Everybody, and whose container is whose.

    Attributes:
        users: by name.
        owners: id of a container (64 hex) -> the server it belongs to.
        names: id of a container -> its name.
    """

    users: Mapping[str, HubUser]
    owners: Mapping[str, Server]
    names: Mapping[str, str] = field(default_factory=dict)

    def of(self, user: str) -> frozenset[str]:
        """Ids of the containers of a user's servers."""
        return frozenset(ident for ident, server in self.owners.items() if server.user == user)

    def within(self, scopes: Iterable[str], scope: str) -> frozenset[str]:
        """Ids of the containers which `scope`, as it stands in `scopes`, is about."""
        found: set[str] = set()
        for item in scopes:
            base, _, limit = item.partition("!")
            if base != scope:
                continue
            kind, _, value = limit.partition("=")
            for ident, server in self.owners.items():
                owner = self.users.get(server.user)
                if (
                    not limit
                    or (kind == "user" and value == server.user)
                    or (kind == "server" and value == f"{server.user}/{server.name}")
                    or (kind == "group" and owner is not None and value in owner.groups)
                ):
                    found.add(ident)
        return frozenset(found)


def escaped(text: str) -> str:
    """A name as DockerSpawner writes it in the name of a container."""
    out = []
    for char in text:
        if char in _SAFE:
            out.append(char)
        else:
            out.extend(f"-{byte:x}" for byte in char.encode("utf-8"))
    return "".join(out).lower()


class HubUsers:
    """Asks the Hub.

    Args:
        api_url: of the Hub's REST interface.
        token: of the service; needs `list:users`, `read:users`, `read:servers`,
            `admin:server_state`.
        containers: what the engine lists.
        name_template: of the containers of servers whose state names none; "" for never by name.
        keep: seconds for which an answer holds; longer where the Hub is slow, 15 at most.
        clock: seconds that only grow.

    All methods block and are thread-safe.
    """

    def __init__(
        self,
        api_url: str,
        token: str,
        containers: Callable[[], list[Container]],
        *,
        name_template: str = "jupyter-{username}",
        keep: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api_url.rstrip("/")
        self._token = token
        self._containers = containers
        self._template = name_template
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()
        self._roster: Roster | None = None
        self._read = 0.0
        self._for = keep

    # --- asking

    def whose(self, token: str) -> dict[str, Any] | None:
        """What the Hub says of a token of somebody, now; None where it is not valid (any more).

        Raises:
            EngineUnreachable: the Hub does not answer.
        """
        try:
            found: dict[str, Any] = self.get("/user", token)
        except AccessDenied:
            return None
        return found

    def get(self, path: str, token: str = "") -> Any:
        """The JSON value at a path of the Hub's REST interface.

        Args:
            path: below its base.
            token: to ask with, instead of the service's own.

        Raises:
            EngineUnreachable: the Hub does not answer.
            AccessDenied: this may not be asked.
        """
        import http.client
        import ssl

        parts = urlsplit(self._api)
        host, port = parts.hostname or "127.0.0.1", parts.port
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                host, port, timeout=30, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=30)
        try:
            connection.request(
                "GET",
                parts.path + path,
                headers={
                    "Authorization": f"token {token or self._token}",
                    "Accept": "application/jupyterhub-pagination+json, application/json",
                },
            )
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            raise EngineUnreachable(
                "the Hub does not answer", hint="nothing is allowed until it does; try again"
            ) from None
        finally:
            connection.close()
        if answer.status in (401, 403):
            raise AccessDenied(
                "the Hub does not let this service ask who owns what",
                hint="an administrator must give it its scopes, see docs/hub.md",
            )
        if answer.status != 200:
            raise EngineUnreachable(f"the Hub answers {answer.status}", hint="try again")
        try:
            return json.loads(body)
        except ValueError:
            raise EngineUnreachable("the Hub does not answer with JSON") from None

    def _everybody(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            path = f"/users?include_stopped_servers=1&limit={_PAGE}&offset={len(found)}"
            said = self.get(path)
            items = said["items"] if isinstance(said, dict) else said
            found += items
            more = said.get("_pagination", {}).get("next") if isinstance(said, dict) else None
            if not more or not items:
                return found

    # --- what is known

    def roster(self, *, fresh: bool = False) -> Roster:
        """Everybody, as the Hub said a few seconds ago at most.

        Args:
            fresh: ask now.

        Raises:
            EngineUnreachable, AccessDenied: the Hub says nothing.
        """
        with self._lock:
            kept = self._roster
            if kept is not None and not fresh and self._clock() - self._read < self._for:
                return kept
            began = self._clock()
            users = {str(item["name"]): _hub_user(item) for item in self._everybody()}
            made = self._made(users)
            self._roster, self._read = made, began
            # A Hub of hundreds works a second for this, and for nobody else meanwhile.
            if self._keep:
                self._for = max(self._keep, min(_KEEP_MOST, 10 * (self._clock() - began)))
            return made

    def _made(self, users: dict[str, HubUser]) -> Roster:
        there = {item.id: item.name for item in self._containers()}
        by_name = {name: ident for ident, name in there.items()}
        owners: dict[str, Server] = {}
        claimed: set[str] = set()  # by the state of two servers, or by two names: nobody's
        guessed: dict[str, list[Server]] = {}
        for user in users.values():
            for server in user.servers:
                ident = server.object_id
                if not ident and server.object_name:
                    ident = by_name.get(server.object_name, "")
                if ident:
                    if ident in owners:
                        claimed.add(ident)
                    owners[ident] = server
                    continue
                for name in self._names(server):
                    guessed.setdefault(name, []).append(server)
        for name, servers in guessed.items():
            ident = by_name.get(name, "")
            if ident and ident not in owners and len(servers) == 1:
                owners[ident] = servers[0]
        return Roster(
            users,
            {
                ident: server
                for ident, server in owners.items()
                if ident in there and ident not in claimed
            },
            there,
        )

    def _names(self, server: Server) -> list[str]:
        """How the container of a server would be called, each way."""
        if not self._template:
            return []
        templates = [self._template]
        if server.name and "{servername}" not in self._template:
            # as newer and as older DockerSpawners name the container of a named server
            templates = [self._template + sign + "{servername}" for sign in ("--", "__")]
        user, named = escaped(server.user), escaped(server.name.lower())
        names = [t.replace("{username}", user).replace("{servername}", named) for t in templates]
        return [name for name in names if "{" not in name]

    def user(self, model: Mapping[str, Any]) -> User:
        """The user that a model of the Hub is about, with their rights now.

        Args:
            model: what the Hub says of a token: `name`, `kind`, `scopes`.

        Raises:
            EngineUnreachable, AccessDenied: the Hub says nothing more.
        """
        name, scopes = str(model["name"]), [str(item) for item in model.get("scopes") or ()]
        roster = self.roster()
        if model.get("kind") == "service":
            known, owned, name = None, frozenset[str](), f"service={name}"
        else:
            known, owned = roster.users.get(name), roster.of(name)
        opened = roster.within(scopes, OPEN)
        return User(
            name,
            groups=known.groups if known is not None else frozenset(),
            admin=ADMIN in scopes,
            owned=owned,
            reads=opened,
            writes=opened & roster.within(scopes, WRITE),
        )

    def targets(self, words: Iterable[str]) -> list[tuple[Server, str]]:
        """Servers with a container that some words mean, each with its container's id.

        Args:
            words: `all`, `group:NAME`, `user:NAME` (all servers), or `NAME`, `NAME/SERVER`.

        Raises:
            AccessDenied, EngineUnreachable: the Hub says nothing.
        """
        from jupyter_volcopy.errors import UsageError

        roster = self.roster(fresh=True)
        groups = {group for user in roster.users.values() for group in user.groups}
        found: dict[str, Server] = {}
        for word in words:
            kind, colon, name = word.partition(":")
            if word == "all":
                chosen = dict(roster.owners)
            elif colon and kind == "group":
                if name not in groups:
                    raise UsageError(f"no group {name!r} with anybody in it")
                chosen = {
                    ident: server
                    for ident, server in roster.owners.items()
                    if name in roster.users[server.user].groups
                }
            else:
                wanted = name if colon and kind == "user" else word
                chosen = {
                    ident: server
                    for ident, server in roster.owners.items()
                    if wanted == server.label or (colon and wanted == server.user)
                }
                if not chosen and wanted.partition("/")[0] not in roster.users:
                    raise UsageError(f"no user {wanted!r}", hint="write all, group:NAME, user:NAME")
            found.update(chosen)
        return sorted(((s, i) for i, s in found.items()), key=lambda pair: pair[0].label)


def _hub_user(item: Mapping[str, Any]) -> HubUser:
    servers = []
    for name, said in (item.get("servers") or {}).items():
        state = said.get("state") or {}
        servers.append(
            Server(
                str(item["name"]),
                str(name),
                bool(said.get("ready")),
                str(state.get("object_id") or state.get("container_id") or ""),
                str(state.get("object_name") or ""),
            )
        )
    groups = frozenset(str(group) for group in item.get("groups") or ())
    return HubUser(str(item["name"]), groups, tuple(servers))
