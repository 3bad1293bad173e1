"""The facade: everything a door needs of the core.

A `Copier` belongs to one engine. It reads the two sides, decides the direction, and runs one
transfer for each source into one report. Doors add nothing but words.
"""

from __future__ import annotations

import os
import time
from _thread import get_ident

from jupyter_volcopy.core.control import Cancel, Contexts, Meter
from jupyter_volcopy.core.endpoint import (
    ContainerPath,
    Endpoint,
    LocalPath,
    Stream,
    VolumePath,
    parse_endpoint,
)
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Kind, Listing
from jupyter_volcopy.core.options import CopyOptions, access_to, options_from
from jupyter_volcopy.core.paths import clean_keeping_end, join
from jupyter_volcopy.core.reach import Reach
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.core.transfer import Place, Run
from jupyter_volcopy.errors import EngineError, TransferCancelled, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any, BinaryIO, TypeAlias

    from jupyter_volcopy.core.plan import Plan

__all__ = ["Copier"]

_NOT_DIRECT = (
    "archive", "backup", "checksum", "chown", "durable", "follow_all", "keep_links", "no_clobber",
    "numeric_owner", "parents", "pause", "skip_bad_links", "verify",
)  # fmt: skip

Wants: TypeAlias = "Callable[[str, Kind, int, int], str | None]"


class Copier:
    """Copies between this machine, containers and volumes of one engine.

    Args:
        engine: whose containers and volumes are meant.
        journal: where temporaries are written down; None: this user's own.
    """

    def __init__(self, engine: Engine, *, journal: Journal | None = None) -> None:
        self.engine = engine
        self.journal = journal or Journal()

    def copy(
        self,
        sources: str | Endpoint | Sequence[str | Endpoint],
        destination: str | Endpoint,
        *,
        meter: Meter | None = None,
        cancel: Cancel | None = None,
        stdin: BinaryIO | None = None,
        stdout: BinaryIO | None = None,
        **options: Any,
    ) -> Report:
        """Copy, exactly as `docker cp` does unless more is asked for.

        Args:
            sources: one or several, as text or endpoints. Several need an existing directory.
            destination: text or endpoint.
            meter, cancel: to watch and to stop it from elsewhere.
            stdin, stdout: binary streams for `-`.
            options: fields of `CopyOptions`.

        Returns:
            What was copied, and everything that was not, by name. `report.ok` is False if anything
            asked for did not arrive.

        Raises:
            UsageError: the two sides make no copy.
            VolcopyError: nothing at the destination is half-written.
        """
        chosen = options_from(options)
        many, target = _sides(sources, destination)
        direction = _direction(many, target)
        if any(isinstance(item, Stream) for item in (*many, target)):
            _check_stream(chosen)
        report = Report(direction, [str(item) for item in many], str(target))
        run = Run(self.engine, chosen, self.journal, report, meter or Meter(), cancel or Cancel())
        started = time.monotonic()
        with _Interruptible(self.engine, run.cancel), Contexts() as stack:
            places: dict[str, Place] = {}
            streamed = isinstance(target, Stream) or any(isinstance(it, Stream) for it in many)
            self._reach(run, stack, directly=not streamed and direction != "copy")

            def place(endpoint: ContainerPath | VolumePath) -> Place:
                return self._place(endpoint, stack, places, run.engine)

            try:
                if _patterned(many):
                    from jupyter_volcopy.core.choice import expanded

                    many = expanded(self.engine, many, place)
                    _direction(many, target)
                if len(many) > 1:
                    from jupyter_volcopy.core.choice import check_all

                    check_all(run, many, target, place)
                self._run(run, many, target, place, stdin, stdout)
            except BaseException:
                if run.made:
                    from jupyter_volcopy.core.ancestors import undo

                    undo(run)
                raise
            if chosen.durable and not isinstance(target, (LocalPath, Stream)):
                from jupyter_volcopy.core.pausing import settle

                settle(run, place(target))
            for key, found in places.items():
                if "volume=" in key:
                    _name_volume(report, f"{found.container.name}:{found.path}", key)
        for item in many:
            if isinstance(item, VolumePath):
                from jupyter_volcopy.core.volumes import nested

                report.warnings.extend(nested(self.engine, item.volume, item.path))
        report.seconds = time.monotonic() - started
        if chosen.strict:
            left_out = _left_out(report)
            report.failed.extend(left_out)
            report.warnings = [note for note in report.warnings if note not in left_out]
        return report

    def _run(
        self,
        run: Run,
        sources: list[Endpoint],
        target: Endpoint,
        place: Callable[[ContainerPath | VolumePath], Place],
        stdin: BinaryIO | None,
        stdout: BinaryIO | None,
    ) -> None:
        # Each direction is imported when it is wanted: the start of the command counts.
        several = len(sources) > 1
        for source in sources:
            wants = _filters(run.options, source)
            if isinstance(source, Stream):
                assert isinstance(target, (ContainerPath, VolumePath))
                if stdin is None:
                    raise UsageError("there is no standard input to read")
                from jupyter_volcopy.core.transfer_copy import push_stream

                push_stream(run, stdin, place(target))
            elif isinstance(target, Stream):
                assert isinstance(source, (ContainerPath, VolumePath))
                if stdout is None:
                    raise UsageError("there is no standard output to write to")
                from jupyter_volcopy.core.transfer_pull import pull_stream

                pull_stream(run, place(source), stdout)
            elif isinstance(source, LocalPath):
                assert isinstance(target, (ContainerPath, VolumePath))
                from jupyter_volcopy.core.transfer_push import push

                push(run, source.path, place(target), into_directory=several, wants=wants)
            elif isinstance(target, LocalPath):
                from jupyter_volcopy.core.transfer_pull import pull

                with Contexts() as stack:
                    where = _still(run, place(source), stack)
                    pull(run, where, target.path, into_directory=several, wants=wants)
            else:
                from jupyter_volcopy.core.transfer_copy import copy

                there = place(target)
                with Contexts() as stack:
                    where = _still(run, place(source), stack, also=there.container.id)
                    copy(run, where, there, into_directory=several, wants=wants)

    def _inner(self) -> Any:
        """The engine behind a policy."""
        return getattr(self.engine, "inner", self.engine)

    def _reach(self, run: Run, stack: Contexts, *, directly: bool = True) -> None:
        """Reach containers directly in this transfer, where that is possible and wanted."""
        run.confirm = getattr(self._inner(), "confirm", run.confirm)
        direct = self._direct(run.options) if directly else None
        if direct is not None:
            run.engine = stack.enter(direct).under(self.engine)
            run.confirm = direct.confirm

    def _direct(self, options: CopyOptions) -> Any:
        """The engine with direct access before it, or None where the engine alone is asked.

        Raises:
            UsageError: direct access was asked for, with an option that only the engine honours.
        """
        access = access_to(self._inner(), options.access)
        if access == "api":
            return None
        for name in _NOT_DIRECT:
            if getattr(options, name):
                if access == "direct":
                    raise UsageError(
                        f"--{name.replace('_', '-')} does not go with --access direct",
                        hint="leave one of them out",
                    )
                return None
        if os.geteuid() and access == "auto":
            return None
        from jupyter_volcopy.core.direct import DirectEngine

        return DirectEngine.of(self.engine, self.journal, access=access)

    def _place(
        self,
        endpoint: ContainerPath | VolumePath,
        stack: Contexts,
        known: dict[str, Place],
        engine: Engine | None = None,
    ) -> Place:
        engine = engine or self.engine
        key = (
            str(VolumePath(endpoint.volume, ""))[:-1]
            if isinstance(endpoint, VolumePath)
            else endpoint.container
        )
        found = known.get(key)
        if found is None:
            if isinstance(endpoint, VolumePath):
                container_id, root = stack.enter(self.engine.volume(endpoint.volume))
                container = self.engine.container(container_id)
                from jupyter_volcopy.core.volumes import Named

                stack.enter(Named(container.name, root, endpoint.volume))
            else:
                container, root = engine.container(endpoint.container), ""
            found = Place(container, Reach.of(self.engine, container), root, key)
            known[key] = found
        root = found.path
        path = endpoint.path
        if isinstance(endpoint, VolumePath):
            from jupyter_volcopy.core.volumes import check_inside

            inner = clean_keeping_end(path if path.startswith("/") else "/" + path)
            check_inside(self.engine, found.container.id, root, inner, str(endpoint))
            path = join(root, inner.lstrip("/")) if inner not in ("/", "/.") else root + "/."
        return Place(found.container, found.reach, path, str(endpoint))

    def plan(
        self,
        sources: str | Endpoint | Sequence[str | Endpoint],
        destination: str | Endpoint,
        **options: Any,
    ) -> Plan:
        """Say what `copy` would do with the same arguments; nothing is changed, nothing is sent.

        Args:
            sources: one or several, as text or endpoints.
            destination: text or endpoint.
            options: fields of `CopyOptions`.

        Raises:
            VolcopyError: what `copy` would be refused with before its first byte.
        """
        from jupyter_volcopy.core.choice import check_all, expanded
        from jupyter_volcopy.core.plan import Plan
        from jupyter_volcopy.core.planning import step

        chosen = options_from(options)
        many, target = _sides(sources, destination)
        direction = _direction(many, target)
        if any(isinstance(item, Stream) for item in (*many, target)):
            _check_stream(chosen)
        run = Run(self.engine, chosen, self.journal, Report(direction))
        with Contexts() as stack:
            places: dict[str, Place] = {}

            def place(endpoint: ContainerPath | VolumePath) -> Place:
                return self._place(endpoint, stack, places)

            many = expanded(self.engine, many, place)
            _direction(many, target)
            if len(many) > 1:
                check_all(run, many, target, place)
            steps = [
                step(run, item, target, place, _filters(chosen, item), several=len(many) > 1)
                for item in many
            ]
        return Plan(direction, tuple(steps))

    def put_file(
        self,
        destination: ContainerPath | VolumePath,
        fd: int,
        size: int,
        *,
        exclusive: bool = False,
        meter: Meter | None = None,
        cancel: Cancel | None = None,
        **options: Any,
    ) -> Report:
        """Put the content of an open file at exactly `destination`, nothing else.

        Args:
            destination: of the file itself; its directory must be there.
            fd: descriptor of a regular file, read from its beginning.
            size: bytes of it.
            exclusive: nothing may be there yet.
            meter, cancel: to watch and to stop it from elsewhere.
            options: fields of `CopyOptions`.

        Raises:
            Precondition: something is there, with `exclusive`.
            VolcopyError: the old file is whole.
        """
        from jupyter_volcopy.core.transfer_file import put_file

        report = Report("push", ["-"], str(destination))
        run = Run(
            self.engine,
            options_from(options),
            self.journal,
            report,
            meter or Meter(),
            cancel or Cancel(),
        )
        started = time.monotonic()
        with Contexts() as stack:
            places: dict[str, Place] = {}
            self._reach(run, stack)
            put_file(
                run,
                self._place(destination, stack, places, run.engine),
                fd,
                size,
                exclusive=exclusive,
            )
            for key, found in places.items():
                if "volume=" in key:
                    _name_volume(report, f"{found.container.name}:{found.path}", key)
        report.seconds = time.monotonic() - started
        return report

    def list_dir(self, place: str | Endpoint, *, recursive: bool = False) -> Listing:
        """The entries of a directory of a container or volume, in any state.

        Raises:
            UsageError: a local path.
            NotADirectory, NoSuchPath, NoSuchContainer, NoSuchVolume: as it says.
        """
        endpoint = parse_endpoint(place) if isinstance(place, str) else place
        if not isinstance(endpoint, (ContainerPath, VolumePath)):
            raise UsageError(
                f"{endpoint} is not in a container", hint="write NAME:PATH or volume=NAME:PATH"
            )
        with Contexts() as stack:
            where = self._place(endpoint, stack, {})
            path = where.path if where.path.startswith("/") else "/" + where.path
            listing = self.engine.list_dir(where.container.id, path, recursive=recursive)
            if not recursive:
                return listing
            from jupyter_volcopy.core.listing import with_names
            from jupyter_volcopy.core.record import replace

            entries = with_names(self.engine, where.container.id, listing.entries)
            return replace(listing, entries=entries)


class _Interruptible:
    """A cut ends also the small calls this thread waits for; what breaks by it is no fault."""

    def __init__(self, engine: Engine, cancel: Cancel) -> None:
        self._cancel = cancel
        self._closing: AbstractContextManager[None] | None = None
        interrupt = getattr(engine, "interrupt", None)
        if interrupt is not None:
            thread = get_ident()
            self._closing = cancel.closing(lambda: interrupt(thread))

    def __enter__(self) -> None:
        if self._closing is not None:
            self._closing.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._closing is not None:
            self._closing.__exit__(kind, error, trace)
            if isinstance(error, EngineError) and self._cancel.cut:
                raise TransferCancelled("cancelled") from None


def _sides(
    sources: str | Endpoint | Sequence[str | Endpoint], destination: str | Endpoint
) -> tuple[list[Endpoint], Endpoint]:
    many: Sequence[str | Endpoint]
    if isinstance(sources, (str, LocalPath, ContainerPath, VolumePath, Stream)):
        many = [sources]
    else:
        many = sources

    def read(item: str | Endpoint) -> Endpoint:
        return parse_endpoint(item) if isinstance(item, str) else item

    if not many:
        raise UsageError("source can not be empty")
    if any(item == "" for item in many):
        raise UsageError("source can not be empty")
    if destination == "":
        raise UsageError("destination can not be empty")
    return [read(item) for item in many], read(destination)


def _direction(sources: list[Endpoint], target: Endpoint) -> str:
    """`pull`, `push` or `copy` (rule R3)."""
    inside = [isinstance(item, (ContainerPath, VolumePath)) for item in sources]
    streams = [isinstance(item, Stream) for item in sources]
    to_container = isinstance(target, (ContainerPath, VolumePath))
    if not to_container and not all(inside):
        names = [str(item) for item in sources if isinstance(item, LocalPath)]
        raise UsageError(
            "must specify at least one container source",
            hint=f"{names[0]!r} and {str(target)!r} are both local; write NAME:PATH for a container"
            if names
            else "write NAME:PATH for a container",
        )
    if len(sources) > 1 and (any(streams) or isinstance(target, Stream)):
        raise UsageError("- stands alone: one archive, one source")
    if to_container:
        return "copy" if any(inside) else "push"
    return "pull"


def _filters(options: CopyOptions, source: Endpoint) -> Wants | None:
    if not options.filtered:
        return None
    from jupyter_volcopy.core.filters import wants

    return wants(options, source)


def _name_volume(report: Report, helper: str, name: str) -> None:
    """Say `volume=NAME:` where the report names the helper through which it was reached."""
    for at, path in enumerate(report.landed):
        if path == helper or path.startswith(helper + "/"):
            report.landed[at] = f"{name}:{path[len(helper) :] or '/'}"


_NOT_OF_STREAMS = (
    "backup", "dockerignore", "exclude", "exclude_from", "follow_all", "include", "max_size",
    "newer", "no_clobber", "numeric_owner", "parents", "pause", "update", "verify",
)  # fmt: skip


def _check_stream(options: CopyOptions) -> None:
    """Refuse what is not done for an archive on standard input or output, so that nobody trusts it.

    Raises:
        UsageError: naming the option.
    """
    for name in _NOT_OF_STREAMS:
        value = getattr(options, name)
        if value or (value == 0 and value is not False):
            raise UsageError(
                f"--{name.replace('_', '-')} does not go with -",
                hint="an archive on standard input or output is passed on as it is",
            )


def _still(run: Run, where: Place, stack: Contexts, *, also: str = "") -> Place:
    """The source, paused if that was asked for until `stack` is left."""
    if not run.options.pause:
        return where
    from jupyter_volcopy.core.pausing import paused

    return stack.enter(paused(run, where, also=also))


def _patterned(sources: list[Endpoint]) -> bool:
    """Whether a source may be a pattern; what it means is looked at elsewhere."""
    return any(
        char in source.path
        for source in sources
        if not isinstance(source, Stream)
        for char in "*?["
    )


def _left_out(report: Report) -> list[Any]:
    return [
        note for note in report.warnings if note.code in ("socket", "special", "bad-link", "grew")
    ]
