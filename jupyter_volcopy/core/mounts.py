"""Every place of a container where data can lie outside its writable layer, and what it is.

Pure: everything is worked out from what the engine's inspect says, by the engine's own order
(moby `daemon/volumes.go`, `registerMountPoints`; seen on 20.10.24):

1. what `--volumes-from` brings, 2. `-v` (`HostConfig.Binds`), 3. `--mount`
(`HostConfig.Mounts`), each replacing an earlier one at the same target, and 4. at targets still
free, a new volume for each path of `Config.Volumes` (`-v /path` and the image's `VOLUME`).
`--tmpfs` stands only in `HostConfig.Tmpfs`, and wins over 4.

Whether `rm -v` deletes a volume goes by **how it was asked for**, not by its name or label: asked
for without a name, it is anonymous. What was inherited by `--volumes-from` was asked for as the
first owner asked. Where that one is gone, inspect no longer says; `asked_by_name` is then None.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jupyter_volcopy.core.dockerfile import keep_flag
from jupyter_volcopy.core.model import Container, Mount, Volume
from jupyter_volcopy.core.paths import clean
from jupyter_volcopy.core.record import Value, replace
from jupyter_volcopy.errors import show

__all__ = ["Place", "device_of", "places", "source_names", "with_facts"]

_HEX = re.compile(r"[0-9a-f]{64}")
_WORDS = {
    "bind": "a folder of the host: no removal of containers touches it",
    "named": "a volume asked for by name: removing the container keeps it",
    "anonymous": (
        "a volume without a name: `docker rm` keeps it, but nothing refers to it then; "
        "`docker rm -v`, `docker run --rm` and DockerSpawner's remove delete it"
    ),
    "tmpfs": "memory: gone when the container stops",
}


class Place(Value):
    """One mount of one container.

    Attributes:
        target: path in the container.
        kind: `bind`, `named`, `anonymous` or `tmpfs` (or a type only newer engines know).
        origin: `flag`, `image`, or `volumes-from NAME`.
        source: path on the host, "" where there is none.
        read_only: mounted without write permission.
        shared_with: names of other containers that see the same data, stopped ones too.
        hides: targets of mounts in which this one covers a part.
        hidden_by: targets of mounts that cover a part (or all) of this one.
        survives: the data is still there after a plain `docker rm`. An anonymous volume is, though
            only by its 64-digit name; `kind` and `why` say what else removes it.
        volume: the volume's name, or "".
        single_file: a file, not a directory, is mounted.
        flag: the `docker run` flag that mounts this very data.
        keep: the flag that would keep the data written here under a name of its own, where
            `flag` does not; else "".
        why: what happens to it, in words.
        asked_by_name: the volume was asked for by name; None where inspect cannot say.
        driver: the volume's driver, or "".
        size: bytes, where it was asked for and could be had.
    """

    target: str
    kind: str
    origin: str
    source: str = ""
    read_only: bool = False
    shared_with: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    hidden_by: tuple[str, ...] = ()
    survives: bool = True
    volume: str = ""
    single_file: bool = False
    flag: str = ""
    keep: str = ""
    why: str = ""
    asked_by_name: bool | None = None
    driver: str = ""
    size: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "target": show(self.target),
            "kind": self.kind,
            "origin": show(self.origin),
            "source": show(self.source),
            "read_only": self.read_only,
            "shared_with": [show(name) for name in self.shared_with],
            "hides": [show(path) for path in self.hides],
            "hidden_by": [show(path) for path in self.hidden_by],
            "survives": self.survives,
            "volume": show(self.volume),
            "single_file": self.single_file,
            "flag": show(self.flag),
            "keep": show(self.keep),
            "why": show(self.why),
            **({} if self.size is None else {"size": self.size}),
        }


class _Asked(Value):
    """How a mount was asked for on the command line: by name or path, or without a source."""

    named: bool
    text: str


def _asked(container: Container) -> dict[str, _Asked]:
    """Targets named by the container's own flags (not those of `Config.Volumes`)."""
    host = container.raw.get("HostConfig") or {}
    found: dict[str, _Asked] = {}
    for bind in host.get("Binds") or ():
        parts = str(bind).split(":")
        if len(parts) == 1:
            found[clean(parts[0])] = _Asked(False, parts[0])
        else:
            found[clean(parts[1])] = _Asked(True, str(bind))
    for mount in host.get("Mounts") or ():
        source = str(mount.get("Source") or "")
        found[clean(str(mount.get("Target") or ""))] = _Asked(bool(source), source)
    return found


def source_names(container: Container) -> list[str]:
    """Names or ids behind `--volumes-from`, in the order given."""
    host = container.raw.get("HostConfig") or {}
    return [str(item).split(":")[0].lstrip("/") for item in host.get("VolumesFrom") or ()]


def _find(name: str, everyone: Iterable[Container]) -> Container | None:
    """The container a `--volumes-from` means, as the engine resolves names."""
    prefixed = None
    for one in everyone:
        if one.name == name or one.id == name:
            return one
        if one.id.startswith(name):
            prefixed = one
    return prefixed


def _same(one: Mount, other: Mount) -> bool:
    """Whether both show the same volume or host path."""
    if one.type != other.type:
        return False
    return one.name == other.name if one.name or other.name else one.source == other.source


class _Origin(Value):
    text: str
    named: bool | None


def _origin(
    container: Container,
    mount: Mount,
    image_volumes: Iterable[str],
    everyone: Sequence[Container],
    seen: frozenset[str] = frozenset(),
) -> _Origin:
    """Where a mount came from, and whether it was asked for by name."""
    target = clean(mount.target)
    own = _asked(container).get(target)
    if own is not None:
        return _Origin("flag", own.named)
    declared = {clean(path) for path in (container.raw.get("Config") or {}).get("Volumes") or ()}
    from_image = target in {clean(path) for path in image_volumes}
    plain = _Origin("image" if from_image else "flag", False)
    certain = True if mount.name and not _HEX.fullmatch(mount.name) else None
    missing = ""
    for name in source_names(container):
        giver = _find(name, everyone)
        if giver is None or giver.id in seen:
            missing = missing or name
            continue
        given = next((m for m in giver.mounts if clean(m.target) == target), None)
        if given is None:
            continue
        if not _same(given, mount):
            missing = missing or name  # another container took that name since
            continue
        named = certain
        if named is None and giver.raw:
            # the giver's image does not matter here: only whether a name was asked for
            named = _origin(giver, given, (), everyone, seen | {container.id}).named
        return _Origin(f"volumes-from {giver.name or name}", named)
    if missing and target not in declared:
        return _Origin(f"volumes-from {missing}", certain)
    if missing:
        return _Origin(plain.text, certain)
    return _Origin(plain.text, bool(certain) or mount.type == "bind")


def device_of(volume: Volume | None) -> str:
    """The host path behind a volume of the `local` driver made with `o=bind`, else ""."""
    if volume is None or volume.driver != "local":
        return ""
    options = {str(option) for option in volume.options.get("o", "").split(",")}
    return volume.options.get("device", "") if options & {"bind", "rbind"} else ""


def _ground(mount: Mount, volumes: Mapping[str, Volume]) -> str:
    """The host path whose data a mount shows, as far as it is known."""
    if mount.type == "volume":
        volume = volumes.get(mount.name)
        return device_of(volume) or (volume.mountpoint if volume else "") or mount.source
    return mount.source if mount.type == "bind" else ""


def _overlap(one: str, other: str) -> bool:
    """Whether one path is the other or lies within it."""
    if not one or not other:
        return False
    a, b = clean(one).rstrip("/") + "/", clean(other).rstrip("/") + "/"
    return a.startswith(b) or b.startswith(a)


def _sharers(
    container: Container,
    mount: Mount,
    everyone: Iterable[Container],
    volumes: Mapping[str, Volume],
) -> tuple[str, ...]:
    ground = _ground(mount, volumes)
    names = set()
    for other in everyone:
        if other.id == container.id:
            continue
        for theirs in other.mounts:
            if (mount.name and mount.name == theirs.name) or _overlap(
                ground, _ground(theirs, volumes)
            ):
                names.add(other.name or other.id[:12])
    return tuple(sorted(names))


def _flag(mount: Mount, asked: _Asked | None) -> str:
    """The flag that mounts this very data."""
    end = ":ro" if mount.read_only else ""
    if asked is not None and asked.named and asked.text.count(":") == 2:
        end = ":" + asked.text.split(":")[2]
    if mount.type in ("volume", "bind"):
        return "-v " + shlex.quote(f"{mount.name or mount.source}:{mount.target}{end}")
    if mount.type == "tmpfs":
        return "--tmpfs " + shlex.quote(mount.target)
    return "--mount " + shlex.quote(f"type={mount.type},dst={mount.target}")


def places(
    container: Container,
    image_inspect: Mapping[str, Any] | None,
    all_containers: Sequence[Container],
    volumes: Iterable[Volume] = (),
) -> list[Place]:
    """Every mount of a container, sorted by target.

    Args:
        container: with `raw` filled.
        image_inspect: the raw inspect of its image, or None where the image is gone.
        all_containers: every container; those named by `--volumes-from` (and by theirs) with
            `raw` filled, else it stays open how their volumes were asked for.
        volumes: every volume; without them volumes are compared by name only.
    """
    config = (image_inspect or {}).get("Config") or {}
    image_volumes = config.get("Volumes") or ()
    known = {volume.name: volume for volume in volumes}
    asked = _asked(container)
    found: list[Place] = []
    for mount in container.mounts:
        origin = _origin(container, mount, image_volumes, all_containers)
        kind = mount.type
        if kind == "volume":
            kind = "named" if origin.named else "anonymous"
        found.append(
            Place(
                target=mount.target,
                kind=kind,
                origin=origin.text,
                source=mount.source,
                read_only=mount.read_only,
                shared_with=_sharers(container, mount, all_containers, known),
                survives=kind != "tmpfs",
                volume=mount.name,
                flag=_flag(mount, asked.get(clean(mount.target))),
                keep=keep_flag(mount.target) if kind in ("anonymous", "tmpfs") else "",
                why=_WORDS.get(kind, f"a mount of type {kind}"),
                asked_by_name=origin.named if mount.type == "volume" else None,
                driver=mount.driver,
            )
        )
    for target in container.tmpfs:
        options = str(
            ((container.raw.get("HostConfig") or {}).get("Tmpfs") or {}).get(target) or ""
        )
        spelled = f"{target}:{options}" if options else target
        found.append(
            Place(
                target=target,
                kind="tmpfs",
                origin="flag",
                read_only="ro" in options.split(","),
                survives=False,
                flag="--tmpfs " + shlex.quote(spelled),
                keep=keep_flag(target),
                why=_WORDS["tmpfs"],
            )
        )
    return _covered(sorted(found, key=lambda place: (place.target, place.kind)))


def _covered(found: list[Place]) -> list[Place]:
    """Fill in what hides what: a mount covers a part of every mount whose target is above it."""
    out = []
    for at, place in enumerate(found):
        own = clean(place.target)
        hides: list[str] = []
        hidden: list[str] = []
        for other_at, other in enumerate(found):
            theirs = clean(other.target)
            if other_at == at:
                continue
            if theirs == own:
                # --tmpfs wins over a volume at the same target
                (hides if place.kind == "tmpfs" else hidden).append(other.target)
            elif own.startswith(theirs.rstrip("/") + "/"):
                hides.append(other.target)
            elif theirs.startswith(own.rstrip("/") + "/"):
                hidden.append(other.target)
        out.append(replace(place, hides=tuple(hides), hidden_by=tuple(hidden)))
    return out


def with_facts(
    found: Iterable[Place], *, files: Iterable[str] = (), sizes: Mapping[str, int] | None = None
) -> list[Place]:
    """The places with what only a look into the container can say.

    Args:
        found: from `places`.
        files: targets at which a single file is mounted.
        sizes: bytes by target.
    """
    single = set(files)
    known = sizes or {}
    return [
        replace(place, single_file=place.target in single, size=known.get(place.target))
        for place in found
    ]
