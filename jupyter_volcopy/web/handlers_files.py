"""What lies in containers and volumes: listings by pages, archives and single files, both ways.

A download leaves the engine at the engine's speed and waits in a spool for its reader; an upload
waits in a nameless file until it is whole (see `streams` and `upload`). What goes into a container
is staged by the core and always safe. `archive?raw=1` is the one exception in form, not in safety:
it is the engine's own call for a `ServiceEngine`, whose core has staged the archive already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from email.utils import formatdate
from urllib.parse import quote

import jupyter_volcopy.web.metrics as metrics
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.direct import DirectEngine
from jupyter_volcopy.core.endpoint import ContainerPath, VolumePath
from jupyter_volcopy.core.engine import ArchiveReader
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Entry, Kind, Listing, Stat
from jupyter_volcopy.core.paths import base_name, clean, clean_keeping_end, encode, join
from jupyter_volcopy.core.policy import Target, User
from jupyter_volcopy.core.reach import Reach
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.core.service_facts import to_wire
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.transfer import ROOT_USER
from jupyter_volcopy.errors import Conflict, CutStream, IsADirectory, UnsafeEntry, show
from jupyter_volcopy.web.handlers_base import Base, UploadBody, encoded, stat_header
from jupyter_volcopy.web.service import Page
from jupyter_volcopy.web.streams import ArchivePump, FilePump, Outflow
from jupyter_volcopy.web.upload import SafeArchive, Upload

__all__ = ["Archive", "Entries", "File", "byte_range", "disposition"]

_PAGE = 1000
_MAX_PAGE = 50_000


class _Files(Base):
    """What the classes here share: a place in a container or volume."""

    def guarded(self) -> Guarded:
        """The engine as this user may use it; in a thread."""
        return self.service.guarded(self.volcopy_user())

    @contextmanager
    def place(
        self, guarded: Guarded, side: str, name: str, path: str
    ) -> Iterator[tuple[Guarded, str, str]]:
        """The engine to ask, container id and absolute path there, while the block runs."""
        if side == "containers":
            with ExitStack() as stack:
                direct = DirectEngine.of(guarded, stack.enter_context(closing(Journal())))
                if direct is not None:
                    direct.names = True
                    guarded = stack.enter_context(direct).under(guarded)
                ident = guarded.container(name).id
                stack.enter_context(self.service.using(ident))
                yield guarded, ident, path
            return
        with guarded.volume(name) as (helper, root):
            inner = clean_keeping_end(path)
            where = root + "/." if inner in ("/", "/.") else join(root, inner)
            yield guarded, helper, where

    @staticmethod
    def endpoint(side: str, name: str, path: str) -> ContainerPath | VolumePath:
        """The same place for a `Copier`."""
        return ContainerPath(name, path) if side == "containers" else VolumePath(name, path)


class Entries(_Files):
    """`entries?path=`: a directory, by pages."""

    async def get(self, side: str, name: str) -> None:
        """Answer with one page."""
        limit = self.number("limit", _PAGE, least=1, most=_MAX_PAGE)
        exact = self.flag("exact")
        cursor = self.query("cursor")
        user = self.volcopy_user()
        if cursor:
            self.reply(
                await self.call(
                    lambda: _page_json(self.service.next_page(user, cursor, limit), exact)
                )
            )
            return
        path, recursive, acting = self.path(), self.flag("recursive"), self.acting()
        budget: int | None = self.number("budget", self.service.settings.listing_budget)

        def listing(user: User, most: int | None = None) -> tuple[Target, Listing]:
            with self.place(self.service.guarded(user), side, name, path) as place:
                guarded, ident, inner = place
                where = clean(inner)
                found = guarded.list_dir(
                    ident, where, recursive=recursive, user=acting, budget=budget or None, most=most
                )
                return guarded.target(ident, where), found

        def ask() -> bytes:
            target, first = listing(user, limit)
            page = self.service.first_page(user, target, limit, first, lambda now: listing(now)[1])
            return _page_json(page, exact)

        self.reply(await self.call(ask))


def _page_json(page: Page, exact: bool) -> bytes:
    """One page as JSON; made in a thread, since it may be long."""
    shown = page.listing.entries[page.start : page.end]
    entries = [to_wire(item) if exact else item.to_dict() for item in shown]
    found = {
        "path": page.listing.path if exact else show(page.listing.path),
        "complete": page.listing.complete,
        "total": page.listing.total if page.listing.more else len(page.listing.entries),
        "start": page.start,
        "entries": entries,
        "next": page.next or None,
    }
    return encoded(found)


class _Download(_Files):
    """A response whose body comes out of a container."""

    sandboxed = True
    _flow: Outflow | None = None

    def on_connection_close(self) -> None:
        """The client is gone: both ends of the stream are closed, which frees the container."""
        super().on_connection_close()
        if self._flow is not None:
            self.service.bridge.aside(self._flow.stop)

    def body_headers(self, kind: str, name: str) -> None:
        """Headers of somebody's file: never a page of ours (safety S34)."""
        self.plain_headers()
        self.set_header("Content-Type", kind)
        self.set_header("Content-Disposition", disposition(name))

    async def send(self, flow: Outflow) -> None:
        """The body."""
        try:
            await flow.send(self, self.service.settings.stall_timeout)
        finally:
            metrics.streamed("download", flow.sent)
        self.finish()


class Archive(_Download, UploadBody):
    """`archive?path=`: the tar of a path, out and in."""

    async def head(self, side: str, name: str) -> None:
        """What stands at the path, in a header."""
        path, user = self.path(), self.acting()

        def ask() -> Stat:
            with self.place(self.guarded(), side, name, path) as (guarded, ident, inner):
                return guarded.stat(ident, inner, user=user)

        stat = await self.call(ask)
        self.body_headers("application/x-tar", f"{stat.name or 'root'}.tar")
        self.set_header("X-Volcopy-Stat", stat_header(to_wire(stat)))
        self.finish()

    async def get(self, side: str, name: str) -> None:
        """The archive."""
        path, user, live = self.path(), self.acting(), self.flag("live")
        with self.service.stream(self.volcopy_user()):
            stack = ExitStack()
            flow = self._flow = Outflow(self.service.bridge, self.service.spool(), stack)

            def start() -> ArchiveReader:
                with ExitStack() as making:
                    guarded, ident, inner = making.enter_context(
                        self.place(self.guarded(), side, name, path)
                    )
                    reader = guarded.open_archive(ident, inner, user=user, live=live)
                    stack.push(making.pop_all())
                    return reader

            reader = await self.service.bridge.in_stream(start)
            stat = reader.stat
            flow.begin(ArchivePump(reader))
            top = base_name(clean(path)).strip("/") or name
            self.body_headers("application/x-tar", f"{top}.tar")
            if stat is not None:
                self.set_header("X-Volcopy-Stat", stat_header(to_wire(stat)))
            await self.send(flow)

    async def put(self, side: str, name: str) -> None:
        """Unpack the body, a tar, in the directory at the path."""
        upload = await self.received()
        try:
            await self._unpack(upload, side, name)
        except (CutStream, UnsafeEntry) as error:
            self.fail(error, 400)  # here it was the client who sent it

    async def _unpack(self, upload: Upload, side: str, name: str) -> None:
        path = self.path()
        if self.flag("raw"):
            await self.service.bridge.in_stream(self._raw, upload, side, name, path)
            self.reply({})
            return

        def unpack() -> Report:
            journal = Journal()
            try:
                copier = Copier(self.guarded(), journal=journal)
                upload.rewind()
                with os.fdopen(os.dup(upload.fd), "rb") as stdin:
                    return copier.copy(
                        "-",
                        self.endpoint(side, name, path),
                        stdin=stdin,
                        safe=True,
                        archive=self.flag("copy_uid_gid"),
                        max_entries=self.service.settings.max_entries,
                    )
            finally:
                journal.close()

        report = await self.service.bridge.in_stream(unpack)
        self.service.audit.line(
            "upload",
            user=self.volcopy_user().name,
            destination=f"{side}/{name}:{path}",
            files=report.files,
            bytes=report.bytes,
        )
        await self.tell(report.to_dict)

    def _raw(self, upload: Upload, side: str, name: str, path: str) -> None:
        """`Engine.extract` for a `ServiceEngine`; what it sends is made safe all the same."""
        with self.place(self.guarded(), side, name, path) as (guarded, ident, inner):
            body = SafeArchive(
                upload,
                inner,
                self.request.headers.get("X-Volcopy-Seal"),
                max_entries=self.service.settings.max_entries,
            )
            guarded.extract(
                ident,
                inner,
                body,
                copy_uid_gid=self.flag("copy_uid_gid"),
                user=self.acting(),
                live=self.flag("live"),
            )


class File(_Download, UploadBody):
    """`file?path=`: the bytes of one file, out (with ranges) and in."""

    _opened: tuple[ArchiveReader, ExitStack] | None = None

    async def get(self, side: str, name: str) -> None:
        """The file, or the part of it that `Range` names."""
        await self._out(side, name, body=True)

    async def head(self, side: str, name: str) -> None:
        """The same without the body."""
        await self._out(side, name, body=False)

    async def _out(self, side: str, name: str, *, body: bool) -> None:
        try:
            await self._answer(side, name, body=body)
        finally:
            opened, self._opened = self._opened, None
            if opened is not None:  # nobody took it over: no container may wait for it
                await self.service.bridge.in_stream(opened[0].close)
                await self.service.bridge.in_stream(opened[1].close)

    async def _answer(self, side: str, name: str, *, body: bool) -> None:
        path = self.path()
        with self.service.stream(self.volcopy_user()):
            stack = ExitStack()
            flow = self._flow = Outflow(self.service.bridge, self.service.spool(), stack)

            def start() -> tuple[ArchiveReader, TarReader, Entry]:
                with ExitStack() as making:
                    found = self._open(making, side, name, path)
                    stack.push(making.pop_all())
                    return found

            reader, tar, entry = await self.service.bridge.in_stream(start)
            self._opened = (reader, stack)
            size = entry.size
            tag = f'"{size:x}-{entry.mtime_ns:x}"'
            asked = self.request.headers.get("Range")
            condition = self.request.headers.get("If-Range")
            part = byte_range(asked, size) if asked and condition in (None, tag) else None
            start_at, end = part or (0, size)
            self.body_headers("application/octet-stream", base_name(clean(path)))
            self.set_header("Accept-Ranges", "bytes")
            self.set_header("ETag", tag)
            if 0 <= entry.mtime_ns < 1 << 68:
                seconds = min(entry.mtime_ns // 10**9, 253_402_300_799)
                self.set_header("Last-Modified", formatdate(seconds, usegmt=True))
            unchanged = self.request.headers.get("If-None-Match") == tag
            if unchanged or not body or (part is not None and start_at >= size):
                flow.stop()
                if unchanged:
                    self.set_status(304)
                    self.finish()
                    return
            if part is not None:
                if start_at >= size:
                    self.set_status(416)
                    self.set_header("Content-Range", f"bytes */{size}")
                    self.set_header("Content-Length", "0")
                    self.finish()
                    return
                self.set_status(206)
                self.set_header("Content-Range", f"bytes {start_at}-{end - 1}/{size}")
            self.set_header("Content-Length", str(end - start_at))
            if not body:
                self.finish()
                return
            self._opened = None
            flow.begin(FilePump(reader, tar, start_at, end, size))
            await self.send(flow)

    def _open(
        self, making: ExitStack, side: str, name: str, path: str
    ) -> tuple[ArchiveReader, TarReader, Entry]:
        """The archive of the file, read up to its content; links are followed in the container."""
        guarded, ident, inner = making.enter_context(
            self.place(self.guarded(), side, name, clean(path))
        )
        reach = Reach.of(guarded, guarded.container(ident))
        inner = clean(inner)
        user = ROOT_USER if reach.is_live(inner) else None
        stat = guarded.stat(ident, inner, user=user)
        if stat.kind is Kind.SYMLINK and stat.link_target:
            inner = clean(stat.link_target)
            user = ROOT_USER if reach.is_live(inner) else None
            stat = guarded.stat(ident, inner, user=user)
        if stat.kind is Kind.DIRECTORY:
            raise IsADirectory(f"{path} is a directory", hint="use `entries` or `archive`")
        if stat.kind is not Kind.FILE:
            raise Conflict(f"{path} is a {stat.kind.value}, not a file")
        reader = guarded.open_archive(ident, inner, live=user is not None)
        try:
            tar = TarReader(reader)
            for entry in tar:
                if entry.kind is not Kind.FILE:
                    raise Conflict(f"{path} is not a file any more")
                return reader, tar, entry
            raise CutStream(f"unexpected EOF: the archive of {path} is empty")
        except BaseException:
            reader.close()
            raise

    async def put(self, side: str, name: str) -> None:
        """Put the body at the path; 201 if nothing was there."""
        upload = await self.received()
        path = self.path()
        exclusive = self.request.headers.get("If-None-Match", "").strip() == "*"

        def place() -> Report:
            journal = Journal()
            try:
                return Copier(self.guarded(), journal=journal).put_file(
                    self.endpoint(side, name, path),
                    upload.fd,
                    upload.size,
                    exclusive=exclusive,
                    safe=True,
                )
            finally:
                journal.close()

        report = await self.service.bridge.in_stream(place)
        self.service.audit.line(
            "upload",
            user=self.volcopy_user().name,
            destination=f"{side}/{name}:{path}",
            files=1,
            bytes=upload.size,
        )
        self.reply(report.to_dict(), 201 if report.created else 200)


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a `Range` header (RFC 9110, section 14).

    Args:
        text: the header.
        size: of the file.

    Returns:
        None where it is to be passed over: not understood, or several ranges. A first byte at or
        beyond `size` cannot be satisfied.
    """
    unit, _, ranges = text.partition("=")
    first, dash, last = ranges.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in ranges:
        return None
    if not all(not part or (part.isascii() and part.isdigit()) for part in (first, last)):
        return None
    if len(first) > 18 or len(last) > 18:
        return None
    if not first:
        if not last:
            return None
        return (max(0, size - int(last)), size) if int(last) and size else (size, size)
    start, end = int(first), int(last) + 1 if last else size
    if last and end <= start:
        return None
    return start, min(end, size)


def disposition(name: str) -> str:
    """`Content-Disposition` of a download (RFC 6266): no line breaks, no quotes, any language."""
    shown = show(name)
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\/%' else "_" for c in shown
    )
    try:
        raw = encode(name)
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raw = shown.encode("utf-8")
    return (
        f"attachment; filename=\"{plain[:200] or 'file'}\"; filename*=UTF-8''{quote(raw, safe='')}"
    )
