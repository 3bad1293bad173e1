"""Keeping what lies in a container's directory: a volume with a name, the data in it, the flags.

What is kept is copied and read a second time; the volume exists only if all of it arrived. The
lines say how the next container uses it: `docker run`, compose, DockerSpawner. `keep_recreate`
makes that next container right away.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.insight import look
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Container, Kind, Record
from jupyter_volcopy.core.mounts import Place
from jupyter_volcopy.core.paths import clean
from jupyter_volcopy.core.reach import KERNEL, Reach
from jupyter_volcopy.core.record import State, Value, each
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.transfer import ROOT_USER
from jupyter_volcopy.core.transfer_held import Held, compare, fill
from jupyter_volcopy.core.volumes import exists, is_empty
from jupyter_volcopy.errors import Conflict, DestinationExists, NotADirectory, UsageError

__all__ = ["Kept", "Wish", "fill_volume", "keep", "lines", "named", "spawner_user", "wish"]


class Wish(Value):
    """What is to be kept, looked at and found possible; nothing has been made.

    Attributes:
        container: inspected.
        path: of the directory, links resolved.
        volume: the volume's name.
        make: it does not exist yet.
        anonymous: the path is where a volume without a name is mounted.
    """

    container: Container
    path: str
    volume: str
    make: bool
    anonymous: bool
    reach: Reach


class Kept(Record, State):
    """What was done.

    Attributes:
        container, path, volume: as in `Wish`.
        created: the volume was made.
        files, bytes, verified: copied, and read a second time.
        lines: what uses the volume, by `run`, `compose`, `spawner`.
        recreated: the container was made again with the volume.
        old: name of the container as it was before, if it is still there.
        warnings: worth knowing.
    """

    container: str
    path: str
    volume: str
    created: bool = False
    files: int = 0
    bytes: int = 0
    verified: int = 0
    lines: dict[str, str] = each(factory=dict)
    recreated: bool = False
    old: str = ""
    warnings: list[Note] = each(factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it; the lines stay lines."""
        out = Record.to_dict(self)
        out["lines"] = dict(self.lines)
        out["warnings"] = [note.to_dict() for note in self.warnings]
        return out


def wish(engine: Engine, container: str, path: str, volume: str = "") -> Wish:
    """See whether a directory can be kept in a volume.

    Args:
        engine: where the container lives.
        container: name or id.
        path: of a directory in it.
        volume: name of the volume; "" makes one up from both.

    Raises:
        NoSuchPath, NotADirectory: nothing there, or not a directory.
        Conflict: it is kept already, or cannot be.
        DestinationExists: the volume has something in it.
    """
    seen = look(engine, container)
    found = seen.container
    reach = Reach.of(engine, found)
    typed = f"{found.name}:{path}"
    plain = clean("/" + path)
    reach.check_live(plain, typed)
    user = ROOT_USER if reach.is_live(plain) else None
    stat = engine.stat(found.id, plain, user=user)
    if stat.kind is Kind.SYMLINK and stat.link_target:
        plain = clean(stat.link_target)
        stat = engine.stat(found.id, plain, user=user)
    if not stat.is_dir:
        raise NotADirectory(f"{typed} is not a directory", hint="a volume holds a directory")
    if plain == "/" or reach.holder(plain) in KERNEL:
        raise Conflict(f"{typed}: no volume can be there", hint="name a directory of data")
    inside = _place(seen.places, reach.holder(plain))
    anonymous = False
    if inside is not None and inside.kind in ("bind", "named"):
        what = f"volume {inside.volume}" if inside.volume else f"the host's {inside.source}"
        raise Conflict(
            f"{typed} is kept already: it lies in {what}",
            hint=f"docker run {inside.flag} uses it again",
        )
    if inside is not None and inside.kind == "anonymous":
        anonymous = clean(inside.target) == plain
    name = volume or _made_up(engine, found, plain)
    make = not exists(engine, name)
    if not make:
        with engine.volume(name) as place:
            if not is_empty(engine, place):
                raise DestinationExists(
                    f"volume {name} is not empty", hint="choose another name with --volume"
                )
    return Wish(found, plain, name, make, anonymous, reach)


def _place(places: tuple[Place, ...], target: str) -> Place | None:
    return next((place for place in places if clean(place.target) == target), None)


def _made_up(engine: Engine, container: Container, path: str) -> str:
    """A name for the volume: the one DockerSpawner would look for, or container and path."""
    user = spawner_user(container)
    if user and not exists(engine, f"jupyterhub-user-{user}"):
        return f"jupyterhub-user-{user}"
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", f"{container.name}{path}").strip("-._")
    return words[:200] or "data"


def spawner_user(container: Container) -> str:
    """The user of a server that JupyterHub started, where its name needs no escaping, or ""."""
    for item in container.env:
        name, _, value = item.partition("=")
        if name == "JUPYTERHUB_USER" and re.fullmatch(r"[a-z0-9]+", value):
            return value
    return ""


def lines(wanted: Wish) -> dict[str, str]:
    """What uses the volume: a `docker run` command, a compose file, a line for JupyterHub."""
    flag = shlex.quote(f"{wanted.volume}:{wanted.path}")
    image = shlex.quote(wanted.container.image)
    mount = json.dumps(f"{wanted.volume}:{wanted.path}", ensure_ascii=False)
    name = json.dumps(wanted.container.name)
    volume = json.dumps(wanted.volume)
    user = spawner_user(wanted.container)
    hub = wanted.volume.replace(user, "{username}") if user else wanted.volume
    return {
        "run": f"docker run -v {flag} {image}",
        "compose": (
            f"services:\n  {name}:\n    volumes:\n      - {mount}\n"
            f"volumes:\n  {volume}:\n    external: true"
        ),
        "spawner": (
            "c.DockerSpawner.volumes = " + json.dumps({hub: wanted.path}, ensure_ascii=False)
        ),
    }


def _beneath(wanted: Wish) -> Callable[[str], bool]:
    """Paths below the directory that lie in a mount of their own: they are not part of it."""
    strip = len(wanted.path) + 1
    mounts = [
        (target[strip:], target in wanted.reach.mounts)
        for target in wanted.reach.mounts_below(wanted.path)
    ]
    return lambda name: any(name.startswith(mount + "/") for mount, _ in mounts)


def fill_volume(
    engine: Engine,
    wanted: Wish,
    done: Kept,
    *,
    journal: Journal,
    meter: Meter,
    cancel: Cancel,
) -> None:
    """Copy the directory into the volume, owners and its own mode included, and compare.

    Raises:
        PartialWrite: read a second time, something differs; a volume that was made is removed.
    """
    live = wanted.reach.is_live(wanted.path)
    reader = engine.open_archive(wanted.container.id, wanted.path + "/.", live=live)
    with Held.of(reader, cancel) as held:
        held.leave_out = _beneath(wanted)
        facts = held.facts()
        for fact in facts.values():
            done.bytes += fact.size if fact.kind is Kind.FILE else 0
        done.files = sum(1 for fact in facts.values() if fact.kind is Kind.FILE)
        name = wanted.volume
        with engine.volume(name, create=True) if wanted.make else engine.volume(name) as place:
            try:
                fill(engine, place, held, journal=journal, meter=meter, cancel=cancel)
                done.verified = compare(engine, place, facts, what=f"volume {name}", cancel=cancel)
                failed = False
            except BaseException:
                failed = True
                raise
            finally:
                done.created = wanted.make and not failed
        for target in wanted.reach.mounts_below(wanted.path):
            text = "is a mount of its own: what is in it was not copied"
            done.warnings.append(Note(target, text, "nested"))


def keep(
    engine: Engine,
    container: str,
    path: str,
    volume: str = "",
    *,
    journal: Journal | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> Kept:
    """Make a volume with what lies in a directory of a container, and say how to use it.

    Args:
        engine: where the container lives.
        container: name or id, in any state.
        path: of a directory in it.
        volume: name of the volume; "" makes one up.
        journal, meter, cancel: as everywhere.

    Raises:
        Conflict: it is kept already.
        DestinationExists: the volume has something in it.
        VolcopyError: no volume was made.
    """
    wanted = wish(engine, container, path, volume)
    done = Kept(wanted.container.name, wanted.path, wanted.volume, lines=lines(wanted))
    fill_volume(
        engine,
        wanted,
        done,
        journal=journal or Journal(),
        meter=meter or Meter(),
        cancel=cancel or Cancel(),
    )
    if wanted.container.running:
        text = "runs: what it writes from now on is not in the volume"
        done.warnings.append(Note(wanted.container.name, text, "running"))
    return done


def named(text: str) -> tuple[str, str]:
    """Container and path of `CONTAINER:PATH`.

    Raises:
        UsageError: it is something else.
    """
    from jupyter_volcopy.core.endpoint import ContainerPath, parse_endpoint

    endpoint = parse_endpoint(text)
    if not isinstance(endpoint, ContainerPath) or not endpoint.path:
        raise UsageError(f"{text!r} does not name a directory", hint="write CONTAINER:/PATH")
    return endpoint.container, endpoint.path
