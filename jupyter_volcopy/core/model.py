"""The words of the core as frozen values.

Everything here can be shown to a machine: `to_dict()` is what REST sends and `--json` prints.
"""

from __future__ import annotations

from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.core.record import Fields, State, Value, Words, each, fields
from jupyter_volcopy.errors import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "HELPER_LABEL",
    "Change",
    "Container",
    "EngineInfo",
    "Entry",
    "Kind",
    "ListedEntry",
    "Listing",
    "Mount",
    "Record",
    "Stat",
    "Volume",
    "VolumeUse",
    "path_fields",
    "when",
]

HELPER_LABEL = "jupyter-volcopy.helper"
"""Label of containers of ours through which volumes are reached, and of their images."""


class Kind(str, Words):
    """What a name stands for."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"
    SOCKET = "socket"


def when(seconds: float) -> str:
    """A time as RFC 3339 in UTC, whole seconds; empty where no calendar holds it."""
    from datetime import datetime, timezone

    try:
        return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return ""


def path_fields(key: str, path: str) -> dict[str, str]:
    """A path for machines: escaped for display, and its bytes beside it where the two differ."""
    shown = show(path)
    if shown == path:
        return {key: path}
    import binascii

    raw = binascii.b2a_base64(encode(path), newline=False)
    return {key: shown, f"{key}_base64": raw.decode("ascii")}


class Record(Fields):
    """A base beside `Value` or `State`: `to_dict()` field by field, names escaped."""

    def to_dict(self) -> dict[str, Any]:
        """The value as JSON-able data."""
        return {name: _plain(getattr(self, name)) for name in fields(type(self))}


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Words):
        return value.value
    if isinstance(value, str):
        return show(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {show(str(key)): _plain(item) for key, item in value.items()}
    return value


class Stat(Record, Value):
    """What stands at one path, not followed.

    Attributes:
        name: the last component.
        kind: what it is (never `HARDLINK`).
        mode: permission bits with set-id and sticky (0o7777).
        size: bytes.
        mtime_ns: nanoseconds since 1970.
        link_target: of a link in a container: fully resolved and absolute there, as the engine says
            (Docker API, `X-Docker-Container-Path-Stat`); of a local link: its text.
        uid, gid: the owner, or None where the engine does not say.
    """

    name: str
    kind: Kind
    mode: int
    size: int
    mtime_ns: int
    link_target: str = ""
    uid: int | None = None
    gid: int | None = None

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory itself (a link to one is not)."""
        return self.kind is Kind.DIRECTORY


class Entry(State):
    """One member of an archive. Not frozen: it is made by the hundred thousand.

    Attributes:
        name: path in the archive, without a trailing slash.
        kind: what it is.
        mode: 0o7777 bits.
        size: bytes of content that follow (0 for everything but files).
        mtime_ns: nanoseconds since 1970, may be negative.
        link: target of a symlink (verbatim) or hard link (name in the archive).
        major, minor: of a device.
        xattrs: extended attributes, name to value.
        sparse: data runs `(offset, length)` of a sparse file, or None; `size` is then the real
            length of the file.
    """

    name: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = each(factory=dict)
    uname: str = ""
    gname: str = ""
    sparse: list[tuple[int, int]] | None = None

    def __init__(
        self,
        name: str,
        kind: Kind,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime_ns: int = 0,
        link: str = "",
        major: int = 0,
        minor: int = 0,
        xattrs: dict[str, bytes] | None = None,
        uname: str = "",
        gname: str = "",
        sparse: list[tuple[int, int]] | None = None,
    ) -> None:
        # by hand: three times as fast
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime_ns = mtime_ns
        self.link = link
        self.major = major
        self.minor = minor
        self.xattrs = {} if xattrs is None else xattrs
        self.uname = uname
        self.gname = gname
        self.sparse = sparse


class ListedEntry(Record, Value):
    """One line of a listing.

    Attributes:
        name: the name in the listed directory (or the path below it, in a tree).
        uid, gid, owner, group: numbers, and names where the container knows them (else "").
        link_target: verbatim text of a symlink.
    """

    name: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link_target: str = ""
    owner: str = ""
    group: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it; `name_base64`: bytes that cannot be shown."""
        return {
            **path_fields("name", self.name),
            "kind": self.kind.value,
            "mode": f"{self.mode:04o}",
            "uid": self.uid,
            "gid": self.gid,
            "owner": show(self.owner),
            "group": show(self.group),
            "size": self.size,
            "modified": when(self.mtime_ns // 1_000_000_000),
            **(path_fields("link_target", self.link_target) if self.link_target else {}),
        }


class Listing(Record, Value):
    """A directory's entries, sorted by bytes of name.

    Attributes:
        complete: False when a budget ended the listing early.
        more: there are more entries, and only the first were asked for.
        total: how many there are in all; None where that is not known.
        raced: something in it came or went under the hands of the program that listed it.
    """

    path: str
    entries: tuple[ListedEntry, ...]
    complete: bool = True
    more: bool = False
    total: int | None = None
    raced: bool = False


class Mount(Record, Value):
    """Something mounted in a container, as the engine's inspect says.

    Attributes:
        type: `bind`, `volume` or `tmpfs`.
        target: absolute path in the container.
        source: host path of a bind, else the volume's mountpoint, else "".
        name: the volume's name, else "".
        read_only: mounted without write permission.
        driver: the volume's driver, else "".
        options: the raw mode string (`z`, `nocopy`, `ro` ...), as inspect gives it.
    """

    type: str
    target: str
    source: str = ""
    name: str = ""
    read_only: bool = False
    driver: str = ""
    options: str = ""


class Container(Record, Value):
    """One container.

    Attributes:
        id: 64 hex digits: what every call of a transfer uses (safety S23).
        name: without the leading slash.
        state: `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        user: the configured user text (`""`, `1000`, `nb`, `1000:100`).
        env: environment as NAME=value. Empty in a list of all containers. Never in `to_dict()`.
        started: RFC 3339 time of the last start, as the engine gives it. Empty in a list.
        pid: process id of the first process on the engine's host; 0 when not running.
        read_only: the root file system is read-only.
        tmpfs: targets of `--tmpfs`, which inspect does not list among the mounts.
        runtime: facts of inspect for those who look deeper (`raw` inspect); empty in a list.
    """

    id: str
    name: str
    image: str
    state: str
    created: str = ""
    user: str = ""
    mounts: tuple[Mount, ...] = ()
    labels: dict[str, str] = each(factory=dict)
    env: tuple[str, ...] = ()
    started: str = ""
    pid: int = 0
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()
    raw: dict[str, Any] = each(factory=dict)

    @property
    def is_helper(self) -> bool:
        """Whether it is one of ours, created to reach a volume and gone in a moment."""
        return HELPER_LABEL in self.labels

    @property
    def running(self) -> bool:
        """Whether programs can be run in it now."""
        return self.state == "running"

    def to_dict(self) -> dict[str, Any]:
        """Without the environment and the raw inspect: they hold secrets."""
        return {
            name: _plain(getattr(self, name))
            for name in fields(Container)
            if name not in ("env", "raw", "pid")
        }


class VolumeUse(Record, Value):
    """One container that mounts a volume."""

    container: str
    state: str
    target: str
    read_only: bool = False


class Volume(Record, Value):
    """One volume.

    Attributes:
        anonymous: made without a name of its own (a 64-hex name alone is not proof; the label
            `com.docker.volume.anonymous` of newer engines is).
        used_by: containers that mount it, stopped ones too.
        size: bytes, where it was asked for.
    """

    name: str
    driver: str = "local"
    created: str = ""
    mountpoint: str = ""
    labels: dict[str, str] = each(factory=dict)
    options: dict[str, str] = each(factory=dict)
    anonymous: bool = False
    used_by: tuple[VolumeUse, ...] = ()
    size: int | None = None


class Change(Record, Value):
    """One line of the engine's diff of the writable layer: `kind` is `A`, `C` or `D`."""

    path: str
    kind: str


class EngineInfo(Record, Value):
    """What we know of the engine.

    Attributes:
        address: as configured, without secrets.
        local: the engine is proven to be on this machine (see `here`), so host paths mean the same.
    """

    version: str
    api_version: str
    address: str
    local: bool
    name: str = ""
    rootless: bool = False
    security: tuple[str, ...] = ()
    storage_driver: str = ""
