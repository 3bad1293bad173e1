"""The rescue of a container as a request wants it.

What it saves is whole, hidden files too, whatever the server's rule for them: it lands in a
directory that is new (or empty), below the one that was named, so it hides or replaces nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.endpoint import ContainerPath, LocalPath, parse_endpoint
from jupyter_volcopy.core.keep_sinks import volume_named
from jupyter_volcopy.core.policy import Action, User
from jupyter_volcopy.core.removal import WAYS
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.core.rescue import rescue
from jupyter_volcopy.errors import AccessDenied, UsageError
from jupyter_volcopy.web.order import Asked, destination_of

if TYPE_CHECKING:
    from jupyter_volcopy.web.service import Service

__all__ = ["RescueOrder"]


class RescueOrder(Asked):
    """A rescue as a request wants it.

    Args:
        service, user: see `Asked`.
        container: name or id, in any state.
        wanted: the request, as in the REST reference.

    Raises:
        UsageError, AccessDenied: it makes no sense, or is not for requests.
    """

    def __init__(
        self, service: Service, user: User, container: str, wanted: dict[str, Any]
    ) -> None:
        super().__init__(service, user)
        unknown = sorted(set(wanted) - {"destination", "how", "caches", "unknown"})
        if unknown:
            raise UsageError(f"no such field: {', '.join(unknown)}")
        self.typed_destination = destination_of(wanted)
        self.how = wanted.get("how", "rm")
        if self.how not in WAYS:
            raise UsageError(f"how must be one of {', '.join(WAYS)}")
        self.caches = _yes(wanted, "caches", True)
        self.unknown = _yes(wanted, "unknown", False)
        self.typed = [f"{container}:/"]
        self.options = {"rescue": self.how, "caches": self.caches, "unknown": self.unknown}
        self._container = container
        self._volume = volume_named(self.typed_destination)
        self._check_destination()

    def _check_destination(self) -> None:
        if self._volume:
            return
        if not isinstance(parse_endpoint(self.typed_destination), LocalPath):
            raise UsageError(
                f"{self.typed_destination!r} is no place for a rescue",
                hint="name a directory, a file NAME.tar, or volume=NAME",
            )
        if self.service.root is None:
            raise AccessDenied("this service has no local files", hint="name volume=NAME")
        if not self.service.root.relative(LocalPath(self.typed_destination)):
            raise UsageError("a rescue takes a directory of its own", hint="name one that is new")

    def check(self) -> None:
        """See `Asked`."""
        guarded = self.service.guarded(self.user)
        source = self._resolved(ContainerPath(self._container, "/"), guarded, Action.READ)
        assert isinstance(source, ContainerPath)
        self._ident = source.container

    def run(self, meter: Meter, cancel: Cancel) -> Report:
        """See `Asked`."""
        with self._working() as (stack, guarded, journal):
            place = self.typed_destination
            if not self._volume:
                # as a source: its directory must be there, and is held
                held = self._hold(LocalPath(place.rstrip("/")), stack, source=True)
                assert isinstance(held, LocalPath)
                place = held.path
            done = rescue(
                guarded,
                self._ident,
                place,
                self.how,
                caches=self.caches,
                unknown=self.unknown,
                journal=journal,
                meter=meter,
                cancel=cancel,
            )
            return self.names.report(done.report())


def _yes(wanted: dict[str, Any], name: str, default: bool) -> bool:
    found = wanted.get(name, default)
    if not isinstance(found, bool):
        raise UsageError(f"{name} must be true or false")
    return found
