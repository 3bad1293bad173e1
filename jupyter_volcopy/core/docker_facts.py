"""The Docker API's JSON as values of `model`: no calls are made here.

What an engine sends is read with suspicion of the mild kind: a missing or null field becomes the
empty value, since engines of different age and kind (podman) leave out different ones.
"""

from __future__ import annotations

from jupyter_volcopy.core.json_text import parse
from jupyter_volcopy.core.model import (
    Change,
    Container,
    EngineInfo,
    Kind,
    Mount,
    Stat,
    Volume,
    VolumeUse,
    when,
)
from jupyter_volcopy.core.paths import base_name
from jupyter_volcopy.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = [
    "changes_from",
    "container_from_inspect",
    "container_from_list",
    "info_from",
    "stat_from_header",
    "volumes_from",
]


def stat_from_header(text: str, path: str) -> Stat:
    """The stat header of an archive answer (base64 of JSON, mode as Go's FileMode).

    Args:
        text: the header's value.
        path: what was asked for; its last component stands in for a name JSON could not carry.

    Raises:
        EngineError: it is not that.
    """
    import binascii

    try:
        raw = parse(binascii.a2b_base64(text).decode("utf-8", "replace"))
        mode, name = int(raw["mode"]), str(raw["name"])
        size, target = int(raw["size"]), str(raw.get("linkTarget") or "")
        mtime = _nanoseconds(str(raw["mtime"]))
    except (ValueError, TypeError, KeyError, binascii.Error) as problem:
        raise EngineError(f"the engine sent a stat nobody can read: {text[:80]!r}") from problem
    if "\ufffd" in name:
        name = base_name(path)
    return Stat(name, _kind(mode), _mode(mode), size, mtime, target)


def _kind(mode: int) -> Kind:
    """Kind of a Go FileMode (io/fs: the type bits stand at the top)."""
    if mode & 1 << 31:
        return Kind.DIRECTORY
    if mode & 1 << 27:
        return Kind.SYMLINK
    if mode & 1 << 26:
        return Kind.CHARACTER if mode & 1 << 21 else Kind.BLOCK
    if mode & 1 << 25:
        return Kind.FIFO
    if mode & 1 << 24:
        return Kind.SOCKET
    return Kind.FILE


def _mode(mode: int) -> int:
    return (
        (mode & 0o777)
        | (0o4000 if mode & 1 << 23 else 0)
        | (0o2000 if mode & 1 << 22 else 0)
        | (0o1000 if mode & 1 << 20 else 0)
    )


def _nanoseconds(text: str) -> int:
    """RFC 3339 with up to nine digits of a second, as Go prints it, in nanoseconds since 1970."""
    date, clock = text[:19], text[19:]
    fraction = ""
    if clock.startswith("."):
        end = 1
        while end < len(clock) and clock[end].isdigit():
            end += 1
        fraction, clock = clock[1:end], clock[end:]
    shift = 0
    if clock not in ("Z", ""):
        sign = -1 if clock[0] == "-" else 1
        shift = sign * (int(clock[1:3]) * 3600 + int(clock[4:6]) * 60)
    year = int(date[:4])
    if year < 1:  # Go prints year 0 and before
        return -62_135_596_800 * 1_000_000_000
    month, day, hour, minute, second = (int(date[at : at + 2]) for at in (5, 8, 11, 14, 17))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ValueError("not a time")
    # Days since 1970-01-01 with the year begun in March, so that the leap day comes last.
    year -= month < 3
    days = year * 365 + year // 4 - year // 100 + year // 400
    days += (153 * ((month + 9) % 12) + 2) // 5 + day - 1 - 719_468
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second - shift
    return seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def _mounts(raw: Iterable[dict[str, Any]] | None) -> tuple[Mount, ...]:
    found = [
        Mount(
            type=str(item.get("Type") or "bind"),
            target=str(item.get("Destination") or ""),
            source=str(item.get("Source") or ""),
            name=str(item.get("Name") or ""),
            read_only=not item.get("RW", True),
            driver=str(item.get("Driver") or ""),
            options=str(item.get("Mode") or ""),
        )
        for item in raw or ()
    ]
    return tuple(sorted(found, key=lambda mount: mount.target))


def container_from_inspect(raw: dict[str, Any]) -> Container:
    """One container from `GET /containers/N/json`."""
    state = raw.get("State") or {}
    config = raw.get("Config") or {}
    host = raw.get("HostConfig") or {}
    return Container(
        id=str(raw.get("Id") or ""),
        name=str(raw.get("Name") or "").lstrip("/"),
        image=str(config.get("Image") or raw.get("Image") or ""),
        state=str(state.get("Status") or ""),
        created=str(raw.get("Created") or ""),
        user=str(config.get("User") or ""),
        mounts=_mounts(raw.get("Mounts")),
        labels=dict(config.get("Labels") or {}),
        env=tuple(config.get("Env") or ()),
        started=str(state.get("StartedAt") or ""),
        pid=int(state.get("Pid") or 0),
        read_only=bool(host.get("ReadonlyRootfs")),
        tmpfs=tuple(sorted(host.get("Tmpfs") or ())),
        raw=raw,
    )


def container_from_list(raw: dict[str, Any]) -> Container:
    """One container from `GET /containers/json`, which says less."""
    names = [str(name).lstrip("/") for name in raw.get("Names") or ()]
    own = [name for name in names if "/" not in name]  # others are names given by links
    created = raw.get("Created")
    return Container(
        id=str(raw.get("Id") or ""),
        name=(own or names or [""])[0],
        image=str(raw.get("Image") or ""),
        state=str(raw.get("State") or ""),
        created=when(created) if isinstance(created, int) else str(created or ""),
        mounts=_mounts(raw.get("Mounts")),
        labels=dict(raw.get("Labels") or {}),
    )


def volumes_from(raw: dict[str, Any], containers: Iterable[Container]) -> list[Volume]:
    """All volumes from `GET /volumes`, sorted by name, with the containers that mount them."""
    uses: dict[str, list[VolumeUse]] = {}
    for container in containers:
        for mount in container.mounts:
            if mount.name and not container.is_helper:
                uses.setdefault(mount.name, []).append(
                    VolumeUse(container.name, container.state, mount.target, mount.read_only)
                )
    found = [_volume(item, uses) for item in raw.get("Volumes") or ()]
    return sorted(found, key=lambda volume: volume.name)


def _volume(raw: dict[str, Any], uses: dict[str, list[VolumeUse]]) -> Volume:
    name = str(raw.get("Name") or "")
    labels = dict(raw.get("Labels") or {})
    options = dict(raw.get("Options") or {})
    hexadecimal = len(name) == 64 and not name.strip("0123456789abcdef")
    # Engines before 23 do not label them; then only the look of the name is left to go by.
    anonymous = "com.docker.volume.anonymous" in labels or (
        hexadecimal and not labels and not options
    )
    return Volume(
        name=name,
        driver=str(raw.get("Driver") or "local"),
        created=str(raw.get("CreatedAt") or ""),
        mountpoint=str(raw.get("Mountpoint") or ""),
        labels=labels,
        options=options,
        anonymous=anonymous,
        used_by=tuple(sorted(uses.get(name, ()), key=lambda use: (use.container, use.target))),
    )


def changes_from(raw: list[dict[str, Any]] | None) -> list[Change]:
    """The writable layer from `GET /containers/N/changes`, sorted by path."""
    found = [
        Change(str(item.get("Path") or ""), "CAD"[int(item.get("Kind") or 0) % 3])
        for item in raw or ()
    ]
    return sorted(found, key=lambda change: change.path)


def info_from(
    version: dict[str, Any], info: dict[str, Any], *, address: str, local: bool
) -> EngineInfo:
    """What we know of the engine, from `GET /version` and `GET /info`."""
    security = tuple(str(item) for item in info.get("SecurityOptions") or ())
    return EngineInfo(
        version=str(version.get("Version") or ""),
        api_version=str(version.get("ApiVersion") or ""),
        address=address,
        local=local,
        name=str(info.get("Name") or ""),
        rootless=any(item.startswith("name=rootless") for item in security),
        security=security,
        storage_driver=str(info.get("Driver") or ""),
    )
