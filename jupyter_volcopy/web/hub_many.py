"""What a Hub's administrators do with many containers: look at all, hand out, collect, rescue.

Everything but one's own row of `people` needs `custom:volcopy:admin`. The work is a transfer like
every other, with a line for each container in its report. What is handed out is uploaded first, as
an archive with one top; what was collected or is to be downloaded waits here as an archive, as
long as its transfer is remembered.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from jupyter_volcopy.core.background import Transfer
from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.many import Goal, Limits, ManyReport, Outcome, for_each
from jupyter_volcopy.core.many_collect import collect
from jupyter_volcopy.core.many_handout import hand_out
from jupyter_volcopy.core.many_keeping import Shelf
from jupyter_volcopy.core.many_local import land, pack
from jupyter_volcopy.core.policy import User
from jupyter_volcopy.core.removal import WAYS
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.errors import AccessDenied, Conflict, NotFound, UsageError
from jupyter_volcopy.web.handlers_base import Base, JsonBody, UploadBody
from jupyter_volcopy.web.handlers_files import disposition
from jupyter_volcopy.web.streams import Outflow
from jupyter_volcopy.web.upload import Upload

if TYPE_CHECKING:
    from jupyter_volcopy.web.hub import HubService

__all__ = [
    "ROUTES",
    "AuditLines",
    "Collections",
    "Handouts",
    "Kept",
    "OneCollection",
    "People",
    "Rescues",
]


class Kept:
    """Archives that wait for whoever asked for them, by the id of their transfer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, str] = {}

    def add(self, ident: str, directory: str) -> None:
        """Keep `directory`, which holds the archive, for a transfer."""
        with self._lock:
            self._places[ident] = directory

    def get(self, ident: str) -> str:
        """The directory.

        Raises:
            NotFound: there is none.
        """
        with self._lock:
            found = self._places.get(ident)
        if found is None:
            raise NotFound("there is nothing to download", hint="it may be over and forgotten")
        return found

    def sweep(self, lives: Callable[[str], bool]) -> None:
        """Remove what belongs to transfers nobody remembers."""
        with self._lock:
            old = [ident for ident in self._places if not lives(ident)]
            gone = [self._places.pop(ident) for ident in old]
        for directory in gone:
            shutil.rmtree(directory, ignore_errors=True)


class _Many(Base):
    """What the classes here share."""

    @property
    def hub(self) -> HubService:
        """What stands behind."""
        return cast("HubService", self.service)

    def administrator(self) -> User:
        """The user, who must be one.

        Raises:
            AccessDenied: they are not.
        """
        user = self.volcopy_user()
        if not user.admin:
            raise AccessDenied(
                f"{user.name} may not do this", hint="it needs the scope custom:volcopy:admin"
            )
        return user

    def goals(self, words: list[str]) -> list[Goal]:
        """The containers some words mean; blocks.

        Raises:
            UsageError: no such user or group, or nobody has a container.
        """
        if not words or not all(isinstance(word, str) and word for word in words):
            raise UsageError("say whose: all, group:NAME, user:NAME or USER/SERVER")
        found = [
            Goal(server.label, ident, server.user, server.name)
            for server, ident in self.hub.users.targets(words)
        ]
        if not found:
            raise UsageError(f"nobody of {', '.join(words)} has a container")
        return found


class People(_Many):
    """`people`: whose container is whose; for a user, their own."""

    async def get(self) -> None:
        """Answer; with `sizes` also how much is written outside every volume."""
        user, sizes = self.volcopy_user(), self.flag("sizes")

        def ask() -> dict[str, Any]:
            roster = self.hub.users.roster()
            layers = self.hub.layers() if sizes else {}
            shown = []
            for item in self.hub.guarded(user).containers():
                server = roster.owners.get(item.id)
                owner = roster.users.get(server.user) if server is not None else None
                shown.append(
                    {
                        "id": item.id,
                        "name": item.name,
                        "state": item.state,
                        "image": item.image,
                        "created": item.created,
                        "user": server.user if server is not None else None,
                        "server": server.name if server is not None else None,
                        "label": server.label if server is not None else None,
                        "groups": sorted(owner.groups) if owner is not None else [],
                        **({"layer": layers.get(item.id)} if sizes else {}),
                    }
                )
            shown.sort(key=lambda one: (one["label"] is None, one["label"] or one["name"]))
            groups = sorted({g for one in roster.users.values() for g in one.groups})
            having = {server.user for server in roster.owners.values()}
            return {
                "people": shown,
                "without": [
                    {"user": one.name, "groups": sorted(one.groups)}
                    for one in sorted(roster.users.values(), key=lambda one: one.name)
                    if user.admin and one.name not in having
                ],
                "groups": groups if user.admin else sorted(user.groups),
                "rescue": user.admin and bool(self.hub.settings.rescue_directory),
            }

        self.reply(await self.call(ask))


def _limits(wanted: dict[str, Any]) -> Limits:
    """Limits as a request names them, never beyond what is sensible.

    Raises:
        UsageError: no number.
    """
    values: dict[str, Any] = {}
    for name, most in (("bytes", 1 << 44), ("entries", 1_000_000), ("seconds", 86_400)):
        value = wanted.get(name)
        if value is None or value == "":
            continue
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise UsageError(f"{name} must be a number") from None
        if not 1 <= number <= most:
            raise UsageError(f"{name} must be from 1 to {most}")
        values[name] = number
    return Limits(**values)


class Handouts(_Many, UploadBody):
    """`handouts`: put the body, an archive with one top, into many containers."""

    async def put(self) -> None:
        """Start it (201): `to=`, `into=`, `name=` of the top, `overwrite=`, limits."""
        user = self.administrator()
        upload = await self.received()
        words = [
            value.decode("utf-8", "replace") for value in self.request.query_arguments.get("to", [])
        ]
        name, into, overwrite = self.query("name", None), self.query("into"), self.flag("overwrite")
        limits = _limits({key: self.query(key) for key in ("bytes", "entries", "seconds")})
        if not name or "/" in name or name in (".", ".."):
            raise UsageError("name must be that of the archive's top")

        def start() -> Transfer:
            goals = self.goals(words)
            room = self.hub.room("handout")
            try:
                source = self._landed(upload, room, name, limits)

                def work(meter: Meter, cancel: Cancel) -> Report:
                    try:
                        report = hand_out(
                            self.hub.guarded(user),
                            source,
                            goals,
                            into,
                            limits=limits,
                            overwrite=overwrite,
                            who=self.hub.settings.acting_as,
                            room=room,
                            meter=meter,
                            cancel=cancel,
                        )
                        report.sources = [name]
                        self.hub.said("handout", user, report)
                        return report
                    finally:
                        shutil.rmtree(room, ignore_errors=True)

                return self.hub.transfers.start(
                    work,
                    owner=user.name,
                    sources=[name],
                    destination=f"{', '.join(words)}:{into}",
                    options={"handout": True},
                )
            except BaseException:
                shutil.rmtree(room, ignore_errors=True)
                raise

        transfer = await self.service.bridge.in_stream(start)
        self.reply(transfer.to_dict(), 201)

    @staticmethod
    def _landed(upload: Upload, room: str, name: str, limits: Limits) -> str:
        upload.rewind()
        return land(
            upload, room, name, max_bytes=limits.bytes, max_entries=2 * limits.entries + 1000
        )


class Collections(_Many, JsonBody):
    """`collections`: copy a path out of many containers."""

    async def post(self) -> None:
        """Start it (201): `path`, `from`, `known`, `limits`."""
        user = self.administrator()
        wanted = self.body()
        unknown = sorted(set(wanted) - {"path", "from", "known", "limits"})
        if unknown:
            raise UsageError(f"no such field: {', '.join(unknown)}")
        path, words = wanted.get("path"), wanted.get("from")
        known = wanted.get("known") or {}
        if not isinstance(path, str) or not path:
            raise UsageError("path can not be empty")
        if not isinstance(words, list):
            raise UsageError("`from` must be a list")
        if not isinstance(known, dict) or not all(isinstance(v, str) for v in known.values()):
            raise UsageError("`known` must be an object of texts")
        limits = _limits(wanted.get("limits") or {})

        def start() -> Transfer:
            goals = self.goals(words)
            room = self.hub.room("collect")
            began = threading.Event()

            def work(meter: Meter, cancel: Cancel) -> Report:
                began.wait(10)
                top = os.path.join(room, "submissions")
                report = ManyReport("pull", [path], "submissions")
                try:
                    report = collect(
                        self.hub.guarded(user),
                        path,
                        goals,
                        top,
                        known=known,
                        limits=limits,
                        who=self.hub.settings.acting_as,
                        meter=meter,
                        cancel=cancel,
                    )
                    _relative(report, top)
                    pack(top, "submissions", os.path.join(room, "submissions.tar"))
                finally:
                    shutil.rmtree(top, ignore_errors=True)
                self.hub.said("collect", user, report)
                return report

            try:
                transfer = self.hub.transfers.start(
                    work,
                    owner=user.name,
                    sources=[f"{', '.join(words)}:{path}"],
                    destination="submissions",
                    options={"collect": True},
                )
            except BaseException:
                shutil.rmtree(room, ignore_errors=True)
                raise
            self.hub.kept.add(transfer.id, room)
            began.set()
            return transfer

        transfer = await self.call(start)
        self.reply(transfer.to_dict(), 201)


def _relative(report: ManyReport, top: str) -> None:
    """Paths as whoever asked sees them: below what they download."""
    report.destination = "submissions"
    for outcome in report.outcomes:
        if "folder" in outcome.more:
            outcome.more["folder"] = outcome.more["folder"].removeprefix(top + "/")
        outcome.files = [
            type(item)(item.path.removeprefix(top + "/"), item.action, item.sha256, item.size)
            for item in outcome.files
        ]
        if outcome.error is not None:
            outcome.error.message = outcome.error.message.replace(top, "submissions")


class OneCollection(_Many):
    """`collections/{id}`: what was collected, as an archive whose top is `submissions`."""

    sandboxed = True

    async def get(self, ident: str) -> None:
        """Send it."""
        user = self.administrator()
        self.service.transfers.get(ident, self.service.owner_filter(user))
        room = self.hub.kept.get(ident)
        with self.service.stream(user):
            pump = await self.call(_File, os.path.join(room, "submissions.tar"))
            flow = Outflow(self.service.bridge, self.service.spool())
            flow.begin(pump)
            self.plain_headers()
            self.set_header("Content-Type", "application/x-tar")
            self.set_header("Content-Disposition", disposition("submissions.tar"))
            self.set_header("Content-Length", str(pump.size))
            await flow.send(self, self.service.settings.stall_timeout)
        self.finish()


class _File:
    """A file as the source of a download.

    Raises:
        Conflict: it is not there (yet).
    """

    def __init__(self, path: str) -> None:
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError:
            raise Conflict("it is not there yet", hint="wait until the transfer is over") from None
        self.size = os.fstat(self._file.fileno()).st_size

    def __call__(self, write: Callable[[memoryview], object]) -> None:
        """Hand over everything."""
        buffer = memoryview(bytearray(1 << 20))
        while count := self._file.readinto(buffer):
            write(buffer[:count])

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


class Rescues(_Many, JsonBody):
    """`rescues`: save what the removal of containers would lose, on the Hub's host."""

    async def post(self) -> None:
        """Start it (201): `to`, `how`."""
        user = self.administrator()
        wanted = self.body()
        unknown = sorted(set(wanted) - {"to", "how"})
        if unknown:
            raise UsageError(f"no such field: {', '.join(unknown)}")
        words, how = wanted.get("to"), wanted.get("how", "spawner")
        if not isinstance(words, list) or how not in WAYS:
            raise UsageError(f"`to` must be a list, `how` one of {', '.join(WAYS)}")
        settings = self.hub.settings
        if not settings.rescue_directory:
            raise Conflict(
                "no place for rescues is set", hint="set rescue_directory for the service"
            )
        shelf = Shelf(settings.rescue_directory, settings.rescue_quota, 0)

        def work(meter: Meter, cancel: Cancel) -> Report:
            def one(goal: Goal, outcome: Outcome, mine: Cancel) -> None:
                mine.check()
                engine = self.hub.guarded(user)
                done = shelf.keep(engine, goal.container, goal.user, goal.server, how, mine)
                outcome.state = "same" if done is None else "done"
                if done is not None:
                    outcome.bytes = done.bytes
                    outcome.more["saved"] = {"files": done.files, "verified": done.verified}

            report = for_each(
                goals,
                one,
                ManyReport("pull", list(words), "the shelf of rescues"),
                limits=Limits(seconds=3600.0, at_once=2),
                meter=meter,
                cancel=cancel,
            )
            self.hub.said("rescue", user, report)
            return report

        goals = await self.call(self.goals, words)
        transfer = await self.call(
            lambda: self.hub.transfers.start(
                work,
                owner=user.name,
                sources=list(words),
                destination="the shelf of rescues",
                options={"rescue": how},
            )
        )
        self.reply(transfer.to_dict(), 201)


class AuditLines(_Many):
    """`audit`: the last lines, newest first."""

    async def get(self) -> None:
        """Answer."""
        self.administrator()
        most = self.number("limit", 100, least=1, most=500)
        self.reply({"audit": list(self.hub.audit.recent)[::-1][:most]})


ROUTES: list[tuple[str, type[Base]]] = [
    ("people", People),
    ("handouts", Handouts),
    ("collections", Collections),
    ("collections/([^/]+)", OneCollection),
    ("rescues", Rescues),
    ("audit", AuditLines),
]
"""Pattern below the base and mixin; beside those that every server has."""
