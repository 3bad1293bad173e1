"""A local source as the entries of an archive.

The tree is walked twice: `look` before anything is sent, for what stands in the way (links that
leave the tree, files that cannot be read) and the totals; `outgoing` while it is sent. Nothing is
remembered in between but what must be: a million files take no more memory than ten. Files are
opened by descriptor below the tree (safety S21) and their size is that of the open file; a
file that shrinks while it is sent never gets its final name.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits

from jupyter_volcopy.core.localfs import Tree, TreeEntry
from jupyter_volcopy.core.members import bad_link
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import base_name
from jupyter_volcopy.core.plan import Placement, leaves
from jupyter_volcopy.core.push import Item
from jupyter_volcopy.core.record import State, Value, each
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.errors import VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Look", "Outgoing", "OutgoingOptions"]

CAPABILITY = "security.capability"
SECOND = 1_000_000_000
_PLAIN = (Kind.FILE, Kind.DIRECTORY)


class OutgoingOptions(Value):
    """What is sent and how (see `CopyOptions`).

    Attributes:
        owner: uid and gid of everything, or None to keep the numbers.
        safe: no set-id bits, devices, pipes, capabilities.
        keep_links, skip_bad_links: see `CopyOptions`.
        far_links: asked at the first link that leaves the tree: whether the engine takes such.
        wants: called with the path below the top, kind, size and mtime; a text says why not.
        inconsistent: a file that changed while it was sent still gets its name.
        leave: called with what would be sent and a function that hashes its content; a note says
            why not (what stands at the destination already).
        before: what is sent before an entry of that name (a backup of what it replaces).
    """

    owner: tuple[int, int] | None = None
    safe: bool = False
    keep_links: bool = False
    skip_bad_links: bool = False
    far_links: Callable[[], bool] | None = None
    wants: Callable[[str, Kind, int, int], str | None] | None = None
    inconsistent: bool = False
    leave: Callable[[Entry, Callable[[], bytes]], Note | None] | None = None
    before: Callable[[str], Iterator[Item]] | None = None


class Look(State):
    """What a first walk found.

    Attributes:
        files, entries, bytes: totals of what will be sent; hard links to one file count once.
        largest: bytes of the largest file.
        has_files: whether anything needs staging.
        top: the kind of the source itself.
        failed: what cannot be read, by name.
    """

    files: int = 0
    entries: int = 0
    bytes: int = 0
    largest: int = 0
    failed: list[Note] = each(factory=list)

    @property
    def has_files(self) -> bool:
        """Whether anything needs a hidden name."""
        return self.files > 0


class Outgoing:
    """One local source on its way into a container.

    Args:
        tree: the directory it is, or lies in.
        rel: its path in the tree ("" is the tree itself).
        placement: where it lands.
        options: see `OutgoingOptions`.

    Attributes:
        skipped, warnings, failed: said in the report.
        sent: final paths of regular files with their sizes, for a look afterwards (single files).
    """

    def __init__(
        self, tree: Tree, rel: str, placement: Placement, options: OutgoingOptions
    ) -> None:
        self._tree = tree
        self._rel = rel
        self._placement = placement
        self._options = options
        self.skipped: list[Note] = []
        self.warnings: list[Note] = []
        self.failed: list[Note] = []
        self.files = 0
        self.bytes = 0
        self._unread: set[str] = set()  # named in `failed`

    # -- before anything is sent

    def look(self) -> Look:
        """Walk once: totals, and what stands in the way.

        Raises:
            Conflict: a relative link leaves the tree, and the engine refuses it (rule R34).
        """
        found = Look()
        readable = os.geteuid() == 0
        linked: set[tuple[int, int]] = set()
        for item, _name in self._walk(quiet=True):
            if item.error is not None:
                found.failed.append(Note(item.rel, item.error.message, "unreadable"))
            found.entries += 1
            if item.kind is Kind.FILE and item.stat is not None:
                if item.stat.st_nlink > 1:
                    inode = (item.stat.st_dev, item.stat.st_ino)
                    if inode in linked:
                        continue
                    linked.add(inode)
                found.files += 1
                found.bytes += item.stat.st_size
                found.largest = max(found.largest, item.stat.st_size)
                if not readable and not self._readable(item.rel):
                    found.failed.append(Note(item.rel, "permission denied", "unreadable"))
        return found

    def _readable(self, rel: str) -> bool:
        try:
            os.close(self._tree.open_file(rel))
        except VolcopyError:
            return False
        return True

    def names(self, *, quiet: bool = True) -> Iterator[tuple[str, Kind]]:
        """Every name that will be sent, relative to the placement's directory, and its kind.

        Args:
            quiet: say nothing of what is left out.
        """
        for item, name in self._walk(quiet=quiet):
            if item.stat is not None and name:
                yield name, item.kind

    # -- while it is sent

    def items(self, part: Callable[[str], bool] | None = None) -> Iterator[Item]:
        """The entries, parents first, names relative to the placement's directory.

        Args:
            part: which names to send (a mount's own files); None: all.
        """
        links: dict[tuple[int, int], str] = {}
        options, unread = self._options, self._unread
        for found, name in self._walk(quiet=False, part=part):
            info = found.stat
            if found.error is not None and found.rel not in unread:
                unread.add(found.rel)
                self.failed.append(
                    Note(found.rel or self._placement.name, found.error.message, "vanished")
                )
            if found.error is not None and found.kind is not Kind.DIRECTORY:
                continue
            if part is not None and not part(name):
                continue
            if info is None or not name:
                continue
            uid, gid = options.owner or (info.st_uid, info.st_gid)
            entry = Entry(
                name,
                found.kind,
                stat_bits.S_IMODE(info.st_mode),
                uid,
                gid,
                0,
                max(0, info.st_mtime_ns // SECOND) * SECOND,
            )
            if options.safe:
                entry.mode &= 0o1777 if found.kind is Kind.DIRECTORY else 0o777
            if found.kind is Kind.DIRECTORY:
                yield Item(entry)
                continue
            if options.before is not None:
                yield from options.before(name)
            if info.st_nlink > 1:
                first = links.setdefault((info.st_dev, info.st_ino), name)
                if first != name:
                    entry.kind, entry.link = Kind.HARDLINK, first
                    yield Item(entry)
                    continue
            if found.kind is Kind.SYMLINK:
                entry.link = found.link
                yield Item(entry)
            elif found.kind is Kind.FILE:
                item = self._file(found, entry)
                if item is None:
                    links.pop((info.st_dev, info.st_ino), None)
                else:
                    failed = len(self.failed)
                    yield item
                    if len(self.failed) > failed:  # it got no name: its other names are no links
                        links.pop((info.st_dev, info.st_ino), None)
            else:
                if found.kind in (Kind.CHARACTER, Kind.BLOCK):
                    entry.major, entry.minor = os.major(info.st_rdev), os.minor(info.st_rdev)
                yield Item(entry)

    def _file(self, found: TreeEntry, entry: Entry) -> Item | None:
        """The item of a regular file; None (and named) where it cannot be opened any more."""
        rel = found.rel or self._placement.name
        try:
            fd, before = self._tree.open_entry(found)
        except VolcopyError as error:
            self.failed.append(Note(rel, error.message, "unreadable"))
            return None
        entry.size = before.st_size
        entry.mtime_ns = max(0, before.st_mtime_ns // SECOND) * SECOND
        if not self._options.safe:
            try:
                # the list first: a look for what is not there costs four times as much
                if CAPABILITY in os.listxattr(fd):
                    entry.xattrs[CAPABILITY] = os.getxattr(fd, CAPABILITY)
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                    os.close(fd)
                    self.failed.append(Note(rel, f"{error.strerror}".lower(), "unreadable"))
                    return None

        def sent(whole: bool) -> bool:
            try:
                after = os.fstat(fd)
            except OSError as error:
                self.failed.append(Note(rel, f"{error.strerror}".lower(), "unreadable"))
                return False
            if not whole:
                text = "became shorter while it was read, or the disk fails (unexpected EOF)"
                self.failed.append(Note(rel, text, "changed"))
                return False
            changed = after.st_mtime_ns != before.st_mtime_ns
            if changed and after.st_size > before.st_size:
                self.warnings.append(
                    Note(
                        rel,
                        f"grew while it was read; its first {entry.size} bytes were copied",
                        "grew",
                    )
                )
            elif changed and not self._options.inconsistent:
                self.failed.append(Note(rel, "changed while it was read", "changed"))
                return False
            self.files += 1
            self.bytes += entry.size
            return True

        return Item(entry, lambda: (fd, 0), sent)

    # -- both

    def _walk(
        self, *, quiet: bool, part: Callable[[str], bool] | None = None
    ) -> Iterator[tuple[TreeEntry, str]]:
        """The tree's entries that will be sent, with their names at the destination.

        Args:
            quiet: say nothing of what is left out (the other walk does).
            part: say only what is left out among these names.
        """
        options = self._options
        placement = self._placement
        strip = len(self._rel) + 1 if self._rel else 0
        left_out = ""
        start = placement.name + "/" if placement.name else ""
        plain = options.wants is None and options.leave is None
        for item in self._tree.walk(self._rel):
            rel = item.rel[strip:] if item.rel != self._rel else ""
            name = start + rel if rel else placement.name
            if plain and item.kind in _PLAIN:  # nothing is asked of it
                yield item, name
                continue
            if left_out and rel.startswith(left_out):
                continue
            info = item.stat
            silent = quiet or (part is not None and not part(name))
            asked = rel or (
                base_name(item.rel) if item.rel and item.kind is not Kind.DIRECTORY else ""
            )
            if info is not None and asked and options.wants is not None:
                why = options.wants(asked, item.kind, info.st_size, info.st_mtime_ns)
                if why is not None:
                    if item.kind is Kind.DIRECTORY:
                        left_out = rel + "/"
                    if not silent:
                        self.skipped.append(Note(asked, why, "filtered"))
                    continue
            note = self._refuse(item, name, silent)
            if note is not None:
                continue
            if info is not None and name and options.leave is not None:
                rel = item.rel
                facts = self._facts(item, name, info)
                note = options.leave(facts, lambda rel=rel: self.digest(rel))  # type: ignore[misc]
                if note is not None:
                    if not silent:
                        self.skipped.append(note)
                    continue
            yield item, name

    def _facts(self, item: TreeEntry, name: str, info: os.stat_result) -> Entry:
        mode, when = stat_bits.S_IMODE(info.st_mode), info.st_mtime_ns
        size = info.st_size if item.kind is Kind.FILE else 0
        return Entry(name, item.kind, mode, info.st_uid, info.st_gid, size, when, item.link)

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is sent, by name; of several hard links the first has them."""
        found: dict[str, int] = {}
        linked: set[tuple[int, int]] = set()
        for item, name in self._walk(quiet=True):
            if item.kind is Kind.FILE and item.stat is not None:
                inode = (item.stat.st_dev, item.stat.st_ino)
                found[name] = 0 if inode in linked else item.stat.st_size
                if item.stat.st_nlink > 1:
                    linked.add(inode)
        return found

    def digest(self, rel: str) -> bytes:
        """SHA-256 of a file of the tree; empty where it cannot be read (any more)."""
        from jupyter_volcopy.core.again import file_digest

        try:
            fd = self._tree.open_file(rel)
        except VolcopyError:
            return b""
        try:
            return file_digest(fd)
        finally:
            os.close(fd)

    def digests(self) -> Iterator[tuple[str, bytes]]:
        """Name at the destination and SHA-256 of every file that is sent."""
        for item, name in self._walk(quiet=True):
            if item.kind is Kind.FILE and item.stat is not None:
                yield name, self.digest(item.rel)

    def _refuse(self, item: TreeEntry, name: str, quiet: bool) -> Note | None:
        """Why an entry is left out, said once; None where it is sent."""
        options = self._options
        shown = item.rel or self._placement.name
        note: Note | None = None
        if item.stat is None:
            return None
        if item.kind is Kind.SOCKET:
            note = Note(shown, "a socket: sockets cannot be copied", "socket")
            if not quiet:
                self.warnings.append(note)
        elif options.safe and item.kind in (Kind.CHARACTER, Kind.BLOCK, Kind.FIFO):
            note = Note(shown, f"a {item.kind.value}: left out (--safe)", "special")
            if not quiet:
                self.warnings.append(note)
        elif (
            item.kind is Kind.SYMLINK
            and not options.keep_links
            and not item.link.startswith("/")
            and leaves(self._placement.directory, name, item.link)
        ):
            if not options.skip_bad_links:
                if options.far_links is not None and options.far_links():
                    return None
                raise bad_link(shown, item.link)
            note = Note(shown, f"left out: the link to {item.link} leaves the tree", "bad-link")
            if not quiet:
                self.warnings.append(note)
        return note
