r"""Listing a directory of a container, for which the Docker API has no call.

In a running container a program lists: `find -printf` of GNU, NUL-separated; else busybox's `find`
with `stat -c`. Always a fixed argument list, never a shell. busybox cannot separate by NUL, but its
records can be told apart all the same: each starts with `//` on a new line, and no path that `find`
prints contains `//`. So tmpfs and mounts made inside are seen, as a process there sees them.

Everywhere else (no program, not running) the headers of the archive are read: the same fields, at
the price of reading the contents, so there can be a budget.

Who shows a page needs only the first entries (`most`), and in a large directory the rest is what
takes long: a program then lists the names alone, and looks at the first of them; an archive is read
only so far, since engines send a directory sorted by name.

A program of the container may lie: what it says is checked for form and used for showing only. A
whole tree is listed with the numbers of its owners where names are dear.
"""

from __future__ import annotations

import _thread
import stat as modes

from jupyter_volcopy.core.model import Kind, ListedEntry, Listing, Stat
from jupyter_volcopy.core.paths import base_name, clean, decode, encode, is_plain, join, parent
from jupyter_volcopy.errors import (
    AccessDenied,
    Conflict,
    EngineError,
    EngineStalled,
    EngineUnreachable,
    LimitExceeded,
    NoSuchPath,
    NotADirectory,
    NotFound,
    UnsafeEntry,
    VolcopyError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jupyter_volcopy.core.control import Cancel
    from jupyter_volcopy.core.docker_engine import DockerEngine
    from jupyter_volcopy.core.engine import ArchiveReader, Engine, ExecResult
    from jupyter_volcopy.core.execute import Program

__all__ = [
    "Beside",
    "can_list",
    "has_program",
    "list_beside",
    "list_by_archive",
    "list_directory",
    "stat_by_program",
    "with_names",
]

_GNU = r"%P\0%y\0%m\0%U\0%G\0%u\0%g\0%s\0%T@\0%l\0"
_BUSYBOX = "//{}%f %u %g {} %s %Y %n|%N"
_NAMES, _NUMBERS = "%U %G", "%u %g"  # busybox reads /etc/passwd anew for every name
_DIRECTORY, _OTHER, _ANY = "d", "o", "a"  # what `find` took it for, in front of each record
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # the engine's own default
_RACED = (b"No such file or directory", b"Not a directory", b"Too many levels of symbolic links")
_KILLED = 128  # an exit status above: by a signal
_USUAL = ("/usr/bin", "/bin")
_STARTS = 2.0  # seconds that a program may take to start
_LOOK = 0.2  # seconds between two looks at a cancel
_FEW = 5000  # up to so many entries a program is asked for one by one
_LARGE = 64 << 10  # bytes of a directory itself with more than a thousand or so entries
_ARGUMENTS = 512 << 10  # bytes of paths for one program
_TYPES = {
    "f": Kind.FILE,
    "d": Kind.DIRECTORY,
    "l": Kind.SYMLINK,
    "p": Kind.FIFO,
    "s": Kind.SOCKET,
    "b": Kind.BLOCK,
    "c": Kind.CHARACTER,
}
_FORMATS = {
    modes.S_IFREG: Kind.FILE,
    modes.S_IFDIR: Kind.DIRECTORY,
    modes.S_IFLNK: Kind.SYMLINK,
    modes.S_IFIFO: Kind.FIFO,
    modes.S_IFSOCK: Kind.SOCKET,
    modes.S_IFBLK: Kind.BLOCK,
    modes.S_IFCHR: Kind.CHARACTER,
}


def list_directory(
    engine: DockerEngine,
    container: str,
    path: str,
    *,
    recursive: bool,
    user: str | None,
    budget: int | None,
    most: int | None = None,
) -> Listing:
    """The entries of a directory, by the first way that works; see `Engine.list_dir`."""
    path = clean(path)
    most = None if recursive else most
    found = engine.container(container)
    if found.running:
        try:
            listing = None
            if most is not None and most <= _FEW:
                listing = _first_by_program(engine, found.id, path, user, most)
            if listing is None:
                listing = _by_program(engine, found.id, path, recursive, user)
        except Conflict:
            if user is not None:
                raise
            listing = None  # it stopped, or restarts, since it was asked about
        except (EngineError, UnsafeEntry):
            now = engine.container(found.id)
            if user is not None or (now.pid, now.started) == (found.pid, found.started):
                raise
            listing = None  # it ended while it was listed: what the program said was cut
        if listing is not None:
            return listing
        if user is not None:
            raise EngineError(
                f"container {found.name} has no program that lists files as its user",
                hint="`find` is needed in the container",
            )
    elif user is not None:
        # Asked for the container's own words: "Container N is not running".
        engine.execute(found.id, ["true"], user=user)
    return list_by_archive(engine, found.id, path, recursive=recursive, budget=budget, most=most)


# --- by a program


def _by_program(
    engine: DockerEngine, container: str, path: str, recursive: bool, user: str | None
) -> Listing | None:
    """The listing, or None where no program of the container can make one."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return None  # JSON cannot carry the name to the program
    known = engine.listers.get(container)
    for way in _likely(engine, container) if known is None else (known,):
        if way == "none":
            return None
        result = engine.execute(container, _find(way, path, recursive), user=user)
        if not result.stdout and result.exit_code and known is None:
            if way == "gnu" and b"-printf" in result.stderr:
                continue  # busybox says that it does not know it: no need to ask again
            probe = engine.execute(container, _find(way, "/", False), user=user)
            if not probe.stdout:
                continue
        engine.listers[container] = way
        if result.exit_code > _KILLED:  # with the container, perhaps: what it said is cut
            return None
        if result.exit_code and not result.stdout:
            _explain(engine, container, path, user)
            return None
        return _told(way, path, result)
    engine.listers[container] = "none"
    return None


def _told(way: str, path: str, result: ExecResult) -> Listing:
    """What a program told of a directory."""
    raced = any(words in result.stderr for words in _RACED)
    if way == "gnu":
        entries = _parse_gnu(result.stdout, b"")
    else:
        entries, other = _parse_busybox(result.stdout, encode(join(path, ".")) + b"/")
        raced = raced or other
    entries.sort(key=lambda entry: encode(entry.name))
    return Listing(path, tuple(entries), complete=not result.exit_code, raced=raced)


class Beside:
    """A whole tree that is listed while its archive is read.

    A program that is to be started waits for an open archive (design E1), one that has been started
    runs on beside it (E12). Should it have to wait all the same, the listing is only later.

    Args:
        engine: whose container it is.
        container: 64-hex id.
        path: of the directory, plain.
        way: how its `find` is spoken to.
        program: the `find`, just started.
    """

    def __init__(
        self, engine: DockerEngine, container: str, path: str, way: str, program: Program
    ) -> None:
        self._engine = engine
        self._container = container
        self._path = path
        self._way = way
        self._program = program
        self._listing: Listing | None = None
        self._told: Callable[[Listing], None] | None = None
        self._over = _thread.allocate_lock()

    def begin(self, told: Callable[[Listing], None]) -> bool:
        """Listen to the program in a thread of its own; False where there can be none.

        Args:
            told: called in that thread with the listing, if there is one.
        """
        self._told = told
        self._over.acquire()
        try:
            _thread.start_new_thread(self._collect, ())
        except RuntimeError:
            self._over.release()
            self._program.close()
            return False
        return True

    def _collect(self) -> None:
        from jupyter_volcopy.core.execute import collect

        try:
            result = collect(self._program, "find")
            if result.exit_code <= _KILLED and (result.stdout or not result.exit_code):
                found = _told(self._way, self._path, result)
                self._engine.listers[self._container] = self._way
                if self._told is not None:
                    self._told(found)
                self._listing = found
        except BaseException:
            self._listing = None  # who waits for it asks again, and hears why it cannot be done
        finally:
            self._over.release()

    def abort(self) -> None:
        """End it soon, from any thread."""
        self._program.abort()

    def wait(self, cancel: Cancel | None = None) -> Listing | None:
        """The listing, once it is over; None where it has to be asked for again.

        Args:
            cancel: ends it.
        """
        while not self._over.acquire(timeout=_LOOK):
            if cancel is not None and cancel.asked:
                self.abort()
        self._over.release()
        return self._listing


def list_beside(engine: DockerEngine, container: str, path: str) -> Beside | None:
    """Start a program that lists a whole tree; None where `list_directory` is to be asked.

    Args:
        engine: whose container it is.
        container: id or exact name of a running one.
        path: of the directory.
    """
    known = engine.listers.get(container)
    ways = _likely(engine, container) if known is None else (known,)
    if not ways:
        engine.listers[container] = "none"  # `can_list` need not look again
    if not ways or ways[0] == "none":
        return None
    path = clean(path)
    try:
        program = engine.start_program(container, _find(ways[0], path, True))
    except VolcopyError:
        return None
    try:
        program.settle(_STARTS)
    except VolcopyError:
        program.close()
        return None
    if not program.started:
        return None
    return Beside(engine, container, path, ways[0], program)


def can_list(engine: DockerEngine, container: str) -> bool:
    """Whether a running container seems to have a program that lists."""
    known = engine.listers.get(container)
    return known != "none" if known is not None else bool(_likely(engine, container))


def has_program(engine: DockerEngine, container: str, name: str) -> Stat | None:
    """The program of that name, if it is where programs are; costs a hundredth of starting one."""
    env = engine.container(container).env
    path = [item[5:] for item in env if item.startswith("PATH=/")] or [_PATH]
    places = dict.fromkeys(item.rstrip("/") for item in path[-1].split(":") if item[:1] == "/")
    for directory in sorted(places, key=lambda place: place not in _USUAL):
        try:
            return engine.stat(container, f"{directory}/{name}")
        except (EngineUnreachable, EngineStalled):
            raise
        except (NotFound, EngineError):
            continue
    return None


def _likely(engine: DockerEngine, container: str) -> tuple[str, ...]:
    """The ways to try, the likeliest first."""
    found = has_program(engine, container, "find")
    if found is None:
        return ()
    return ("busybox", "gnu") if "busybox" in found.link_target else ("gnu", "busybox")


def _first_by_program(
    engine: DockerEngine, container: str, path: str, user: str | None, most: int
) -> Listing | None:
    """The first entries of a large directory, or None where the whole is to be listed as ever."""
    try:
        if engine.stat(container, join(path, ".")).size < _LARGE:
            return None
        if container not in engine.listers:
            _by_program(engine, container, "/", False, user)  # finds out which way it is
        way = engine.listers.get(container, "none")
        names = [] if way == "none" else _names(engine, container, path, user, way)
    except (EngineError, NotFound):
        return None  # memory, or a mount that only processes see; or nothing: others have the words
    if len(names) <= 2 * most:
        return None
    wanted = [join(path, "./") + name for name in names[:most]]
    if sum(map(len, wanted)) > _ARGUMENTS:
        return None
    result = engine.execute(container, _look(way, wanted), user=user)
    start = encode(join(path, ".")) + b"/"
    if way == "gnu":
        entries = _parse_gnu(result.stdout, start)
    else:
        entries, _ = _parse_busybox(result.stdout, start)
    entries.sort(key=lambda entry: encode(entry.name))
    return Listing(path, tuple(entries), more=True, total=len(names))


def _names(
    engine: DockerEngine, container: str, path: str, user: str | None, way: str
) -> list[str]:
    """The names in a directory, sorted by bytes; none where they cannot be told or asked for."""
    argv = ["find", join(path, "."), "-mindepth", "1", "-maxdepth", "1"]
    if way == "gnu":
        argv += ["-printf", r"%P\0"]
    else:
        argv += ["-print0"]
    result = engine.execute(container, argv, user=user)
    if result.exit_code or not result.stdout.endswith(b"\0"):
        return []
    start = b"" if way == "gnu" else encode(join(path, ".")) + b"/"
    raw = sorted(result.stdout[:-1].split(b"\0"))
    try:
        return [_name(one.removeprefix(start)).encode().decode() for one in raw]
    except UnicodeEncodeError:
        return []  # JSON cannot carry such a name to the program


def _look(way: str, paths: list[str]) -> list[str]:
    """The program that tells of some paths what `_find` tells of all."""
    if way == "gnu":
        return ["find", *paths, "-maxdepth", "0", "-printf", _GNU.replace("%P", "%p")]
    return ["stat", "-c", _BUSYBOX.format(_ANY, _NAMES), *paths]


def _find(way: str, path: str, recursive: bool) -> list[str]:
    argv = ["find", join(path, "."), "-mindepth", "1"]
    if not recursive:
        argv += ["-maxdepth", "1"]
    # the kernel's own trees are no files to anybody
    prune = ["(", "-path", "/./proc", "-o", "-path", "/./sys", ")", "-prune"]
    last = prune if recursive and path == "/" else []
    if way == "gnu":
        return [*argv, "-printf", _GNU, *last]
    # No brackets round these two: busybox forgets what is gathered (`+`) inside of brackets.
    owners = _NUMBERS if recursive else _NAMES
    mark, other = (
        ["-exec", "stat", "-c", _BUSYBOX.format(one, owners), "{}", "+"]
        for one in (_DIRECTORY, _OTHER)
    )
    return [*argv, "-type", "d", *mark, *last, "-o", "!", "-type", "d", *other]


def _explain(engine: DockerEngine, container: str, path: str, user: str | None) -> None:
    """Raise for a directory that could not be listed."""
    try:
        stat = stat_by_program(engine, container, join(path, ".") if path != "/" else "/", user)
    except NoSuchPath:
        stat = stat_by_program(engine, container, path, user)  # said by the name that was asked for
    if stat.kind is not Kind.DIRECTORY:
        raise NotADirectory(f"{path} is not a directory", container=container, path=path)
    raise AccessDenied(f"{path}: Permission denied", container=container, path=path)


def _garbage(problem: object = "") -> EngineError:
    return EngineError(f"the container's find answered something that is no listing {problem}")


def _name(raw: bytes) -> str:
    """A path below the listed directory, as it may be."""
    name = decode(raw)
    if not is_plain(name):
        raise UnsafeEntry(f"the container's find listed {name!r}")
    return name


def _parse_gnu(out: bytes, start: bytes) -> list[ListedEntry]:
    fields = out.split(b"\0")
    if fields.pop() or len(fields) % 10:
        raise _garbage()
    found = []
    try:
        for at in range(0, len(fields), 10):
            name, kind, mode, uid, gid, owner, group, size, mtime, link = fields[at : at + 10]
            seconds, _, fraction = mtime.partition(b".")
            whole = int(seconds) * 1_000_000_000
            part = int(fraction[:9].ljust(9, b"0"))
            found.append(
                ListedEntry(
                    _name(name.removeprefix(start)),
                    _TYPES.get(kind.decode(), Kind.FILE),
                    int(mode, 8) & 0o7777,
                    int(uid),
                    int(gid),
                    int(size),
                    whole - part if seconds.startswith(b"-") else whole + part,
                    decode(link),
                    "" if owner == uid else decode(owner),
                    "" if group == gid else decode(group),
                )
            )
    except ValueError as problem:
        raise _garbage(problem) from problem
    return found


def _parse_busybox(out: bytes, start: bytes) -> tuple[list[ListedEntry], bool]:
    """The entries, and whether one was something else when `find` came by than when it was told of.

    What is told is asked after the walk: a link that became a directory meanwhile would seem empty.
    """
    if not out:
        return [], False
    if not out.startswith(b"//") or not out.endswith(b"\n"):
        raise _garbage()
    found: list[ListedEntry] = []
    raced = False
    pending = b""
    for piece in out[2:-1].split(b"\n//"):
        record = pending + b"\n//" + piece if pending else piece
        mark, entry = record[:1].decode("latin-1"), _busybox_record(record[1:], start)
        # A link's target may hold the separator: then the record goes on.
        pending = b"" if entry else record
        if entry:
            found.append(entry)
            if mark != _ANY and (mark == _DIRECTORY) != (entry.kind is Kind.DIRECTORY):
                raced = True
    if pending:
        raise _garbage()
    return found, raced


def _busybox_record(record: bytes, start: bytes) -> ListedEntry | None:
    parts = record.split(b" ", 7)
    if len(parts) < 8:
        return None
    try:
        mode, uid, gid = int(parts[0], 16), int(parts[1]), int(parts[2])
        size, mtime = int(parts[5]), int(parts[6])
    except ValueError:
        return None
    kind = _FORMATS.get(modes.S_IFMT(mode), Kind.FILE)
    found = _busybox_names(parts[7], kind is Kind.SYMLINK)
    if found is None:
        return None
    name, target = found
    if not name.startswith(start):
        return None
    return ListedEntry(
        _name(name[len(start) :]),
        kind,
        mode & 0o7777,
        uid,
        gid,
        size,
        mtime * 1_000_000_000,
        decode(target),
        "" if parts[3] in (b"UNKNOWN", parts[1]) else decode(parts[3]),
        "" if parts[4] in (b"UNKNOWN", parts[2]) else decode(parts[4]),
    )


def _busybox_names(names: bytes, link: bool) -> tuple[bytes, bytes] | None:
    """Path and link target of `PATH|PATH -> TARGET`; newer busybox puts quotes round the latter."""
    for quote in (b"'", b"") if link else (b"", b"'"):
        extra = 1 + 2 * len(quote)
        if not link:
            name = names[: (len(names) - extra) // 2]
            if names == name + b"|" + quote + name + quote:
                return name, b""
            continue
        at = names.find(b"|")
        while at >= 0:
            name = names[:at]
            middle = b"|" + quote + name + quote + b" -> " + quote
            if names[at:].startswith(middle) and names.endswith(quote):
                return name, names[at + len(middle) : len(names) - len(quote)]
            at = names.find(b"|", at + 1)
    return None


def stat_by_program(engine: DockerEngine, container: str, path: str, user: str | None) -> Stat:
    """What stands at `path` as a process of `user` sees it (times in whole seconds).

    Raises:
        NoSuchPath: nothing there.
        AccessDenied: the user may not look there.
        Conflict: the container is not running.
        EngineError: it has no `stat`.
    """
    result = engine.execute(container, ["stat", "-c", "%f %u %g %s %Y", path], user=user)
    said = decode(result.stderr).strip()
    if result.exit_code in (126, 127):
        raise EngineError(
            f"no program in the container can look at {path}: {said}",
            hint="`stat` is needed in the container",
        )
    if result.exit_code:
        if "ermission denied" in said:
            raise AccessDenied(said, container=container, path=path)
        if "ot a directory" in said and path.endswith(("/", "/.")):
            raise NotADirectory(f"{path.rstrip('/.')} is not a directory: {said}", path=path)
        name = engine.container(container).name
        raise NoSuchPath(
            f"Could not find the file {path} in container {name}", container=name, path=path
        )
    try:
        mode_text, uid, gid, size, mtime = result.stdout.split()
        mode = int(mode_text, 16)
        numbers = int(uid), int(gid), int(size), int(mtime)
    except ValueError as problem:
        raise EngineError("the container's stat answered something unreadable") from problem
    kind = _FORMATS.get(modes.S_IFMT(mode), Kind.FILE)
    target = ""
    if kind is Kind.SYMLINK:
        link = engine.execute(container, ["readlink", "-f", path], user=user)
        target = decode(link.stdout[:-1] if link.stdout.endswith(b"\n") else link.stdout)
        if not target:  # dangling: the text itself, made absolute
            text = engine.execute(container, ["readlink", path], user=user).stdout
            target = decode(text[:-1] if text.endswith(b"\n") else text)
            target = clean(target if target.startswith("/") else join(parent(path), target))
    return Stat(
        base_name(clean(path)),
        kind,
        mode & 0o7777,
        numbers[2],
        numbers[3] * 1_000_000_000,
        target,
        numbers[0],
        numbers[1],
    )


# --- by the archive


class _Budgeted:
    """A byte source that ends with `LimitExceeded` once a budget is used up."""

    def __init__(self, archive: ArchiveReader, budget: int | None) -> None:
        self._archive = archive
        self._left = budget

    def readinto(self, buffer: memoryview) -> int:
        count = self._archive.readinto(buffer)
        if self._left is not None:
            self._left -= count
            if self._left < 0:
                raise LimitExceeded("the budget of a listing is used up")
        return count


def list_by_archive(
    engine: Engine,
    container: str,
    path: str,
    *,
    recursive: bool,
    budget: int | None,
    most: int | None = None,
) -> Listing:
    """The entries of a directory from the headers of its archive, in any state.

    Args:
        engine: to ask.
        container: id or exact name.
        path: absolute and clean.
        recursive: the whole tree.
        budget: bytes of archive to read at most; the listing is then not complete.
        most: read no further than the first so many, if they come sorted; not with `recursive`.

    Raises:
        NotADirectory, NoSuchPath, NoSuchContainer: as it says.
    """
    from jupyter_volcopy.core.tar_reader import TarReader

    stat, real = engine.stat(container, path), path
    if stat.kind is Kind.SYMLINK:
        real = stat.link_target
        stat = engine.stat(container, real)
    if stat.kind is not Kind.DIRECTORY:
        raise NotADirectory(f"{path} is not a directory", container=container, path=path)
    archive = engine.open_archive(container, join(real, "."))
    entries: list[ListedEntry] = []
    files: dict[str, tuple[int, int, int, int, int]] = {}
    complete, more, last = True, False, b""
    try:
        for item in TarReader(_Budgeted(archive, budget)):
            name = item.name[2:] if item.name.startswith("./") else item.name
            if name in (".", "", "/"):
                continue
            facts = (item.mode, item.uid, item.gid, item.size, item.mtime_ns)
            kind, link = item.kind, item.link
            if kind is Kind.FILE:
                files[name] = facts
            elif kind is Kind.HARDLINK:
                first = link[2:] if link.startswith("./") else link
                facts = files.get(first, facts)
                kind, link = Kind.FILE, ""
            if recursive or "/" not in name:
                raw = encode(name)
                if most is not None and raw < last:
                    most = None  # not sorted: any name may still come
                last = raw
                if most is not None and len(entries) == most:
                    more = True
                    break
                entries.append(ListedEntry(_name(raw), kind, *facts, link))
    except LimitExceeded:
        if budget is None:
            raise
        complete = False
    finally:
        archive.close()
    named = with_names(engine, container, entries)
    in_order = sorted(named, key=lambda entry: encode(entry.name))
    return Listing(path, tuple(in_order), complete, more)


def with_names(
    engine: Engine, container: str, entries: Iterable[ListedEntry]
) -> tuple[ListedEntry, ...]:
    """The entries with the names that the container has for their owners, where they have none."""
    from jupyter_volcopy.core.owners import read_owners

    owners = read_owners(engine, container)
    return tuple(
        ListedEntry(
            entry.name,
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            entry.mtime_ns,
            entry.link_target,
            entry.owner or owners.user(entry.uid),
            entry.group or owners.group(entry.gid),
        )
        for entry in entries
    )
