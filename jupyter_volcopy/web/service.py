"""What stands behind the handlers, for every binding: engine, rules, transfers, limits.

One `Service` belongs to one server (a Jupyter server or the Hub service). It is free of tornado:
its methods block and are called through its `bridge`. All that a request does on the engine goes
through `guarded(user)`.

A *lease* is a helper container that gives a `ServiceEngine` somewhere else a volume for as long as
it needs it (`Engine.volume` over HTTP); one that nobody uses any more is given back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jupyter_volcopy.web.metrics as metrics
from jupyter_volcopy.core.background import FINISHED, Transfer
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Listing
from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.core.policy import Action, Target, User, decide
from jupyter_volcopy.core.spool import Spool
from jupyter_volcopy.errors import (
    NotFound,
    TooMany,
    VolcopyError,
)
from jupyter_volcopy.web.audit import Audit
from jupyter_volcopy.web.bridge import Bridge
from jupyter_volcopy.web.local import LocalRoot
from jupyter_volcopy.web.order import Asked, Order
from jupyter_volcopy.web.order_rescue import RescueOrder
from jupyter_volcopy.web.upload import Upload

if TYPE_CHECKING:
    from jupyter_volcopy.config import Volcopy
    from jupyter_volcopy.core.engine import Engine

__all__ = ["Lease", "Page", "Service"]

_LEASE_SECONDS = 600.0
_PAGES = 32
_PAGE_SECONDS = 120.0
_MAX_EVENTS = 20
_LATE = 256


@dataclass
class Lease:
    """A helper container lent to somebody.

    Attributes:
        container, path: where the volume is reached.
        used: when it was last used, by the monotonic clock.
        busy: streams that run on it.
    """

    id: str
    owner: str
    volume: str
    container: str
    path: str
    stack: ExitStack
    used: float = field(default_factory=time.monotonic)
    busy: int = 0


@dataclass(frozen=True)
class Page:
    """A part of a listing.

    Attributes:
        start: index of its first entry.
        next: where the next page begins, or "".
    """

    listing: Listing
    start: int
    end: int
    next: str


@dataclass
class _Kept:
    """A listing of which not every page was asked for yet.

    Attributes:
        target: what it is of.
        rest: lists all of it, where `listing` is only the beginning.
    """

    user: str
    target: Target
    listing: Listing
    rest: Callable[[User], Listing]
    used: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def upto(self, end: int, user: User) -> Listing:
        """The listing, known at least up to an index."""
        with self.lock:
            if self.listing.more and end > len(self.listing.entries):
                first, whole = self.listing.entries, self.rest(user)
                names = [encode(entry.name) for entry in whole.entries]
                at = bisect_right(names, encode(first[-1].name)) if first else 0
                entries = (*first, *whole.entries[at:])
                self.listing = Listing(whole.path, entries, whole.complete)
            return self.listing


class _Bucket:
    """Requests of one user: so many a second on average, four seconds' worth at once."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.level = 0.0
        self.seen = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self.level = max(0.0, self.level - (now - self.seen) * self.rate)
        self.seen = now
        if self.level >= max(4 * self.rate, 1):
            return False
        self.level += 1
        return True


class Service:
    """Everything a server needs of us.

    Args:
        settings: of the site.
        trusted: everybody who gets here is trusted with the engine.
        root: where local paths of requests lie; None: there are none.
        log: of the server.
    """

    def __init__(
        self,
        settings: Volcopy,
        *,
        trusted: bool,
        root: LocalRoot | None,
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.settings = settings
        self.rules = settings.make_rules(trusted=trusted)
        self.root = root
        self.log = log
        self.audit = Audit(log)
        self.bridge = Bridge(calls=settings.max_calls, streams=settings.max_streams)
        self.transfers = settings.make_transfers(self._ended)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._leases: dict[str, Lease] = {}
        self._pages: OrderedDict[str, _Kept] = OrderedDict()
        self._late: OrderedDict[tuple[str, str], VolcopyError] = OrderedDict()
        self._buckets: dict[str, _Bucket] = {}
        self._streams: dict[str, int] = {}
        self._events: dict[str, int] = {}
        for lost in self.transfers.list():
            log.warning(
                "volcopy: the transfer %r -> %r of %r was cut when an earlier server ended",
                lost.sources,
                lost.destination,
                lost.owner,
            )

    # --- the engine, for one user

    def engine(self) -> Engine:
        """The engine itself; nobody but this class and `Guarded` calls it."""
        with self._lock:
            if self._engine is None:
                self._engine = self.settings.make_engine()
            return self._engine

    def engines(self) -> dict[str, bool]:
        """Names of the configured engines, the usual one ("") first, and whether each answers."""
        from jupyter_volcopy.core.engines import Engines

        engine = self.engine()
        return engine.answering() if isinstance(engine, Engines) else {}

    def guarded(self, user: User) -> Guarded:
        """The engine as `user` may use it."""
        found = Guarded(
            self.engine(),
            user,
            self.rules,
            heard=self.audit.heard(),
            acting_as=self.settings.acting_as,
        )
        with self._lock:
            for lease in self._leases.values():
                if lease.owner == user.name:
                    found.adopt(lease.container, lease.volume)
        return found

    # --- limits

    def admit(self, user: User) -> None:
        """Count a request.

        Raises:
            TooMany: the user has made too many in a short time.
        """
        rate = self.settings.requests_per_second
        if not rate:
            return
        with self._lock:
            bucket = self._buckets.get(user.name)
            if bucket is None:
                if len(self._buckets) > 10_000:
                    self._buckets.clear()
                bucket = self._buckets[user.name] = _Bucket(rate)
            free = bucket.take()
        if not free:
            raise TooMany(f"more than {rate:g} requests a second", hint="ask more slowly")

    @contextmanager
    def stream(self, user: User) -> Iterator[None]:
        """A place for one stream, for as long as it runs.

        Raises:
            TooMany: the user, or all together, have too many.
        """
        with self._taken(self._streams, user, self.settings.max_streams_per_user, "streams"):
            yield

    @contextmanager
    def listener(self, user: User) -> Iterator[None]:
        """A place for one listener to events.

        Raises:
            TooMany: the user has too many.
        """
        with self._taken(self._events, user, _MAX_EVENTS, "listeners"):
            yield

    @contextmanager
    def _taken(self, places: dict[str, int], user: User, most: int, what: str) -> Iterator[None]:
        total = self.settings.max_streams if places is self._streams else 10_000
        with self._lock:
            mine = places.get(user.name, 0)
            if mine >= most or sum(places.values()) >= total:
                raise TooMany(f"too many {what} at a time", hint="wait for one to end")
            places[user.name] = mine + 1
        try:
            yield
        finally:
            with self._lock:
                left = places[user.name] - 1
                if left:
                    places[user.name] = left
                else:
                    del places[user.name]

    def spool(self) -> Spool:
        """A place where a download waits for its reader."""
        return Spool(self.settings.spool_limit, directory=self.settings.spool_dir or None)

    def upload(self) -> Upload:
        """A place for an upload."""
        return Upload(self.settings.spool_dir, self.settings.upload_limit)

    # --- listings by pages

    def first_page(
        self,
        user: User,
        target: Target,
        limit: int,
        listing: Listing,
        rest: Callable[[User], Listing],
    ) -> Page:
        """The first page of a listing, which is kept so that the next page fits to it.

        Args:
            user: whose it is.
            target: what it is of.
            limit: entries at most.
            listing: all of it, or the beginning.
            rest: lists all of it for whoever asks for the second page; only used after a beginning.
        """
        kept = _Kept(user.name, target, listing, rest)
        return self._page(user, kept, 0, limit, os.urandom(16).hex())

    def _page(self, user: User, kept: _Kept, start: int, limit: int, token: str) -> Page:
        listing = kept.upto(start + limit, user) if start else kept.listing
        end = min(start + limit, len(listing.entries))
        if end == len(listing.entries) and not listing.more:
            return Page(listing, start, end, "")
        with self._lock:
            kept.used = time.monotonic()
            self._pages[token] = kept
            self._pages.move_to_end(token)
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        return Page(listing, start, end, f"{token}.{end}")

    def next_page(self, user: User, cursor: str, limit: int) -> Page:
        """The page at a cursor.

        Raises:
            NotFound: no such cursor of this user, or no more; or not for this user any more.
        """
        token, _, number = cursor.partition(".")
        with self._lock:
            kept = self._pages.get(token)
        if (
            kept is None
            or kept.user != user.name
            or not number.isdecimal()
            or len(number) > 12
            or not decide(user, Action.READ, kept.target, self.rules).allowed
        ):
            raise NotFound("no such cursor", hint="it is kept for two minutes: list again")
        return self._page(user, kept, int(number), limit, token)

    # --- what went wrong after the first byte

    def late(self, user: User, request: str, error: VolcopyError) -> None:
        """Remember why a response broke off, for a client that gave it a name."""
        if not 16 <= len(request) <= 64:
            return
        with self._lock:
            self._late[(user.name, request)] = error
            while len(self._late) > _LATE:
                self._late.popitem(last=False)

    def why(self, user: User, request: str) -> VolcopyError:
        """Why a response broke off; told once.

        Raises:
            NotFound: nothing is known of it.
        """
        with self._lock:
            found = self._late.pop((user.name, request), None)
        if found is None:
            raise NotFound("nothing is known of such a request")
        return found

    # --- leases

    def lend(self, user: User, volume: str, *, create: bool) -> Lease:
        """Lend a helper container for a volume; see `Engine.volume`."""
        stack = ExitStack()
        with stack:
            guarded = self.guarded(user)
            container, path = stack.enter_context(guarded.volume(volume, create=create))
            lease = Lease(os.urandom(16).hex(), user.name, volume, container, path, stack.pop_all())
        with self._lock:
            self._leases[lease.id] = lease
        return lease

    def give_back(self, user: User, ident: str, *, failed: bool) -> None:
        """End a lease; with `failed`, a volume made for it goes, too.

        Raises:
            NotFound: no such lease of this user.
        """
        with self._lock:
            lease = self._leases.get(ident)
            if lease is None or lease.owner != user.name:
                raise NotFound("no such lease")
            del self._leases[ident]
        self._end(lease, failed=failed)

    def _end(self, lease: Lease, *, failed: bool) -> None:
        if not failed:
            lease.stack.close()
            return
        problem = NotFound("the lease was not given back in order")
        try:
            lease.stack.__exit__(type(problem), problem, None)
        except NotFound as error:
            if error is not problem:
                raise

    @contextmanager
    def using(self, container: str) -> Iterator[None]:
        """While the block runs, a lease of this container does not run out."""
        with self._lock:
            found = [one for one in self._leases.values() if one.container == container]
            for lease in found:
                lease.busy += 1
        try:
            yield
        finally:
            with self._lock:
                for lease in found:
                    lease.busy -= 1
                    lease.used = time.monotonic()

    def tick(self) -> None:
        """Give back what nobody uses any more. To be called now and then."""
        now = time.monotonic()
        with self._lock:
            old = [
                one
                for one in self._leases.values()
                if not one.busy and now - one.used > _LEASE_SECONDS
            ]
            for lease in old:
                del self._leases[lease.id]
            for token in [t for t, kept in self._pages.items() if now - kept.used > _PAGE_SECONDS]:
                del self._pages[token]
        for lease in old:
            try:
                self._end(lease, failed=True)
            except VolcopyError as error:
                self.log.warning("volcopy: a helper could not be removed: %s", error)

    # --- transfers

    def start(self, user: User, wanted: dict[str, Any]) -> Transfer:
        """Start a transfer.

        Args:
            user: who.
            wanted: the request, as in the REST reference.

        Raises:
            VolcopyError: it makes no sense, or may not be.
        """
        return self.begin(user, Order(self, user, wanted))

    def rescue(self, user: User, container: str, wanted: dict[str, Any]) -> Transfer:
        """Start the rescue of a container, which is a transfer.

        Args:
            user: who.
            container: name or id.
            wanted: the request, as in the REST reference.

        Raises:
            VolcopyError: it makes no sense, or may not be.
        """
        return self.begin(user, RescueOrder(self, user, container, wanted))

    def begin(self, user: User, order: Asked) -> Transfer:
        """Start what is asked for, once it is checked."""
        order.check()
        return self.transfers.start(
            order.run,
            owner=user.name,
            sources=order.typed,
            destination=order.typed_destination,
            options=order.options,
            holds=order.containers,
        )

    def plan(self, user: User, wanted: dict[str, Any]) -> dict[str, Any]:
        """What a transfer would do; nothing is changed."""
        order = Order(self, user, wanted)
        order.check()
        return order.plan()

    def owner_filter(self, user: User) -> str | None:
        """Whose transfers the user sees: None for everybody's."""
        return None if user.admin else user.name

    def _ended(self, transfer: Transfer) -> None:
        metrics.transfer_over(transfer)
        self.audit.transfer(transfer)

    # --- beginning and end

    def sweep(self) -> None:
        """Remove what processes that were killed left behind: here, and on every engine."""
        from jupyter_volcopy.core.engines import Engines

        journal = Journal()
        removed = journal.sweep_local()
        whole = self.engine()
        for engine in whole.each() if isinstance(whole, Engines) else [whole]:
            try:
                removed += self._sweep(engine, journal)
            except VolcopyError as error:
                self.log.warning(
                    "volcopy: nothing could be cleaned up on %s: %s", engine.address, error
                )
        for name in removed:
            self.log.info("volcopy: removed what a killed process left: %r", name)

    def _sweep(self, engine: Engine, journal: Journal) -> list[str]:
        """What was left in the containers of one engine; names of what was removed."""
        from jupyter_volcopy.core.docker_engine import DockerEngine
        from jupyter_volcopy.core.docker_volume import sweep_helpers
        from jupyter_volcopy.core.push import clean_container

        removed = sweep_helpers(engine) if isinstance(engine, DockerEngine) else []
        for item in journal.leftovers():
            if item.kind != "container" or item.engine != engine.address:
                continue
            try:
                clean_container(engine, item.container, item.directory, item.name)
                removed.append(f"{item.container[:12]}:{item.directory}/{item.name}")
            except NotFound:
                pass
            except VolcopyError as error:
                self.log.warning("volcopy: something left behind stays for now: %s", error)
                continue
            journal.forget(item)
        return removed

    def close(self, seconds: float = 10.0) -> None:
        """Cut every transfer, give everything back. Blocks."""
        self.transfers.close(seconds)
        with self._lock:
            leases, self._leases = list(self._leases.values()), {}
            engine, self._engine = self._engine, None
        for lease in leases:
            try:
                self._end(lease, failed=True)
            except VolcopyError as error:
                self.log.warning("volcopy: a helper could not be removed: %s", error)
        self.bridge.close()
        if engine is not None:
            engine.close()

    @property
    def working(self) -> bool:
        """Whether a transfer waits or runs: then the server is in use."""
        return any(one.state not in FINISHED for one in self.transfers.list())
