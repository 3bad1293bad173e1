"""Where a copy lands: the rules of `docker cp`, pure.

`place` is the whole decision. Its three questions are those of the reference (moby `pkg/archive`,
`PrepareArchiveCopy`): does the destination exist, is it a directory, is the source one. The answer
is a `Placement`: the directory to unpack in, and the name the source's top gets there. Rule numbers
are those of docs/docker-cp.md.
"""

from __future__ import annotations

from jupyter_volcopy.core.model import path_fields
from jupyter_volcopy.core.paths import base_name, clean, join, parent
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.errors import Conflict, NoSuchPath, NotADirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Landing", "Placement", "Plan", "Source", "Step", "leaves", "place"]


class Source(Value):
    """What is copied, as far as the rules care.

    Attributes:
        path: absolute, cleaned; links in its parents resolved where it is local.
        name: the name it brings along (with `-L` or a trailing `/` the link's own name).
        is_dir: it is a directory (after following, where that was asked).
        contents: spelled `dir/.` (or the root): its contents, no level of its own.
    """

    path: str
    name: str
    is_dir: bool
    contents: bool = False


class Landing(Value):
    """What stands at the destination.

    Attributes:
        path: absolute, cleaned, the last link followed (R32).
        exists, is_dir: after following.
        ends_as_dir: spelled with a trailing `/` or `/.`.
        ends_in_dot: spelled with a trailing `/.`: it must be there.
        owner: uid and gid of what is there, where they were told.
    """

    path: str
    exists: bool
    is_dir: bool
    ends_as_dir: bool = False
    ends_in_dot: bool = False
    owner: tuple[int, int] | None = None


class Placement(Value):
    """Where the source's top goes.

    Attributes:
        directory: existing directory in which it lands.
        name: its name there; "" where the contents go into `directory` itself.
    """

    directory: str
    name: str

    @property
    def path(self) -> str:
        """The final path of the top."""
        return join(self.directory, self.name) if self.name else self.directory


def place(source: Source, landing: Landing, typed: str) -> Placement:
    """Where `source` goes (rules R10 to R13).

    Args:
        source: what is copied.
        landing: what stands at the destination.
        typed: the destination as it was typed, for messages.

    Raises:
        NotADirectory: a file to a name that ends in `/` and is not there.
        Conflict: a directory onto a file.
    """
    if landing.exists and landing.is_dir:
        return Placement(landing.path, "" if source.contents else source.name)
    if landing.exists:
        if source.is_dir:
            raise Conflict(
                f"cannot copy directory {source.path!r} onto the file {typed!r}",
                hint="name a directory, or a name that is not there yet",
            )
        if landing.ends_as_dir:
            raise NotADirectory(f"not a directory: {typed!r}")
    elif landing.ends_in_dot:
        raise NoSuchPath(f"no such directory: {typed!r}: no such file or directory")
    elif landing.ends_as_dir and not source.is_dir:
        raise NotADirectory(
            f"no such directory: {typed!r}",
            hint="leave out the trailing / to make a file of that name, or use --parents",
        )
    return Placement(parent(landing.path), base_name(landing.path))


def leaves(extract_dir: str, name: str, link: str) -> bool:
    """Whether a relative link text leaves the extraction directory, by name (R34).

    The reference compares strings, so a neighbour whose name begins alike passes; so do absolute
    targets, which it looks up below the directory.
    """
    target = clean(join(join(extract_dir, name).rpartition("/")[0], link))
    return not target.startswith(clean(extract_dir))


class Step(Value):
    """One source of a plan, said for people and machines.

    Attributes:
        action: `create`, `replace`, `merge` (into an existing directory of its name), `contents`
            (into the destination itself), `skip`; for streams `pack` or `unpack`.
        files, bytes: what it holds, where known.
        lost: the destination is in the container's writable layer: gone with the container.
        needs, free: bytes needed and free at the destination, where known.
        creates, replaces: single paths, the first thousand of each.
        skips: single paths that will be left out, and why.
        notes: what is worth knowing, and what would make the copy fail (code `conflict`).
        nests: it lands inside an existing directory, under its own name.
        created, replaced: how many files.
    """

    source: str
    destination: str
    action: str
    files: int | None = None
    bytes: int | None = None
    free: int | None = None
    lost: bool = False
    creates: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    skips: tuple[Note, ...] = ()
    notes: tuple[Note, ...] = ()
    nests: bool = False
    created: int = 0
    replaced: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            **path_fields("source", self.source),
            **path_fields("destination", self.destination),
            "action": self.action,
            "files": self.files,
            "bytes": self.bytes,
            "free": self.free,
            "fits": self.fits,
            "lost_with_container": self.lost,
            "nests": self.nests,
            "created": self.created,
            "replaced": self.replaced,
            "creates": [path_fields("path", item) for item in self.creates],
            "replaces": [path_fields("path", item) for item in self.replaces],
            "skips": [item.to_dict() for item in self.skips],
            "notes": [item.to_dict() for item in self.notes],
        }

    @property
    def fits(self) -> bool | None:
        """Whether there is room; None where that is not known."""
        if self.bytes is None or self.free is None:
            return None
        return self.bytes <= self.free

    def lines(self) -> list[str]:
        """The step in words."""
        words = {
            "create": "will be created",
            "replace": "will be replaced",
            "merge": "is there already and will be merged: files of the same name are replaced, "
            "others stay",
            "contents": "gets the contents; files of the same name are replaced, others stay",
            "skip": "stays as it is",
        }
        if self.action == "unpack":
            lines = [f"{self.source} -> {self.destination}: unpacked there, merging with what is"]
        elif self.action == "pack":
            lines = [f"{self.source} -> {self.destination}: written out as a tar archive"]
        else:
            lines = [f"{self.source} -> {self.destination}: {words.get(self.action, self.action)}"]
        if self.nests:
            lines.append("  lands inside the existing directory, under its own name")
        if self.files is not None and self.bytes is not None:
            free = f", {self.free:,} bytes are free" if self.free is not None else ""
            lines.append(f"  {_files(self.files)}, {self.bytes:,} bytes{free}")
            if self.fits is False:
                lines.append("  does not fit: the copy would be refused")
            lines.append(f"  {_files(self.created)} created, {self.replaced} replaced")
        for word, paths, total in (
            ("creates", self.creates, self.created),
            ("replaces", self.replaces, self.replaced),
        ):
            lines += [f"  {word} {path}" for path in paths[:_SAID]]
            if total > _SAID:
                lines.append(f"  and {total - _SAID} more")
        lines += [f"  leaves out {note}" for note in self.skips[:_SAID]]
        if len(self.skips) > _SAID:
            lines.append(f"  and {len(self.skips) - _SAID} more")
        lines += [f"  {note}" for note in self.notes]
        if self.lost:
            lines.append(
                "  lies in the container's writable layer: lost when the container is removed"
            )
        return lines


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


_SAID = 20  # paths of a kind that are said to people


class Plan(Value):
    """What a copy would do; nothing has been changed."""

    direction: str
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "direction": self.direction,
            "ok": self.ok,
            "steps": [step.to_dict() for step in self.steps],
        }

    @property
    def ok(self) -> bool:
        """Whether nothing is known by which the copy would fail."""
        return all(
            step.fits is not False and not any(note.code == "conflict" for note in step.notes)
            for step in self.steps
        )

    def lines(self) -> list[str]:
        """The plan in words, one line for each thing to know."""
        return [line for step in self.steps for line in step.lines()]
