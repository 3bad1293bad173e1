"""Volumes as wholes: out to a tar, in from one, one into another, emptied.

A volume is reached through a helper of ours (`docker_volume`), so it is the volume's own files and
nothing else, with their owners, and the owner and mode of its root. Everything that was written is
read a second time and compared. A volume made here exists afterwards only if all of it arrived.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

from jupyter_volcopy.core.compressed import HEAD, unpacked
from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Kind, Record
from jupyter_volcopy.core.paths import clean, join, query
from jupyter_volcopy.core.record import State, each
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.transfer_held import Held, compare, fill, write_all
from jupyter_volcopy.errors import (
    Conflict,
    CutStream,
    DestinationExists,
    NoSuchVolume,
    NotFound,
    VolcopyError,
)

__all__ = [
    "Moved",
    "Named",
    "check_inside",
    "clone_volume",
    "exists",
    "export_volume",
    "import_volume",
    "is_empty",
    "nested",
    "users",
]

_PIECE = 1 << 20


class Moved(Record, State):
    """What an operation on whole volumes did.

    Attributes:
        entries, files, bytes: what was moved.
        verified: files whose contents were compared.
        created: a volume was made for it.
        warnings: worth knowing.
    """

    source: str
    destination: str
    entries: int = 0
    files: int = 0
    bytes: int = 0
    verified: int = 0
    created: bool = False
    warnings: list[Note] = each(factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        out = Record.to_dict(self)
        out["warnings"] = [note.to_dict() for note in self.warnings]
        return out


def exists(engine: Engine, name: str) -> bool:
    """Whether there is a volume of exactly this name; nothing is made."""
    if not name or "/" in name or name in (".", ".."):
        return False
    try:
        found = engine.json("GET", f"/volumes/{query(name)}")
    except NotFound:
        return False
    return isinstance(found, dict) and found.get("Name") == name


def users(engine: Engine, name: str) -> list[str]:
    """Names of the containers that mount it, running ones first."""
    found = [
        one
        for one in engine.containers()
        if not one.is_helper and any(mount.name == name for mount in one.mounts)
    ]
    return [one.name for one in sorted(found, key=lambda one: (not one.running, one.name))]


def is_empty(engine: Engine, place: tuple[str, str]) -> bool:
    """Whether a directory holds nothing."""
    return not engine.list_dir(place[0], place[1]).entries


def check_inside(engine: Engine, container: str, root: str, path: str, typed: str) -> None:
    """Refuse a path in a volume one of whose directories is a link out of the volume.

    Followed, it would lead into the helper, and what is written there would be gone with it.

    Args:
        engine: where the helper is.
        container: the helper.
        root: where it mounts the volume.
        path: in the volume, absolute.
        typed: for messages.

    Raises:
        Conflict: naming the link.
    """
    parts = clean(path).split("/")[1:]
    if path.endswith("/") and path != "/":
        parts.append("")
    at = root
    for part in parts[:-1]:
        at = join(at, part)
        try:
            found = engine.stat(container, at)
        except NotFound:
            return  # what asks for it will say so
        if found.kind is Kind.SYMLINK and not (found.link_target + "/").startswith(root + "/"):
            raise Conflict(
                f"{typed}: {at[len(root) :]} is a link to {found.link_target}, "
                "outside of the volume",
                hint="name a container that mounts it: what is there is that one's",
            )


def nested(engine: Engine, name: str, path: str = "/") -> list[Note]:
    """Directories of a volume at which a container mounts something else (case O22).

    What is seen there in that container is not in this volume, so a copy of it is not all.

    Args:
        engine: where it is.
        name: of the volume.
        path: in the volume; only what lies below it matters.
    """
    wanted = clean(path)
    found: dict[str, Note] = {}
    for one in engine.containers():
        targets = [clean(mount.target) for mount in one.mounts if mount.name == name]
        for target in targets:
            prefix = target.rstrip("/") + "/"
            for mount in one.mounts:
                other = clean(mount.target)
                if not other.startswith(prefix):
                    continue
                inside = "/" + other[len(prefix) :]
                if wanted != "/" and not (inside + "/").startswith(wanted + "/"):
                    continue
                if mount.name:
                    what = f"another volume, {mount.name}"
                else:
                    what = f"a mount of type {mount.type}" + (
                        f", {mount.source}" if mount.source else ""
                    )
                text = f"is {what} in {one.name} (at {other}): not part of volume {name}"
                found.setdefault(inside, Note(inside, text, "nested"))
    return [found[inside] for inside in sorted(found)]


def export_volume(
    engine: Engine,
    name: str,
    write: Callable[[memoryview], object],
    *,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> Moved:
    """A volume as a plain tar, names below `./`, owners kept.

    Args:
        engine: where it is.
        name: of the volume.
        write: takes the archive, piece by piece.
        meter, cancel: see `control`.

    Raises:
        NoSuchVolume: nothing is made.
        CutStream: the archive ended early; what was written is not complete.
    """
    meter, cancel = meter or Meter(), cancel or Cancel()
    done = Moved(f"volume={name}", "-")
    with engine.volume(name) as (container, path):
        held = Held.of(engine.open_archive(container, path + "/."), cancel)
    with held:
        for entry, _, _ in held.walk():
            done.entries += 1
            done.files += entry.kind is Kind.FILE
            done.bytes += entry.size
        held.file.seek(0)
        meter.bytes_total = done.bytes
        while piece := held.file.read(_PIECE):
            cancel.check()
            write(memoryview(piece))
            meter.bytes += len(piece)
    done.warnings = nested(engine, name)
    return done


def import_volume(
    engine: Engine,
    stream: BinaryIO,
    name: str,
    *,
    create: bool = False,
    journal: Journal | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> Moved:
    """A tar (plain, or packed with gzip, bzip2 or xz) into a volume, owners kept.

    Args:
        engine: where it is.
        stream: the archive; names below `./` or plain.
        name: of the volume. Files in it that the archive has, too, are replaced.
        create: make the volume if there is none.
        journal, meter, cancel: as everywhere.

    Raises:
        NoSuchVolume: there is none, and it was not to be made.
        UnsafeEntry, CutStream: it is no sound tar; the volume is as it was.
        PartialWrite: read again, something differs.
    """
    cancel = cancel or Cancel()
    if not create and not exists(engine, name):
        raise NoSuchVolume(f"No such volume: {name}", hint="--create makes it", volume=name)
    make = create and not exists(engine, name)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the archive
    with Held(file, lenient=True) as held:
        _take(stream, file, cancel)
        wanted = held.facts()
        if not wanted:
            raise CutStream("unexpected EOF: the archive is empty")
        done = Moved("-", f"volume={name}", len(wanted), created=make)
        _count(done, held)
        with engine.volume(name, create=True) if make else engine.volume(name) as place:
            fill(engine, place, held, journal=journal or Journal(), meter=meter, cancel=cancel)
            done.verified = compare(engine, place, wanted, what=f"volume {name}", cancel=cancel)
    return done


def clone_volume(
    engine: Engine,
    source: str,
    target: str,
    *,
    journal: Journal | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> Moved:
    """A copy of a volume under a new name; an empty volume of that name will do, too.

    Raises:
        NoSuchVolume: no volume `source`; nothing is made.
        DestinationExists: `target` has something in it.
        PartialWrite: read again, something differs; a volume made for it is removed.
    """
    cancel, journal = cancel or Cancel(), journal or Journal()
    if source == target:
        raise DestinationExists(f"volume {target} would be copied onto itself")
    with engine.volume(source) as (container, path):
        held = Held.of(engine.open_archive(container, path + "/."), cancel)
    make = not exists(engine, target)
    done = Moved(f"volume={source}", f"volume={target}", created=make)
    with held:
        wanted = held.facts()
        done.entries = len(wanted)
        _count(done, held)
        with engine.volume(target, create=True) if make else engine.volume(target) as place:
            if not make and not is_empty(engine, place):
                raise DestinationExists(
                    f"volume {target} is not empty",
                    hint=f"choose another name, or `volcopy volume empty {target}` first",
                )
            fill(engine, place, held, journal=journal, meter=meter, cancel=cancel)
            done.verified = compare(engine, place, wanted, what=f"volume {target}", cancel=cancel)
    done.warnings = nested(engine, source)
    return done


class Named:
    """While this is entered, errors name a volume instead of the helper it is reached through.

    Args:
        helper: name of the container.
        root: where the volume is mounted in it.
        volume: its name.
    """

    def __init__(self, helper: str, root: str, volume: str) -> None:
        self._said = (
            (f"in container {helper}", f"in volume {volume}"),
            (f"{helper}:{root}", f"volume={volume}:"),
            (f" {root}/", " /"),
            (f'"{root}/', '"/'),
        )
        self._helper = helper

    def __enter__(self) -> Named:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, VolcopyError):
            return
        for old, new in self._said:
            error.message = error.message.replace(old, new)
            error.hint = error.hint.replace(old, new)
        if error.context.get("container") == self._helper:
            del error.context["container"]


def _count(done: Moved, held: Held) -> None:
    for entry, _, _ in held.walk():
        if entry.kind is Kind.FILE:
            done.files += 1
            done.bytes += entry.size


def _take(stream: BinaryIO, file: Any, cancel: Cancel) -> None:
    """All of `stream` into `file`, unpacked: the engine is only ever sent plain tar."""
    head = b""
    while len(head) < HEAD and (piece := stream.read(HEAD - len(head))):
        head += piece
    for plain in unpacked(head, iter(lambda: stream.read(_PIECE) or b"", b"")):
        cancel.check()
        write_all(file.fileno(), plain)
