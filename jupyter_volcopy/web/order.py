"""One requested transfer, from its words to its run: a copy, or the rescue of a container.

What a request may ask is less than what a person's own `dcp` may: always safe, only options that
take nothing of the server's, local paths only below its root, held by descriptor while it runs.
Containers are found once, when the transfer is accepted, and known by their ids from then on
(safety S23); whether the user may is asked then and again by `Guarded` with every call (S26).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.endpoint import (
    ContainerPath,
    Endpoint,
    LocalPath,
    Stream,
    VolumePath,
    parse_endpoint,
)
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Container
from jupyter_volcopy.core.options import CopyOptions
from jupyter_volcopy.core.paths import base_name, clean
from jupyter_volcopy.core.policy import Action, Target, User
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.errors import AccessDenied, BadOption, UsageError, VolcopyError
from jupyter_volcopy.web.local import Names

if TYPE_CHECKING:
    from jupyter_volcopy.web.service import Service

__all__ = ["OPTIONS", "Asked", "Order", "destination_of"]

OPTIONS = frozenset(
    (
        "archive",
        "follow_link",
        "max_entries",
        "max_bytes",
        "verify",
        "strict",
        "exclude",
        "include",
        "dockerignore",
        "max_size",
        "newer",
        "chown",
        "parents",
        "no_clobber",
        "update",
        "checksum",
        "backup",
        "keep_links",
        "skip_bad_links",
        "inconsistent",
        "durable",
    )
)
"""Options a request may give. The rest reads files of the server, or takes safety away."""


class Asked:
    """What a request wants done by a transfer; the parts that every kind of it shares.

    Args:
        service: that runs it.
        user: who wants it.

    Attributes:
        typed, typed_destination, options: as asked.
        containers: ids of those it reads or writes, once it was checked.
    """

    typed: list[str]
    typed_destination: str
    options: dict[str, Any]

    def __init__(self, service: Service, user: User) -> None:
        self.service = service
        self.user = user
        self.names = Names()
        self.containers: frozenset[str] = frozenset()
        self._listed: list[Container] | None = None

    def check(self) -> None:
        """Everything that can be said before it begins.

        Raises:
            VolcopyError: one of the sides is not there, or not for this user.
        """
        raise NotImplementedError

    def run(self, meter: Meter, cancel: Cancel) -> Report:
        """Do it, in the transfer's thread."""
        raise NotImplementedError

    # --- what the kinds share

    def _resolved(self, endpoint: Endpoint, guarded: Guarded, action: Action) -> Endpoint:
        """The same endpoint by the container's id, once it is allowed (safety S23)."""
        if isinstance(endpoint, ContainerPath):
            found = self._find(endpoint.container, guarded)
            typed = endpoint.path if endpoint.path.startswith("/") else "/" + endpoint.path
            target = Target("container", found.name, found.id, clean(typed))
            guarded.require(action, target, str(endpoint))
            self.names.add(found.id, endpoint.container)
            self.containers |= {found.id}
            return ContainerPath(found.id, endpoint.path)
        if isinstance(endpoint, VolumePath):
            guarded.json("GET", f"/volumes/{endpoint.volume}")
            target = Target("volume", endpoint.volume)
            guarded.require(action, target, str(endpoint))
        elif isinstance(endpoint, LocalPath) and self.service.root is not None:
            self.service.root.relative(endpoint)
        return endpoint

    def _find(self, name: str, guarded: Guarded) -> Container:
        """The container, if possible from the list of all: that waits for no container's lock."""
        if self._listed is None:
            self._listed = guarded.containers()
        for one in self._listed:
            if name in (one.name, one.id):
                return one
        return guarded.container(name)

    def _hidden(self) -> bool:
        return self.service.root is None or self.service.root.hidden()

    def _hold(self, endpoint: Endpoint, stack: ExitStack, *, source: bool) -> Endpoint:
        """The same place; a local one held by descriptor until `stack` is left."""
        if not isinstance(endpoint, LocalPath):
            return endpoint
        assert self.service.root is not None
        return self.service.root.hold(endpoint, stack, self.names, source=source)

    @contextmanager
    def _working(self) -> Iterator[tuple[ExitStack, Guarded, Journal]]:
        """What a run needs, while the block runs; errors come out as people may read them."""
        journal = Journal()
        try:
            with ExitStack() as stack:
                try:
                    yield stack, self.service.guarded(self.user), journal
                except VolcopyError as error:
                    raise self.names.error(error) from None
        finally:
            journal.close()


class Order(Asked):
    """A copy as a request wants it.

    Args:
        service, user: see `Asked`.
        wanted: the request, as in the REST reference.

    Raises:
        UsageError, BadOption, AccessDenied: it makes no sense, or is not for requests.
    """

    def __init__(self, service: Service, user: User, wanted: dict[str, Any]) -> None:
        super().__init__(service, user)
        unknown = sorted(set(wanted) - {"source", "sources", "destination", "options", "dry_run"})
        if unknown:
            raise UsageError(f"no such field: {', '.join(unknown)}")
        self.typed = _sources(wanted)
        self.typed_destination = destination_of(wanted)
        self.options = _options(wanted.get("options", {}))
        self.sources = [parse_endpoint(item) for item in self.typed]
        self.destination = parse_endpoint(self.typed_destination)
        self._check_shape()

    def _check_shape(self) -> None:
        sides = [*self.sources, self.destination]
        if any(isinstance(item, Stream) for item in sides):
            raise UsageError("- is no side of a transfer here", hint="use the route `archive`")
        local = [isinstance(item, LocalPath) for item in self.sources]
        if isinstance(self.destination, LocalPath) and any(local):
            raise UsageError("must specify at least one container source")
        if isinstance(self.destination, LocalPath) or any(local):
            if self.service.root is None:
                raise AccessDenied("this service has no local files")
            if any(local) and self.options.get("follow_link"):
                raise BadOption("follow_link is not for local sources")

    def check(self) -> None:
        """Everything that can be said before it begins.

        Raises:
            VolcopyError: one of the sides is not there, or not for this user.
        """
        guarded = self.service.guarded(self.user)
        self.sources = [self._resolved(item, guarded, Action.READ) for item in self.sources]
        self.destination = self._resolved(self.destination, guarded, Action.WRITE)
        if isinstance(self.destination, LocalPath) and not self._hidden():
            for item, typed in zip(self.sources, self.typed, strict=True):
                path = getattr(item, "path", "")
                name = base_name(clean(path if path.startswith("/") else "/" + path))
                if name.startswith(".") and not path.endswith("/."):
                    raise AccessDenied(f"{typed} is hidden, and hidden files are off here")

    def _settings(self) -> dict[str, Any]:
        """The options of the copy: always safe, whatever was asked."""
        chosen = dict(self.options)
        most = self.service.settings.max_entries
        chosen["max_entries"] = min(chosen.get("max_entries") or most, most)
        chosen["safe"] = True
        local = [*self.sources, self.destination]
        if not self._hidden() and any(isinstance(item, LocalPath) for item in local):
            chosen["no_hidden"] = True
        return chosen

    def run(self, meter: Meter, cancel: Cancel) -> Report:
        """Do it, in the transfer's thread."""
        with self._working() as (stack, guarded, journal):
            sources, destination = self._held(stack)
            copier = Copier(guarded, journal=journal)
            report = copier.copy(
                sources, destination, meter=meter, cancel=cancel, **self._settings()
            )
            return self.names.report(report)

    def plan(self) -> dict[str, Any]:
        """Say what it would do."""
        with self._working() as (stack, guarded, journal):
            sources, destination = self._held(stack)
            copier = Copier(guarded, journal=journal)
            plan = copier.plan(sources, destination, **self._settings())
            value: dict[str, Any] = self.names.value(plan.to_dict())
            return value

    def _held(self, stack: ExitStack) -> tuple[list[Endpoint], Endpoint]:
        """Both sides, the local ones held by descriptor."""
        sources = [self._hold(item, stack, source=True) for item in self.sources]
        return sources, self._hold(self.destination, stack, source=False)


def destination_of(wanted: dict[str, Any]) -> str:
    """Where a request wants it.

    Raises:
        UsageError: nowhere.
    """
    found = wanted.get("destination")
    if not isinstance(found, str) or not found:
        raise UsageError("destination can not be empty", hint="a text, as for dcp")
    return found


def _sources(wanted: dict[str, Any]) -> list[str]:
    if ("source" in wanted) == ("sources" in wanted):
        raise UsageError("one of `source` and `sources` is needed")
    found = wanted["sources"] if "sources" in wanted else [wanted["source"]]
    if not isinstance(found, list) or not found or len(found) > 10_000:
        raise UsageError("`sources` must be a list with something in it")
    if not all(isinstance(item, str) and item for item in found):
        raise UsageError("source can not be empty", hint="each a text, as for dcp")
    return found


def _options(given: Any) -> dict[str, Any]:
    """The options, each allowed and of the right type."""
    if not isinstance(given, dict):
        raise UsageError("`options` must be an object")
    kinds = CopyOptions.__annotations__
    for name, value in given.items():
        if name not in OPTIONS:
            raise BadOption(f"no such option here: {name}")
        if not _fits(str(kinds[name]), value):
            raise BadOption(f"the option {name} cannot be {value!r}")
    return dict(given)


def _fits(kind: str, value: Any) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "str":
        return isinstance(value, str) and "\0" not in value
    if kind.startswith("tuple"):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    number = isinstance(value, (int, float) if kind.startswith("float") else int)
    return (number and not isinstance(value, bool) and value >= 0) or value is None
