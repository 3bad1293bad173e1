"""Several engines as one: `engine=NAME/CONTAINER` says on which of them something is.

The core sees one `Engine`, and knows containers by their 64-hex ids, which no two engines share. So
whoever names a container of another engine (`container("engine=far/web")`) makes its id known here,
and every later call with that id goes to where it is; names come back with the prefix, so what is
shown can be typed again. What names nothing of another engine goes to the usual one.

Such a whole is never taken for an engine on this machine: its `address` is not one, and `info` says
so (no direct access, no host paths shown as local).

Names are given in the configuration (`engines.json`, `Volcopy.engines`), or are docker contexts.
"""

from __future__ import annotations

import os
import re
import time

from jupyter_volcopy.core.endpoint import ENGINE_PREFIX, split_engine
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.errors import EngineError, NoSuchContainer, NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from jupyter_volcopy.core.engine import ArchiveBody, ArchiveReader, Engine, ExecResult
    from jupyter_volcopy.core.http import Timeouts
    from jupyter_volcopy.core.model import Change, Container, EngineInfo, Listing, Stat, Volume

__all__ = ["Engines", "configured_engines", "open_named"]

_REST = 30.0  # seconds for which an engine that did not answer is left out of listings
_OF_ONE = re.compile(r"/containers/([^/?]+)(/.*)?")


def configured_engines() -> dict[str, Any]:
    """Names and addresses of `$XDG_CONFIG_HOME/jupyter-volcopy/engines.json`.

    `VOLCOPY_ENGINES` (the same JSON) comes before it, for containers.

    Raises:
        UsageError: it is not what it should be.
    """
    import json

    text = os.environ.get("VOLCOPY_ENGINES", "")
    where = "VOLCOPY_ENGINES"
    if not text:
        base = os.environ.get("XDG_CONFIG_HOME", "")
        base = base if base.startswith("/") else os.path.expanduser("~/.config")
        where = os.path.join(base, "jupyter-volcopy", "engines.json")
        try:
            with open(where, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as problem:
            raise UsageError(f"{where} cannot be read: {problem}") from None
    try:
        found = json.loads(text)
    except ValueError as problem:
        raise UsageError(f"{where} is not JSON: {problem}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{where} must hold an object: names and addresses")
    return found


def open_named(
    name: str, known: Mapping[str, Any] | None = None, *, timeouts: Timeouts | None = None
) -> Engine:
    """The engine of that name: configured, else the docker context of that name.

    Args:
        name: of the engine.
        known: names to addresses, or to objects with `address` or `context`, and `ca`, `cert`,
            `key` (paths of PEM files) for TLS; None: `configured_engines`.
        timeouts: see `open_engine`.

    Raises:
        UsageError: no engine has that name, or its address makes no sense.
    """
    from jupyter_volcopy.core.discovery import TlsFiles, open_engine

    known = configured_engines() if known is None else known
    entry = known.get(name)
    if entry is None:
        try:
            return open_engine(context=name, timeouts=timeouts)
        except UsageError:
            raise UsageError(
                f"no engine is called {name!r}",
                hint="name it in engines.json, or make a docker context of that name",
            ) from None
    if isinstance(entry, str):
        entry = {"address": entry}
    if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
        raise UsageError(f"the engine {name!r} needs an address as text")
    tls = None
    if entry.get("ca") or entry.get("cert"):
        tls = TlsFiles(entry.get("ca", ""), entry.get("cert", ""), entry.get("key", ""))
    address, context = entry.get("address", ""), entry.get("context", "")
    if not address and not context:
        raise UsageError(f"the engine {name!r} has neither an address nor a context")
    return open_engine(address, context, tls=tls, timeouts=timeouts)


class Engines:
    """`Engine` over the usual engine and named ones.

    Args:
        usual: what is meant where no name is given.
        named: opens the engine of a name; asked once for each.
        listed: names whose containers and volumes are listed with the usual one's.
    """

    def __init__(
        self, usual: Engine, named: Callable[[str], Engine], *, listed: Sequence[str] = ()
    ) -> None:
        import _thread

        self.address = "several engines"
        self._usual = usual
        self._named = named
        self._listed = tuple(listed)
        self._lock = _thread.allocate_lock()
        self._open: dict[str, Engine] = {}
        self._where: dict[str, str] = {}  # id of a container to the name of its engine
        self._silent: dict[str, float] = {}  # when an engine did not answer

    # --- which one

    def _engine(self, name: str) -> Engine:
        if not name:
            return self._usual
        with self._lock:
            found = self._open.get(name)
        if found is None:
            found = self._named(name)
            with self._lock:
                found = self._open.setdefault(name, found)
        return found

    def _of(self, container: str) -> tuple[Engine, str]:
        """The engine of a container, and how that one knows it."""
        name, plain = split_engine(container)
        return self._engine(name or self._where.get(plain, "")), plain

    def address_of(self, container: str) -> str:
        """Address of the engine on which a container is."""
        return self._of(container)[0].address

    def _named_here(self, found: Container, name: str) -> Container:
        with self._lock:
            self._where[found.id] = name
        if not name:
            return found
        prefix = f"{ENGINE_PREFIX}{name}/"
        mounts = tuple(
            replace(mount, name=prefix + mount.name) if mount.name else mount
            for mount in found.mounts
        )
        return replace(found, name=prefix + found.name, mounts=mounts)

    def _all(self) -> Iterator[tuple[str, Engine]]:
        """The usual engine, and those listed that answered lately."""
        yield "", self._usual
        for name in dict.fromkeys((*self._listed, *self._open)):
            if time.monotonic() - self._silent.get(name, -_REST) >= _REST:
                yield name, self._engine(name)

    def each(self) -> list[Engine]:
        """The usual engine and every listed one, whether they answer or not."""
        return [self._usual, *(self._engine(name) for name in self._listed)]

    # --- facts

    def answering(self) -> dict[str, bool]:
        """The names of engines, the usual one ("") first, and whether each answers.

        One that did not is not asked again for half a minute.
        """
        asked = dict(self._all())
        found = {"": True}
        for name in dict.fromkeys((*self._listed, *self._open)):
            found[name] = name in asked
            if name in asked:
                try:
                    asked[name].info()
                except EngineError:
                    self._silent[name] = time.monotonic()
                    found[name] = False
        return found

    def info(self) -> EngineInfo:
        """The usual engine's."""
        return replace(self._usual.info(), local=False)

    def containers(self) -> list[Container]:
        """Those of the usual engine and of the listed ones that answer."""
        found = []
        for name, engine in self._all():
            try:
                found += [self._named_here(one, name) for one in engine.containers()]
            except EngineError:
                if not name:
                    raise
                self._silent[name] = time.monotonic()
        return found

    def container(self, name: str) -> Container:
        """One container; see `Engine.container`."""
        engine, plain = split_engine(name)
        if not engine:
            engine = self._where.get(plain, "")
        try:
            return self._named_here(self._engine(engine).container(plain), engine)
        except NoSuchContainer as error:
            if engine:
                error.message = f"No such container: {name}"
                error.context["container"] = name
            raise

    def image(self, name: str) -> dict[str, Any]:
        """An image of the usual engine, else of the last one named that has it."""
        missing = None
        for engine in (self._usual, *reversed(list(self._open.values()))):
            try:
                return engine.image(name)
            except NotFound as error:
                missing = missing or error
        assert missing is not None
        raise missing

    def volumes(self) -> list[Volume]:
        """Those of the usual engine and of the listed ones that answer."""
        found = []
        for name, engine in self._all():
            prefix = f"{ENGINE_PREFIX}{name}/" if name else ""
            try:
                for volume in engine.volumes():
                    uses = tuple(
                        replace(use, container=prefix + use.container) for use in volume.used_by
                    )
                    found.append(replace(volume, name=prefix + volume.name, used_by=uses))
            except EngineError:
                if not name:
                    raise
                self._silent[name] = time.monotonic()
        return found

    def changes(self, container: str) -> list[Change]:
        """The writable layer."""
        engine, plain = self._of(container)
        return engine.changes(plain)

    # --- paths

    def stat(self, container: str, path: str, *, user: str | None = None) -> Stat:
        """What stands at `path`."""
        engine, plain = self._of(container)
        return engine.stat(plain, path, user=user)

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
        """The entries of a directory."""
        engine, plain = self._of(container)
        return engine.list_dir(
            plain, path, recursive=recursive, user=user, budget=budget, most=most
        )

    def list_beside(self, container: str, path: str) -> Any:
        """As `DockerEngine.list_beside`; None where the engine has no such thing."""
        engine, plain = self._of(container)
        ask = getattr(engine, "list_beside", None)
        return ask(plain, path) if ask is not None else None

    def open_archive(
        self, container: str, path: str, *, user: str | None = None, live: bool = False
    ) -> ArchiveReader:
        """The archive of `path`."""
        engine, plain = self._of(container)
        return engine.open_archive(plain, path, user=user, live=live)

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
        """Unpack `body` in `directory`."""
        engine, plain = self._of(container)
        engine.extract(plain, directory, body, copy_uid_gid=copy_uid_gid, user=user, live=live)

    def execute(
        self, container: str, argv: Sequence[str], *, user: str | None = None, stdin: bytes = b""
    ) -> ExecResult:
        """Run a program in a running container."""
        engine, plain = self._of(container)
        return engine.execute(plain, argv, user=user, stdin=stdin)

    def json(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None
    ) -> Any:
        """One JSON call: about a container to its engine, everything else to the usual one."""
        of_one = _OF_ONE.fullmatch(path)
        if of_one:
            engine, plain = self._of(of_one[1])
            return engine.json(method, f"/containers/{plain}{of_one[2] or ''}", query, body)
        return self._usual.json(method, path, query, body)

    # --- volumes and the end

    def volume(self, name: str, *, create: bool = False) -> AbstractContextManager[tuple[str, str]]:
        """`(container id, path)` of a volume."""
        return _Reached(self, name, create)

    def empty_volume(self, name: str) -> None:
        """Remove everything in a volume."""
        engine, plain = split_engine(name)
        self._engine(engine).empty_volume(plain)

    def interrupt(self, thread: int) -> None:
        """Break the small calls a thread waits for, on whichever engine."""
        with self._lock:
            engines = [self._usual, *self._open.values()]
        for engine in engines:
            interrupt = getattr(engine, "interrupt", None)
            if interrupt is not None:
                interrupt(thread)

    def close(self) -> None:
        """Let go of every engine."""
        with self._lock:
            engines = [self._usual, *self._open.values()]
            self._open = {}
        for engine in engines:
            engine.close()


class _Reached:
    """A volume of one of the engines while it is reached; its helper's id is made known."""

    def __init__(self, engines: Engines, name: str, create: bool) -> None:
        self._engines = engines
        self._engine, plain = split_engine(name)
        self._inner = engines._engine(self._engine).volume(plain, create=create)

    def __enter__(self) -> tuple[str, str]:
        container, path = self._inner.__enter__()
        self._engines._where[container] = self._engine
        return container, path

    def __exit__(self, *error: Any) -> bool | None:
        return self._inner.__exit__(*error)
