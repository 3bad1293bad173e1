"""An engine that asks before every call: the one place where the policy is applied.

`Guarded` wraps an `Engine` for one user and is an `Engine` itself, so whatever is built on it (a
listing, a copy, a whole transfer) cannot forget to ask. What may not be seen is not there: the
error is the one for a name that does not exist. Where only the rights of the container's own user
are given, the calls are made as that user, whatever was asked for.

A container is found once and then known by its id (safety S23): no inspect is made of a container
whose archive is being read, since that would wait for the stream (design E1).

One `Guarded` serves one request or one transfer; it is thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from jupyter_volcopy.core.model import Container, EngineInfo, Listing, Stat, Volume
from jupyter_volcopy.core.paths import clean
from jupyter_volcopy.core.policy import Action, Decision, Rules, Target, User, decide
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.errors import AccessDenied, NoSuchContainer, NoSuchVolume

if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import ArchiveBody, ArchiveReader, Engine, ExecResult
    from jupyter_volcopy.core.model import Change

__all__ = ["Guarded", "Heard", "container_user"]

Heard = Callable[[User, Action, Target, Decision], None]
"""Is told every decision (the audit log)."""

_NO_OWNER = "nobody can act as the user of this container"


def container_user(container: Container) -> str:
    """`uid` or `uid:gid` of the one Jupyter runs as: `NB_UID`, else the configured user.

    Args:
        container: inspected, with its environment.

    Returns:
        "" where it is not known as a number.
    """
    settings = dict(item.partition("=")[::2] for item in container.env)
    uid, gid = settings.get("NB_UID", ""), settings.get("NB_GID", "")
    if uid.isdigit():
        return f"{uid}:{gid}" if gid.isdigit() else uid
    name, _, group = container.user.partition(":")
    if name.isdigit() and (not group or group.isdigit()):
        return container.user
    return ""


class Guarded:
    """`Engine` for one user.

    Args:
        inner: the engine itself.
        user: who asks.
        rules: the site's.
        heard: told each decision.
        acting_as: `uid[:gid]` of the user of a container; default `container_user`.

    Attributes:
        address: the inner engine's, for the journal.
    """

    def __init__(
        self,
        inner: Engine,
        user: User,
        rules: Rules,
        *,
        heard: Heard | None = None,
        acting_as: Callable[[Container], str] = container_user,
    ) -> None:
        self.address = inner.address
        self.user = user
        self.rules = rules
        self._inner = inner
        self._heard = heard
        self._acting_as = acting_as
        self._lock = threading.Lock()
        self._known: dict[str, Container] = {}
        self._helpers: dict[str, str] = {}  # id of a helper -> the volume it reaches

    @property
    def inner(self) -> Engine:
        """The engine behind this policy and others, for who has another way to it (`over`)."""
        return self._inner.inner if isinstance(self._inner, Guarded) else self._inner

    def over(self, engine: Engine) -> Guarded:
        """The same policies and known helpers, before another way to the same engine."""
        inner = self._inner.over(engine) if isinstance(self._inner, Guarded) else engine
        found = Guarded.__new__(Guarded)
        found.__dict__.update(self.__dict__, _inner=inner)
        return found

    # --- deciding

    def _decide(self, action: Action, target: Target) -> Decision:
        decision = decide(self.user, action, target, self.rules)
        if self._heard is not None:
            self._heard(self.user, action, target, decision)
        return decision

    def _all(self) -> bool:
        """Whether the user may ask about the engine itself."""
        return decide(self.user, Action.SEE, Target("engine"), self.rules).allowed

    def _find(self, name: str) -> Container:
        """The container, inspected once."""
        with self._lock:
            found = self._known.get(name)
        if found is None:
            try:
                found = self._inner.container(name)
            except NoSuchContainer:
                # in the same words whatever it was: also "several begin so" tells of others
                raise NoSuchContainer(f"No such container: {name}", container=name) from None
            with self._lock:
                self._known[name] = self._known[found.id] = found
        return found

    def require(self, action: Action, target: Target, what: str) -> None:
        """Ask before anything is done, in the words of a request.

        Args:
            action, target: see `decide`.
            what: the target as it was named.

        Raises:
            AccessDenied: the user may not.
        """
        decision = self._decide(action, target)
        if not decision.allowed:
            raise AccessDenied(
                f"{self.user.name} may not {action.value} {what}", hint=decision.reason
            )

    def address_of(self, container: str) -> str:
        """Address of the engine on which a container is, for the journal."""
        ask = getattr(self._inner, "address_of", None)
        return self.address if ask is None else str(ask(container))

    def target(self, container: str, path: str) -> Target:
        """What a path of a container is to the policy; of a helper, its volume.

        Args:
            container: id or exact name.
            path: absolute and clean there.
        """
        return self._target(self._find(container), path)

    def _target(self, container: Container, path: str) -> Target:
        with self._lock:
            volume = self._helpers.get(container.id)
        if volume is not None:
            return Target("volume", volume, path=path)
        return Target("container", container.name, container.id, path)

    def _enter(
        self, action: Action, name: str, path: str = "", user: str | None = None
    ) -> tuple[str, str | None]:
        """Id of the container and the user to act as, once it is allowed.

        Raises:
            NoSuchContainer: it is not there, or not for this user.
            AccessDenied: it may be seen, but not this.
        """
        container = self._visible(name)
        decision = self._decide(action, self._target(container, clean(path) if path else ""))
        if not decision.allowed:
            raise AccessDenied(
                f"{self.user.name} may not {action.value} {container.name}:{path or '/'}",
                hint=decision.reason,
                container=container.name,
            )
        return container.id, self._as(container, decision, user)

    def _as(self, container: Container, decision: Decision, user: str | None) -> str | None:
        if not decision.as_owner:
            return user
        owner = self._acting_as(container)
        if not owner:
            raise AccessDenied(
                f"{container.name}: {_NO_OWNER}",
                hint="an administrator can set NB_UID or a numeric user for it",
                container=container.name,
            )
        return owner

    def _visible(self, name: str) -> Container:
        container = self._find(name)
        seen = decide(self.user, Action.SEE, self._target(container, ""), self.rules)
        if not seen.allowed:
            if self._heard is not None:
                self._heard(self.user, Action.SEE, self._target(container, ""), seen)
            raise NoSuchContainer(f"No such container: {name}", container=name)
        return container

    # --- facts

    def info(self) -> EngineInfo:
        """Version of the engine; its address is for those who may ask about it."""
        info = self._inner.info()
        return info if self._all() else replace(info, address="", name="")

    def containers(self) -> list[Container]:
        """Those the user may see."""
        return [
            self._shown(one)
            for one in self._inner.containers()
            if decide(
                self.user, Action.SEE, Target("container", one.name, one.id), self.rules
            ).allowed
        ]

    def container(self, name: str) -> Container:
        """One container, newly inspected; see `Engine.container`."""
        with self._lock:
            helper = name in self._helpers
            if not helper:
                self._known.pop(name, None)
        return self._shown(self._visible(name))

    def _shown(self, container: Container) -> Container:
        """Without what is the host's business, for those who are not trusted with it."""
        if self._all():
            return container
        host = container.raw.get("HostConfig") or {}
        kept = {key: host[key] for key in ("Privileged", "CapAdd") if key in host}
        return replace(
            container,
            mounts=tuple(replace(mount, source="") for mount in container.mounts),
            raw={"HostConfig": kept} if kept else {},
            pid=0,
        )

    def image(self, name: str) -> dict[str, Any]:
        """An image; only which volumes it declares for those who may not see the engine."""
        found = self._inner.image(name)
        if self._all():
            return found
        config = found.get("Config") or {}
        return {"Id": found.get("Id"), "Config": {"Volumes": config.get("Volumes")}}

    def volumes(self) -> list[Volume]:
        """Those the user may see, used by the containers the user may see."""
        names = {one.name for one in self.containers()}
        return [
            replace(one, used_by=tuple(use for use in one.used_by if use.container in names))
            for one in self._inner.volumes()
            if decide(self.user, Action.SEE, Target("volume", one.name), self.rules).allowed
        ]

    def changes(self, container: str) -> list[Change]:
        """The writable layer."""
        ident, _ = self._enter(Action.READ, container)
        return self._inner.changes(ident)

    # --- paths

    def stat(self, container: str, path: str, *, user: str | None = None) -> Stat:
        """See `Engine.stat`."""
        ident, user = self._enter(Action.READ, container, path, user)
        return self._inner.stat(ident, path, user=user)

    def list_dir(
        self,
        container: str,
        path: str,
        *,
        recursive: bool = False,
        user: str | None = None,
        budget: int | None = None,
        most: int | None = None,
    ) -> Listing:
        """See `Engine.list_dir`."""
        ident, user = self._enter(Action.READ, container, path, user)
        return self._inner.list_dir(
            ident, path, recursive=recursive, user=user, budget=budget, most=most
        )

    def list_beside(self, container: str, path: str) -> Any:
        """See `DockerEngine.list_beside`; None where a user's rights are needed, too."""
        ident, user = self._enter(Action.READ, container, path)
        ask = getattr(self._inner, "list_beside", None)
        return ask(ident, path) if ask is not None and user is None else None

    def measure(
        self, container: str, path: str, *, user: str | None = None
    ) -> tuple[int, int] | None:
        """See `DirectEngine.measure`; None where the engine has no such thing."""
        ask = getattr(self._inner, "measure", None)
        if ask is None:
            return None
        ident, user = self._enter(Action.READ, container, path, user)
        found: tuple[int, int] | None = ask(ident, path, user=user)
        return found

    def open_archive(
        self, container: str, path: str, *, user: str | None = None, live: bool = False
    ) -> ArchiveReader:
        """See `Engine.open_archive`."""
        ident, user = self._enter(Action.READ, container, path, user)
        return self._inner.open_archive(ident, path, user=user, live=live)

    def stages(self, container: str, directory: str, *, copy_uid_gid: bool) -> bool:
        """See `DirectEngine.stages`; no where the engine has no such thing."""
        ask = getattr(self._inner, "stages", None)
        ident = self._visible(container).id
        return ask is not None and bool(ask(ident, directory, copy_uid_gid=copy_uid_gid))

    def extract(
        self,
        container: str,
        directory: str,
        body: ArchiveBody,
        *,
        copy_uid_gid: bool = False,
        user: str | None = None,
        live: bool = False,
    ) -> None:
        """See `Engine.extract`. A program unpacks no sealed body: it stages in its own way."""
        asked = user
        ident, user = self._enter(Action.WRITE, container, directory, user)
        if user is not None and user != asked and body.seal is not None:
            unstage = getattr(body, "unstage", None)
            if unstage is not None:
                unstage()
        self._inner.extract(ident, directory, body, copy_uid_gid=copy_uid_gid, user=user, live=live)

    def execute(
        self, container: str, argv: Sequence[str], *, user: str | None = None, stdin: bytes = b""
    ) -> ExecResult:
        """See `Engine.execute`; a program can do everything, so it takes the right to write."""
        ident, user = self._enter(Action.WRITE, container, "", user)
        return self._inner.execute(ident, argv, user=user, stdin=stdin)

    # --- the rest

    def json(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None
    ) -> Any:
        """The few calls for which the core has no method: a volume's facts, sizes, the engine.

        Raises:
            AccessDenied: any other call.
        """
        if method == "GET" and path.startswith("/volumes/") and "/" not in path[9:]:
            self._volume(Action.SEE, path[9:])
        elif method != "GET" or path not in ("/system/df", "/info") or not self._all():
            raise AccessDenied(f"{self.user.name} may not make this call of the engine")
        return self._inner.json(method, path, query, body)

    def _volume(self, action: Action, name: str) -> None:
        seen = decide(self.user, Action.SEE, Target("volume", name), self.rules)
        decision = self._decide(action, Target("volume", name))
        if not seen.allowed:
            raise NoSuchVolume(f"No such volume: {name}", volume=name)
        if not decision.allowed:
            raise AccessDenied(
                f"{self.user.name} may not {action.value} the volume {name}",
                hint=decision.reason,
                volume=name,
            )

    def volume(self, name: str, *, create: bool = False) -> AbstractContextManager[tuple[str, str]]:
        """See `Engine.volume`; what is done there is decided as of the volume."""
        return self._reach(name, create)

    @contextmanager
    def _reach(self, name: str, create: bool) -> Iterator[tuple[str, str]]:
        self._volume(Action.WRITE if create else Action.SEE, name)
        with self._inner.volume(name, create=create) as (helper, path):
            self.adopt(helper, name)
            try:
                yield helper, path
            finally:
                with self._lock:
                    self._helpers.pop(helper, None)
                    self._known.pop(helper, None)

    def adopt(self, helper: str, volume: str) -> None:
        """From now on `helper`, a container of ours, stands for `volume`.

        Args:
            helper: its id.
            volume: name of what it reaches.
        """
        with self._lock:
            self._helpers[helper] = volume

    def empty_volume(self, name: str) -> None:
        """See `Engine.empty_volume`."""
        self._volume(Action.WRITE, name)
        self._inner.empty_volume(name)

    def close(self) -> None:
        """Nothing: the engine is shared, and closed by whoever opened it."""
