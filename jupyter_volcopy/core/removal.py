"""What a given way of removing a container would lose, and what it would keep.

Rules, each seen by doing it on engines 20.10.24, 26.1.5 and 28.5.2 (tests/insight/test_removal.py):

========================  =======================================================================
way                       what it is
========================  =======================================================================
`rm`                      `docker rm`
`rm-v`                    `docker rm -v`
`auto-remove`             the end of a container run with `--rm`: as `rm-v`
`spawner`                 DockerSpawner with `remove = True`: as `rm-v`
`recreate`                removed, and run again from the same image with the same flags
`prune`                   removed, and then `docker volume prune`; other containers stay
========================  =======================================================================

The writable layer and memory (tmpfs) are lost each way. `rm` deletes no volume. `rm-v` deletes the
volumes which this container has asked for without a name (or inherited from one that had), except
while another container uses them. `prune` deletes every volume of the `local` driver without
options that nobody uses: up to API 1.41 all of them, from 1.42 only anonymous ones. A new container
gets new, empty volumes where the old one had anonymous ones of its own.

What cannot be known is `unknown`, never kept: volumes of other drivers, and an inherited volume
whose first owner is gone, since only that one's configuration said whether a name was asked for
(on the engine's own machine, the engine's file about the container still says it).
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from jupyter_volcopy.core.dockerfile import keep_flag
from jupyter_volcopy.core.insight import Look, advice, look, volume_sizes
from jupyter_volcopy.core.layer import is_cache, layer
from jupyter_volcopy.core.model import Kind, Volume, path_fields, when
from jupyter_volcopy.core.mounts import Place, device_of
from jupyter_volcopy.core.paths import clean, join, parent
from jupyter_volcopy.core.record import State, Value, each, replace
from jupyter_volcopy.errors import UsageError, VolcopyError, show

if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import Engine

__all__ = ["WAYS", "Forecast", "Item", "command", "forecast"]

WAYS = ("rm", "rm-v", "auto-remove", "recreate", "prune", "spawner")
_WITH_VOLUMES = ("rm-v", "auto-remove", "spawner")
_DIRECTORY = Kind.DIRECTORY.value
_LOOK_BUDGET = 64 << 20  # bytes of archive read for the newest time in a volume


class Item(Value):
    """One thing that is lost, kept, or cannot be known.

    Attributes:
        path: in the container; "" of a volume.
        volume: its name; "" of anything else.
        target: where it is mounted.
        kind: of a file: as listed; of a mount: `bind`, `named`, `anonymous`, `tmpfs`.
        bytes: None where it is not known.
        modified: RFC 3339 in UTC, the newest of what is in there, or "".
        why: a sentence.
        flag: the `docker run` flag that would keep (or still finds) the data, or "".
    """

    path: str = ""
    volume: str = ""
    target: str = ""
    kind: str = ""
    source: str = ""
    bytes: int | None = None
    modified: str = ""
    why: str = ""
    flag: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            **({"volume": show(self.volume)} if self.volume else path_fields("path", self.path)),
            "bytes": self.bytes,
            "modified": self.modified,
            "why": show(self.why),
            "kind": self.kind,
            **({"target": show(self.target)} if self.target else {}),
            **({"source": show(self.source)} if self.source else {}),
            "flag": show(self.flag),
        }


class Forecast(State):
    """The answer.

    Attributes:
        container: its name; `id` its id.
        deleted: image files deleted in it, which are there again in a new container.
        caches: files left out as caches (all of them lost).
    """

    how: str
    container: str
    id: str
    lost: list[Item] = each(factory=list)
    kept: list[Item] = each(factory=list)
    unknown: list[Item] = each(factory=list)
    deleted: list[str] = each(factory=list)
    caches: int = 0

    @property
    def bytes_lost(self) -> int:
        """Sum of what is known of the lost."""
        return sum(item.bytes or 0 for item in self.lost)

    def flags(self) -> list[str]:
        """The flags that would have kept what is lost, each once, at most one for a directory."""
        flags = [item.flag for item in self.lost if item.target and item.flag]
        top = ""
        for place, flag in sorted(
            (item.path if item.kind == _DIRECTORY else parent(item.path), item.flag)
            for item in self.lost
            if item.path and not item.target
        ):
            if place == "/" or not top or not (place + "/").startswith(top + "/"):
                top = "" if place == "/" else place
                flags.append(flag)
        return list(dict.fromkeys(flag for flag in flags if flag))

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "how": self.how,
            "container": show(self.container),
            "lost": [item.to_dict() for item in self.lost],
            "kept": [item.to_dict() for item in self.kept],
            "unknown": [item.to_dict() for item in self.unknown],
            "deleted": [show(path) for path in self.deleted],
            "caches": self.caches,
            "flags": [show(flag) for flag in self.flags()],
        }


def forecast(engine: Engine, name: str, how: str = "rm", *, caches: bool = True) -> Forecast:
    """What removing a container in a certain way would lose.

    Args:
        engine: where it lives.
        name: of the container.
        how: one of `WAYS`.
        caches: list caches of the writable layer, too.

    Raises:
        UsageError: no such way.
        NoSuchContainer: none of that name.
    """
    if how not in WAYS:
        raise UsageError(f"{how!r} is no way of removing", hint="one of " + ", ".join(WAYS))
    seen = look(engine, name)
    out = Forecast(how, seen.container.name, seen.container.id)
    _layer_items(engine, seen, out, caches)
    rules = _Rules(engine, seen, how)
    for place in seen.places:
        if place.kind == "tmpfs":
            _memory(engine, seen, place, out, caches)
            continue
        verdict, why, flag = rules.judge(place)
        getattr(out, verdict).append(_item(engine, seen, place, why, flag, verdict != "kept"))
    _measure(engine, out)
    return out


def _layer_items(engine: Engine, seen: Look, out: Forecast, caches: bool) -> None:
    found = layer(engine, seen.container.id, [p.target for p in seen.places], caches=caches)
    out.deleted, out.caches = found.deleted, found.caches
    for entry in found.entries:
        why = "written outside every mount: it goes with the container"
        if entry.change == "C":
            why = "changed outside every mount: a new container has the image's version again"
        out.lost.append(
            Item(
                path=entry.path,
                kind=entry.kind.value if entry.kind else "",
                bytes=entry.bytes,
                modified=entry.modified,
                why=why,
                flag=advice(entry.path, directory=entry.kind is Kind.DIRECTORY),
            )
        )


def _memory(engine: Engine, seen: Look, place: Place, out: Forecast, caches: bool) -> None:
    """What lies in a tmpfs now: memory, so gone as soon as the container stops."""
    if seen.container.state not in ("running", "paused", "restarting"):
        return  # nothing is in it
    why = "it lies in memory (tmpfs): gone when the container stops"
    flag = keep_flag(place.target)
    unseen = Item(
        path=place.target,
        target=place.target,
        kind="tmpfs",
        why=why + "; what is in it cannot be seen from here",
        flag=flag,
    )
    try:
        # Without a program in there, a listing would show the layer beneath instead.
        said = engine.execute(seen.container.id, ["ls", "-A", "--", place.target])
        if said.exit_code == 0 and not said.stdout.strip():
            return
        listing = engine.list_dir(seen.container.id, place.target, recursive=True)
    except VolcopyError:
        out.lost.append(unseen)
        return
    if said.exit_code or not listing.entries:
        out.lost.append(unseen)
        return
    inner = [clean(p.target) for p in seen.places if p is not place and place.target in p.hides]
    holding = {parent(join(place.target, entry.name)) for entry in listing.entries}
    for entry in listing.entries:
        path = join(place.target, entry.name)
        if any((path + "/").startswith(target + "/") for target in inner):
            continue  # another mount
        if entry.kind is Kind.DIRECTORY and path in holding:
            continue
        if not caches and is_cache(path):
            out.caches += 1
            continue
        out.lost.append(
            Item(
                path=path,
                target=place.target,
                kind=entry.kind.value,
                bytes=entry.size if entry.kind is Kind.FILE else 0,
                modified=when(entry.mtime_ns // 1_000_000_000),
                why=why,
                flag=flag,
            )
        )


def _item(engine: Engine, seen: Look, place: Place, why: str, flag: str, measure: bool) -> Item:
    """A mount as an item; what is not sure to be kept is looked into."""
    size, newest = None, ""
    if measure:
        try:
            listing = engine.list_dir(
                seen.container.id, place.target, recursive=True, budget=_LOOK_BUDGET
            )
        except VolcopyError:
            listing = None
        if listing is not None and listing.entries:
            newest = when(max(entry.mtime_ns for entry in listing.entries) // 1_000_000_000)
        if listing is not None and listing.complete:
            size = sum(e.size for e in listing.entries if e.kind is Kind.FILE)
    return Item(
        path="" if place.volume else place.target,
        volume=place.volume,
        target=place.target,
        kind=place.kind,
        source=place.source,
        bytes=size,
        modified=newest,
        why=why,
        flag=flag,
    )


def _measure(engine: Engine, out: Forecast) -> None:
    """Fill in sizes of volumes by the engine's own count, where it has one."""
    items = [*out.lost, *out.kept, *out.unknown]
    if not any(item.volume and item.bytes is None for item in items):
        return
    try:
        sizes = volume_sizes(engine)
    except VolcopyError:
        return
    for group in (out.lost, out.kept, out.unknown):
        for at, item in enumerate(group):
            if item.volume and item.bytes is None:
                group[at] = replace(item, bytes=sizes.get(item.volume))


class _Rules:
    """The rules for mounts, for one container and one way."""

    def __init__(self, engine: Engine, seen: Look, how: str) -> None:
        self._engine = engine
        self._seen = seen
        self._how = how
        self._volumes = {volume.name: volume for volume in seen.volumes}
        self._on_disk: dict[str, bool] | None = None

    def judge(self, place: Place) -> tuple[str, str, str]:
        """Which list a mount belongs to, why, and the flag that keeps or finds its data."""
        if place.kind == "bind":
            return "kept", "a folder of the host: removing containers does not touch it", place.flag
        if not place.volume:
            return "unknown", f"a mount of type {place.kind}: what becomes of it is not known", ""
        volume = self._volumes.get(place.volume)
        special = self._special(place, volume)
        if special is not None:
            return special
        return self._local(place, volume)

    def _others(self, place: Place) -> list[str]:
        """Other containers that mount this very volume, with their state if they do not run."""
        return sorted(
            one.name if one.running else f"{one.name} ({one.state})"
            for one in self._seen.everyone
            if one.id != self._seen.container.id
            and any(mount.name == place.volume for mount in one.mounts)
        )

    def _special(self, place: Place, volume: Volume | None) -> tuple[str, str, str] | None:
        """Volumes whose data do not lie where the engine keeps volumes."""
        driver = place.driver or (volume.driver if volume else "")
        if driver not in ("", "local"):
            why = f"a volume of the driver {driver}: what that does with the data is not known here"
            return "unknown", why, place.flag
        options = volume.options if volume else {}
        if not options.get("device") and not options.get("type"):
            return None
        if options.get("type") in ("tmpfs", "ramfs"):
            running = [
                one.name
                for one in self._seen.everyone
                if one.id != self._seen.container.id
                and one.state in ("running", "paused")
                and any(mount.name == place.volume for mount in one.mounts)
            ]
            if running:
                return "kept", f"a volume in memory, kept while {', '.join(running)} runs", ""
            why = "a volume in memory: its data are gone when the last container stops"
            return "lost", why, keep_flag(place.target)
        if device_of(volume):
            why = (
                f"a volume over the host folder {device_of(volume)}: even where the volume is "
                "removed, the folder and its data stay"
            )
            return "kept", why, place.flag
        why = f"a volume over {options.get('device')} ({options.get('type')}), outside this engine"
        return "unknown", why, place.flag

    def _local(self, place: Place, volume: Volume | None) -> tuple[str, str, str]:
        others = self._others(place)
        named = place.asked_by_name
        if named is None:
            named = self._from_disk(place)
        again = place.flag
        if self._how == "prune":
            return self._pruned(place, volume, others)
        if others and self._how != "recreate":
            return "kept", f"also used by {', '.join(others)}", again
        if self._how == "recreate":
            return self._recreated(place, named, others)
        if self._how in _WITH_VOLUMES:
            if named is None:
                why = (
                    f"inherited ({place.origin}); whether it was asked for by name, and so stays, "
                    "only the container that is gone could say"
                )
                return "unknown", why, again
            if not named:
                why = "a volume without a name, used by no other container: deleted with this one"
                return "lost", why, keep_flag(place.target)
            return "kept", "a volume asked for by name: this way of removal keeps it", again
        if named:
            return "kept", "a volume with a name: `docker rm` keeps it", again
        why = (
            f"the data stay in the volume {place.volume}, but nothing refers to it any more, and "
            "`docker volume prune` would delete it"
        )
        if (self._seen.container.raw.get("HostConfig") or {}).get("AutoRemove"):
            why += "; but it was run with --rm: if it stops first, the volume is deleted"
        return "kept", why, again

    def _recreated(
        self, place: Place, named: bool | None, others: list[str]
    ) -> tuple[str, str, str]:
        if place.origin.startswith("volumes-from "):
            giver = place.origin.removeprefix("volumes-from ")
            if giver in [one.name for one in self._seen.everyone]:
                return "kept", f"inherited again from {giver}", place.flag
            why = (
                f"{giver}, from which it was inherited, is gone or has other volumes now: the same "
                f"flags do not bring it back (the data stay in the volume {place.volume})"
            )
            return ("kept" if others else "unknown"), why, place.flag
        if named:
            return "kept", "the same flags name it again", place.flag
        if named is None:
            why = f"it may have come from a container that is gone; look for {place.volume} then"
            return "unknown", why, place.flag
        if others:
            why = f"{', '.join(others)} still has it; the new container gets a new, empty volume"
            return "kept", why, place.flag
        why = (
            "a volume without a name: the new container gets a new, empty one. The data stay in "
            f"the volume {place.volume} until a prune, unless `-v` is given to `docker rm`"
        )
        return "lost", why, place.flag

    def _pruned(
        self, place: Place, volume: Volume | None, others: list[str]
    ) -> tuple[str, str, str]:
        if others:
            why = f"still used by {', '.join(others)}, if that is not removed, too"
            return "kept", why, place.flag
        if volume is not None and volume.options:
            return "kept", "a volume with driver options: a prune passes it over", place.flag
        if self._prunes_all():
            why = "nobody uses it then, and this engine's prune deletes every such volume"
            return "lost", why, "-v " + shlex.quote(f"/HOST/FOLDER:{place.target}")
        if volume is None:
            return "unknown", "the engine does not list this volume", place.flag
        if "com.docker.volume.anonymous" in volume.labels:
            why = "a volume without a name that nobody uses then: the prune deletes it"
            return "lost", why, keep_flag(place.target)
        why = "this engine's prune deletes only volumes without a name (`--all` deletes it, too)"
        return "kept", why, place.flag

    def _prunes_all(self) -> bool:
        """Up to API 1.41 every unused volume; later ones need `--all` for those with a name.

        There is no question that could be asked instead: only the prune itself knows the filter
        `all`, and an engine that passes over a filter it does not know would answer by deleting.
        What a prune means is defined by the version of the API it is asked in.
        """
        try:
            major, minor = (int(x) for x in self._engine.info().api_version.split(".")[:2])
        except ValueError:
            return True
        return (major, minor) < (1, 42)

    def _from_disk(self, place: Place) -> bool | None:
        """What the engine's own file about the container says, where it can be read.

        The file is the engine's private matter (`config.v2.json`, `MountPoints.*.Spec.Source`);
        it is believed only if it is about this very container, and never needed.
        """
        if self._on_disk is None:
            self._on_disk = {}
            if self._engine.info().local:
                self._on_disk = _engine_file(
                    str((self._engine.json("GET", "/info") or {}).get("DockerRootDir") or ""),
                    self._seen.container.id,
                )
        return self._on_disk.get(clean(place.target))


def _engine_file(root: str, container: str) -> dict[str, bool]:
    """Whether each mount was asked for by name, by target; empty where it cannot be read."""
    import json

    if not root.startswith("/"):
        return {}
    try:
        with open(os.path.join(root, "containers", container, "config.v2.json"), "rb") as file:
            found = json.load(file)
        if found.get("ID") != container:
            return {}
        return {
            clean(str(target)): bool((point.get("Spec") or {}).get("Source"))
            for target, point in (found.get("MountPoints") or {}).items()
        }
    except (OSError, ValueError, AttributeError):
        return {}


def command(found: Forecast) -> str:
    """What somebody would type for this way of removal."""
    name = shlex.quote(found.container)
    return {
        "rm": f"docker rm {name}",
        "rm-v": f"docker rm -v {name}",
        "auto-remove": f"docker stop {name}  (run with --rm)",
        "recreate": f"docker rm {name} && docker run ... (the same again)",
        "prune": f"docker rm {name} && docker volume prune",
        "spawner": f"DockerSpawner.remove = True, and the server of {name} stopped",
    }[found.how]
