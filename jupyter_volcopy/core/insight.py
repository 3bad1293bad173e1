"""What is kept, what is shared, and by whom: answers about one engine, for every door.

`look` gathers what the pure module `mounts` needs; `mounts`, `volumes` and `shares` are the
answers. Nothing here changes anything on the engine.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jupyter_volcopy.core.dockerfile import keep_flag
from jupyter_volcopy.core.model import Container, Kind, Volume
from jupyter_volcopy.core.mounts import Place, device_of, places, source_names, with_facts
from jupyter_volcopy.core.paths import parent
from jupyter_volcopy.core.record import Value, replace
from jupyter_volcopy.errors import EngineStalled, NotFound, VolcopyError, show

if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import Engine

__all__ = [
    "Look",
    "Share",
    "Sharer",
    "VolumeFacts",
    "advice",
    "draw",
    "is_system",
    "look",
    "mounts",
    "shares",
    "tree_size",
    "volume_sizes",
    "volumes",
]


_SYSTEM = frozenset(("bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr"))


class Look(Value):
    """One container and what is around it, at one moment."""

    container: Container
    everyone: tuple[Container, ...]
    volumes: tuple[Volume, ...]
    places: tuple[Place, ...]


def _everyone(engine: Engine) -> list[Container]:
    """Every container but helpers of ours, which are gone in a moment and are nobody's."""
    return [one for one in engine.containers() if not one.is_helper]


def _around(engine: Engine, container: Container, everyone: Iterable[Container]) -> list[Container]:
    """Every container, those that gave it volumes with everything inspect says."""
    found = {one.id: one for one in everyone}
    found[container.id] = container
    waiting = list(source_names(container))
    asked: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in asked:
            continue
        asked.add(name)
        try:
            giver = engine.container(name)
        except NotFound:
            continue
        found[giver.id] = giver
        waiting += source_names(giver)
    return list(found.values())


def look(engine: Engine, name: str) -> Look:
    """Everything that the answers about one container are worked out from.

    Raises:
        NoSuchContainer: none of that name.
    """
    container = engine.container(name)
    everyone = _around(engine, container, _everyone(engine))
    known = engine.volumes()
    image: dict[str, Any] | None = None
    for image_name in (str(container.raw.get("Image") or ""), container.image):
        if image_name and image is None:
            try:
                image = engine.image(image_name)
            except NotFound:
                continue
    found = places(container, image, everyone, known)
    return Look(container, tuple(everyone), tuple(known), tuple(found))


def tree_size(engine: Engine, container: str, path: str) -> int | None:
    """Bytes of all files below a path of a container; None where they cannot be listed."""
    try:
        listing = engine.list_dir(container, path, recursive=True)
    except VolcopyError:
        return None
    return sum(entry.size for entry in listing.entries if entry.kind is Kind.FILE)


def volume_sizes(engine: Engine) -> dict[str, int]:
    """Bytes of each volume the engine can measure, by name (its own count, `docker system df`).

    An engine counts for one at a time and refuses the second ("a disk usage operation is already
    running"): then this asks again for up to half a minute.
    """
    end = time.monotonic() + 30
    while True:
        try:
            answer = engine.json("GET", "/system/df", {"type": "volume"})
            break
        except VolcopyError as error:
            if "already running" not in error.message or time.monotonic() > end:
                raise
        time.sleep(0.1)
    sizes: dict[str, int] = {}
    for item in (answer or {}).get("Volumes") or ():
        size = (item.get("UsageData") or {}).get("Size")
        if isinstance(size, int) and size >= 0:
            sizes[str(item.get("Name") or "")] = size
    return sizes


def mounts(engine: Engine, name: str, *, sizes: bool = False) -> list[Place]:
    """Every place of one container, sorted by target.

    Args:
        engine: where it lives.
        name: of the container.
        sizes: measure each (may take long).

    Raises:
        NoSuchContainer: none of that name.
    """
    seen = look(engine, name)
    files: list[str] = []
    measured: dict[str, int] = {}
    of_volumes = volume_sizes(engine) if sizes and any(p.volume for p in seen.places) else {}
    for place in seen.places:
        single = None
        if place.kind == "bind":
            try:
                single = engine.stat(seen.container.id, place.target)
            except VolcopyError:  # its source is gone from the host, or the engine refuses
                pass
        if single is not None and single.kind is not Kind.DIRECTORY:
            files.append(place.target)
            if sizes:
                measured[place.target] = single.size
        elif sizes:
            size = of_volumes.get(place.volume) if place.volume else None
            reachable = place.kind != "tmpfs" or seen.container.running
            if size is None and reachable:
                size = tree_size(engine, seen.container.id, place.target)
            if size is not None:
                measured[place.target] = size
    return with_facts(seen.places, files=files, sizes=measured)


class VolumeFacts(Value):
    """One volume and who uses it.

    Attributes:
        volume: as the engine lists it, with its size where it was asked for.
        since: RFC 3339 time of creation of each container that uses it, by its name.
        device: the host path behind it, for one made with `o=bind`.
    """

    volume: Volume
    since: dict[str, str]
    device: str = ""

    @property
    def flag(self) -> str:
        """The flag that mounts it."""
        where = self.volume.used_by[0].target if self.volume.used_by else "/PATH"
        return "-v " + shlex.quote(f"{self.volume.name}:{where}")

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        volume = self.volume
        return {
            "name": show(volume.name),
            "kind": "anonymous" if volume.anonymous else "named",
            "driver": volume.driver,
            "created": volume.created,
            "source": show(self.device or volume.mountpoint),
            "used_by": [
                {
                    **use.to_dict(),
                    "since": self.since.get(use.container, ""),
                }
                for use in volume.used_by
            ],
            "unused": not volume.used_by,
            "flag": show(self.flag),
            **({} if volume.size is None else {"size": volume.size}),
        }


def volumes(engine: Engine, *, sizes: bool = False) -> list[VolumeFacts]:
    """Every volume, sorted by name, with who uses it and since when.

    Args:
        engine: where they live.
        sizes: have the engine measure them (may take long).
    """
    created = {one.name: one.created for one in engine.containers()}
    measured = volume_sizes(engine) if sizes else {}
    return [
        VolumeFacts(
            replace(volume, size=measured.get(volume.name)) if sizes else volume,
            {use.container: created.get(use.container, "") for use in volume.used_by},
            device_of(volume),
        )
        for volume in engine.volumes()
    ]


class Sharer(Value):
    """One container that sees the shared data."""

    container: str
    state: str
    target: str
    read_only: bool
    origin: str

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "container": show(self.container),
            "state": self.state,
            "target": show(self.target),
            "read_only": self.read_only,
            "origin": show(self.origin),
        }


class Share(Value):
    """Data that several containers see.

    Attributes:
        kind: `bind`, `named` or `anonymous`.
        volume: name, or "" of a bind.
        source: path on the host.
    """

    kind: str
    volume: str
    source: str
    sharers: tuple[Sharer, ...]

    @property
    def flag(self) -> str:
        """The flag that makes one more container share it."""
        target = self.sharers[0].target if self.sharers else "/PATH"
        return "-v " + shlex.quote(f"{self.volume or self.source}:{target}")

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "kind": self.kind,
            "volume": show(self.volume),
            "source": show(self.source),
            "containers": [one.to_dict() for one in self.sharers],
            "flag": show(self.flag),
        }


def shares(engine: Engine, *, alone: bool = False) -> list[Share]:
    """Who shares what with whom, by volume and host folder.

    Args:
        engine: where they live.
        alone: list what a single container uses, too.
    """
    everyone: list[Container] = []
    for one in _everyone(engine):
        try:
            everyone.append(engine.container(one.id))
        except NotFound:
            continue  # removed in between
        except EngineStalled:
            everyone.append(one)  # a copy holds it: what the list says of it has to do
    known = engine.volumes()
    images: dict[str, dict[str, Any] | None] = {}
    groups: dict[tuple[str, str], list[tuple[Place, Container]]] = {}
    for container in everyone:
        name = str(container.raw.get("Image") or container.image)
        if name not in images:
            try:
                images[name] = engine.image(name)
            except NotFound:
                images[name] = None
        for place in places(container, images[name], everyone, known):
            if place.kind != "tmpfs":
                key = ("volume", place.volume) if place.volume else ("bind", place.source)
                groups.setdefault(key, []).append((place, container))
    found = []
    for (word, what), users in sorted(groups.items()):
        if len({container.id for _, container in users}) < (1 if alone else 2):
            continue
        kinds = {place.kind for place, _ in users}
        # one container that asked for it by name is enough to give it a name
        kind = "bind" if word == "bind" else "named" if "named" in kinds else "anonymous"
        found.append(
            Share(
                kind=kind,
                volume=what if word == "volume" else "",
                source=users[0][0].source,
                sharers=tuple(
                    Sharer(c.name, c.state, p.target, p.read_only, p.origin)
                    for p, c in sorted(users, key=lambda user: (user[1].created, user[0].target))
                ),
            )
        )
    return found


def draw(found: Iterable[Share]) -> list[str]:
    """The shares as a drawing in text lines, names escaped."""
    lines: list[str] = []
    for share in found:
        if lines:
            lines.append("")
        title = f"volume {share.volume}" if share.volume else f"host folder {share.source}"
        if share.kind == "anonymous":
            title += " (no name was given)"
        lines.append(show(title))
        for at, one in enumerate(share.sharers):
            last = at == len(share.sharers) - 1
            words = [one.container, "at", one.target]
            if one.read_only:
                words.append("read-only")
            words.append(f"[{one.origin}]")
            if one.state != "running":
                words.append(one.state)
            lines.append(("└── " if last else "├── ") + show(" ".join(words)))
        lines.append(show(f"    one more: docker run {share.flag} ..."))
    return lines


def advice(path: str, *, directory: bool = False) -> str:
    """The flag that would have kept one path of the writable layer.

    A volume over the directory that holds it; for a file right in `/`, where no volume can be, a
    file of the host. In the system's own directories a line in the Dockerfile is the better way.
    """
    place = path if directory else parent(path)
    if place == "/":
        return "-v " + shlex.quote(f"/HOST/FILE:{path}") if path != "/" else ""
    return keep_flag(place)


def is_system(path: str) -> bool:
    """Whether a path lies among programs and settings, which belong in the image."""
    return path.strip("/").split("/")[0] in _SYSTEM
