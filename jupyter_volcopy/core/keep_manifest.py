"""What lies beside rescued data: every path with owner, mode, time and sha256.

A rescue is a directory, a tar or a volume that holds::

    data/PATH/IN/THE/CONTAINER     the files, as far as the place can hold them
    manifest.json                  what they are; written last, so a rescue without it is none

The manifest is the truth: data on a host disk may have lost owners, and never has set-id bits,
devices or pipes. `entries` is what would have been lost; `parents` are the directories above it,
which are needed only where they do not exist.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from jupyter_volcopy.core.model import Entry, Kind, path_fields, when
from jupyter_volcopy.core.paths import clean, decode
from jupyter_volcopy.core.record import State, each
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.errors import SourceChanged

__all__ = ["DATA", "MANIFEST", "Manifest", "Saved"]

MANIFEST = "manifest.json"
DATA = "data"
_FORMAT = "jupyter-volcopy rescue 1"
_MAX_MTIME = 1 << 40


class Saved(State):
    """One path of a rescue.

    Attributes:
        path: absolute, in the container.
        kind: what it is.
        size: bytes of content; of a hard link those of the file.
        mode: 0o7777 bits as they were.
        mtime: whole seconds since 1970.
        sha256: of the content of a file or hard link, else "".
        link: of a symlink its text, of a hard link the path of the other name.
        volume: the volume it was in, or "".
        xattrs: extended attributes (capabilities).
        left_out: why it is recorded only and has no data here, or "".
    """

    path: str
    kind: Kind
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    sha256: str = ""
    link: str = ""
    volume: str = ""
    xattrs: dict[str, bytes] = each(factory=dict)
    left_out: str = ""

    @classmethod
    def of(cls, path: str, entry: Entry, *, volume: str = "") -> Saved:
        """What an archive says of one path."""
        return cls(
            path,
            entry.kind,
            entry.size,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime_ns // 1_000_000_000,
            link=entry.link if entry.kind is Kind.SYMLINK else "",
            volume=volume,
            xattrs=dict(entry.xattrs),
        )

    @property
    def has_content(self) -> bool:
        """Whether there are bytes to it."""
        return self.kind in (Kind.FILE, Kind.HARDLINK) and not self.left_out

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        out: dict[str, Any] = {
            **path_fields("path", self.path),
            "kind": self.kind.value,
            "bytes": self.size,
            "mode": f"{self.mode:04o}",
            "uid": self.uid,
            "gid": self.gid,
            "modified": when(self.mtime),
            "mtime": self.mtime,
            "sha256": self.sha256 or None,
        }
        if self.link:
            out.update(path_fields("link", self.link))
        if self.volume:
            out["volume"] = self.volume
        if self.xattrs:
            out["xattrs"] = {
                name: base64.b64encode(value).decode("ascii") for name, value in self.xattrs.items()
            }
        if self.left_out:
            out["left_out"] = self.left_out
        return out

    @classmethod
    def from_dict(cls, raw: Any) -> Saved:
        """Back from the manifest.

        Raises:
            ValueError, TypeError, KeyError: it is no such entry.
        """
        path = _path(raw, "path")
        if not path.startswith("/") or clean(path) != path or "\0" in path:
            raise ValueError(f"{path!r} is not a plain absolute path")
        saved = cls(
            path,
            Kind(raw["kind"]),
            int(raw["bytes"]),
            int(str(raw["mode"]), 8) & 0o7777,
            int(raw["uid"]),
            int(raw["gid"]),
            int(raw["mtime"]),
            str(raw["sha256"] or ""),
            _path(raw, "link") if "link" in raw else "",
            str(raw.get("volume") or ""),
            {
                str(name): base64.b64decode(value)
                for name, value in (raw.get("xattrs") or {}).items()
            },
            str(raw.get("left_out") or ""),
        )
        if min(saved.size, saved.uid, saved.gid) < 0 or abs(saved.mtime) > _MAX_MTIME:
            raise ValueError(f"numbers of {path!r}")
        return saved


def _path(raw: Any, key: str) -> str:
    if f"{key}_base64" in raw:
        return decode(base64.b64decode(raw[f"{key}_base64"], validate=True))
    return str(raw[key])


class Manifest(State):
    """All of it.

    Attributes:
        container, id, image: where it came from.
        how: the way of removal whose losses these are.
        made: RFC 3339 time in UTC.
        entries: what would be lost.
        parents: directories above it that would not be lost, or are no data.
        unknown: volumes of which it is not known whether that way loses them; not in here.
        missing: what would be lost but could not be read.
        deleted: paths of the image that were deleted in the container.
    """

    container: str
    id: str
    image: str
    how: str
    made: str
    entries: list[Saved] = each(factory=list)
    parents: list[Saved] = each(factory=list)
    unknown: list[dict[str, Any]] = each(factory=list)
    missing: list[Note] = each(factory=list)
    deleted: list[str] = each(factory=list)

    def encode(self) -> bytes:
        """The file's bytes: JSON, one line for each entry."""
        entries = [_line(saved.to_dict()) for saved in self.entries]
        parents = [_line(saved.to_dict()) for saved in self.parents]
        head = {
            "format": _FORMAT,
            "container": self.container,
            "id": self.id,
            "image": self.image,
            "how": self.how,
            "made": self.made,
            "complete": not self.missing,
            "unknown": self.unknown,
            "missing": [note.to_dict() for note in self.missing],
            "deleted": [path_fields("path", path) for path in self.deleted],
            "digest": _digest([*entries, *parents]),
        }
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        lines.append('"parents": [\n' + ",\n".join(parents) + "\n]")
        lines.append('"entries": [\n' + ",\n".join(entries) + "\n]")
        return ("{" + ",\n".join(lines) + "}\n").encode("ascii")

    @classmethod
    def decode(cls, data: bytes, where: str) -> Manifest:
        """Back from the file.

        Args:
            data: its bytes.
            where: how messages call it.

        Raises:
            SourceChanged: it is no manifest, or was changed.
        """
        try:
            raw = json.loads(data)
            if raw.get("format") != _FORMAT:
                raise ValueError(f"its format is {raw.get('format')!r}")
            lines = [_line(item) for item in [*raw["entries"], *raw["parents"]]]
            if raw.get("digest") != _digest(lines):
                raise ValueError("its entries were changed")
            return cls(
                str(raw["container"]),
                str(raw["id"]),
                str(raw["image"]),
                str(raw["how"]),
                str(raw["made"]),
                [Saved.from_dict(item) for item in raw["entries"]],
                [Saved.from_dict(item) for item in raw["parents"]],
                list(raw.get("unknown") or ()),
                [Note(item["path"], item["text"], item["code"]) for item in raw["missing"]],
                [_path(item, "path") for item in raw["deleted"]],
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SourceChanged(
                f"{where}: the manifest is damaged: {error}", hint="nothing was restored"
            ) from None


def _line(item: Any) -> str:
    return json.dumps(item, separators=(",", ":"), sort_keys=True)


def _digest(lines: Iterable[str]) -> str:
    digest = sha256()
    for line in lines:
        digest.update(line.encode("ascii") + b"\n")
    return digest.hexdigest()
