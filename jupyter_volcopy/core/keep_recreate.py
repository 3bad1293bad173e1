"""A container made again from its own configuration, with one volume more.

The old one is stopped, renamed and kept until the new one runs; whatever fails before, the new one
is removed and the old one gets its name back, and runs if it ran. Volumes without a name are
mounted again by theirs. What else lies in the old one's writable layer would be lost with it: where
there is any, the old one stays, stopped, and is named.
"""

from __future__ import annotations

import os
import time
from typing import Any

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.keep import Kept, Wish, fill_volume, lines
from jupyter_volcopy.core.model import Container, Kind
from jupyter_volcopy.core.mounts import source_names
from jupyter_volcopy.core.paths import clean
from jupyter_volcopy.core.reach import below
from jupyter_volcopy.core.removal import forecast
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.errors import Conflict, EngineError, NotFound, VolcopyError

__all__ = ["configuration", "recreate", "refuse"]

_OWNERS = {
    "com.docker.compose.project": "docker compose",
    "com.docker.stack.namespace": "docker stack",
    "com.docker.swarm.service.id": "docker swarm",
    "io.kubernetes.pod.name": "kubernetes",
}
_STARTS = 1.0  # seconds after which a container that still runs counts as running


def refuse(container: Container) -> None:
    """Refuse to recreate what somebody else makes and would make again.

    Raises:
        Conflict: naming who.
    """
    by = next((who for label, who in _OWNERS.items() if label in container.labels), "")
    if not by and any(item.startswith("JUPYTERHUB_") for item in container.env):
        by = "a JupyterHub spawner"
    if by:
        raise Conflict(
            f"{container.name} was made by {by}, which would make it again without the volume",
            hint="leave out --recreate, and put the line shown into its configuration",
        )
    if (container.raw.get("HostConfig") or {}).get("AutoRemove"):
        raise Conflict(
            f"{container.name} was run with --rm: stopped, it would be gone",
            hint="leave out --recreate",
        )
    if container.state in ("removing", "dead"):
        raise Conflict(f"{container.name} is {container.state}")


def recreate(
    engine: Engine,
    wanted: Wish,
    *,
    journal: Journal | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> Kept:
    """Keep the directory in a volume, and make the container again with it.

    Args:
        engine: where it lives.
        wanted: from `keep.wish`.
        journal, meter, cancel: as everywhere.

    Raises:
        Conflict: see `refuse`.
        VolcopyError: everything is as it was before.
    """
    refuse(wanted.container)
    token = cancel or Cancel()
    container = wanted.container
    done = Kept(container.name, wanted.path, wanted.volume, lines=lines(wanted))
    old = f"{container.name}-before-{os.urandom(3).hex()}"
    ran = container.state in ("running", "paused", "restarting")
    renamed, new = False, ""

    def fill() -> None:
        fill_volume(
            engine,
            wanted,
            done,
            journal=journal or Journal(),
            meter=meter or Meter(),
            cancel=token,
        )

    in_memory = wanted.reach.is_live(wanted.path)
    stopped = False
    try:
        if in_memory:
            fill()  # gone once it is stopped
        if ran:
            engine.json("POST", f"/containers/{container.id}/stop")
            stopped = True
        if not in_memory:
            fill()  # nobody writes there any more
        token.check()
        more = _more(engine, wanted)
        body, networks = configuration(engine, wanted)
        engine.json("POST", f"/containers/{container.id}/rename", {"name": old})
        renamed = True
        made = engine.json("POST", "/containers/create", {"name": container.name}, body)
        new = str(made["Id"])
        for network, settings in networks:
            engine.json(
                "POST",
                f"/networks/{network}/connect",
                body={"Container": new, "EndpointConfig": settings},
            )
        if ran:
            engine.json("POST", f"/containers/{new}/start")
            _runs(engine, new)
    except BaseException as error:
        _back(engine, container, new, renamed, stopped, wanted if done.created else None, error)
        raise
    done.recreated = True
    if more:
        done.old = old
        text = (
            f"kept, stopped: {more} more {'thing lies' if more == 1 else 'things lie'} in its "
            f"writable layer, which the new one does not have; `volcopy forecast {old}` lists them"
        )
        done.warnings.append(Note(old, text, "layer"))
        return done
    try:
        engine.json("DELETE", f"/containers/{container.id}")
    except VolcopyError as error:
        done.old = old
        done.warnings.append(Note(old, f"could not be removed: {error.message}", "old"))
    return done


def _more(engine: Engine, wanted: Wish) -> int:
    """How many things the writable layer holds that are not in the volume."""
    found = forecast(engine, wanted.container.id, "rm", caches=False)
    config = wanted.container.raw.get("Config") or {}
    made_again = clean(str(config.get("WorkingDir") or "/"))  # by the engine, where it is missing
    return sum(
        1
        for item in found.lost
        if item.path
        and not item.target
        and not below(item.path, wanted.path)
        and not (item.kind == Kind.DIRECTORY.value and item.path == made_again)
    )


def _runs(engine: Engine, container: str) -> None:
    """See that it runs, or came to a good end.

    Raises:
        EngineError: it ended with a failure.
    """
    end = time.monotonic() + _STARTS
    while True:
        state = (engine.container(container).raw.get("State")) or {}
        ended = not state.get("Running") and not state.get("Restarting")
        if state.get("Restarting") or (ended and state.get("ExitCode")):
            raise EngineError(
                f"the new container ended at once, with status {state.get('ExitCode')}",
                hint="nothing was changed; see how it is started",
            )
        if ended or time.monotonic() > end:
            return
        time.sleep(0.1)


def _back(
    engine: Engine,
    container: Container,
    new: str,
    renamed: bool,
    stopped: bool,
    made: Wish | None,
    error: BaseException,
) -> None:
    """Everything as before; what cannot be undone is added to the error's hint."""
    steps: list[tuple[str, str, dict[str, str] | None]] = []
    if new:
        steps.append(("DELETE", f"/containers/{new}", {"force": "1"}))
    if renamed:
        steps.append(("POST", f"/containers/{container.id}/rename", {"name": container.name}))
    if stopped:
        steps.append(("POST", f"/containers/{container.id}/start", None))
    if stopped and container.state == "paused":
        steps.append(("POST", f"/containers/{container.id}/pause", None))
    if made is not None:
        steps.append(("DELETE", f"/volumes/{made.volume}", None))
    for method, path, query in steps:
        try:
            engine.json(method, path, query)
        except NotFound:
            continue
        except VolcopyError as problem:
            if isinstance(error, VolcopyError):
                error.hint = f"{error.hint}; also: {method} {path}: {problem.message}".lstrip("; ")


def configuration(
    engine: Engine, wanted: Wish
) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """What makes the container again, with the volume.

    Args:
        engine: where it lives.
        wanted: the container, as inspected, and what is to be mounted where.

    Returns:
        The body of a create call, and the networks to connect after it (a create call of older
        engines takes one only), each with its settings.
    """
    container = wanted.container
    raw = container.raw
    config = dict(raw.get("Config") or {})
    host = dict(raw.get("HostConfig") or {})
    host.pop("ContainerIDFile", None)
    if config.get("Hostname") == container.id[:12]:
        config.pop("Hostname")
    config["Image"] = _image(engine, raw, config)
    target = wanted.path
    binds = [text for text in host.get("Binds") or () if _target_of(text) != target]
    mounts = [m for m in host.get("Mounts") or () if clean(str(m.get("Target") or "")) != target]
    taken = {_target_of(text) for text in binds}
    taken.update(clean(str(mount.get("Target") or "")) for mount in mounts)
    taken.add(target)
    inherited = _inherited(engine, container)
    for mount in container.mounts:
        place = clean(mount.target)
        if mount.type != "volume" or not mount.name or place in taken:
            continue
        if (mount.name, place) not in inherited:
            mounts.append(_volume(mount.name, place, read_only=mount.read_only))
    mounts.append(_volume(wanted.volume, target))
    host["Binds"], host["Mounts"] = binds, mounts
    host["Tmpfs"] = {
        place: options
        for place, options in (host.get("Tmpfs") or {}).items()
        if clean(place) != target
    } or None
    body = {**config, "HostConfig": host}
    networks = _networks(raw, container.id, str(host.get("NetworkMode") or ""))
    if networks:
        name, settings = networks[0]
        body["NetworkingConfig"] = {"EndpointsConfig": {name: settings}}
    return body, networks[1:]


def _volume(name: str, target: str, *, read_only: bool = False) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": name,
        "Target": target,
        "ReadOnly": read_only,
        "VolumeOptions": {"NoCopy": True},
    }


def _target_of(bind: str) -> str:
    """The target of `SOURCE:TARGET[:OPTIONS]`."""
    parts = bind.split(":")
    return clean(parts[1] if len(parts) > 1 else parts[0])


def _inherited(engine: Engine, container: Container) -> set[tuple[str, str]]:
    """Volumes that `--volumes-from` brings again by itself, with their targets."""
    found: set[tuple[str, str]] = set()
    for name in source_names(container):
        try:
            giver = engine.container(name)
        except NotFound:
            continue
        found.update((mount.name, clean(mount.target)) for mount in giver.mounts if mount.name)
    return found


def _image(engine: Engine, raw: dict[str, Any], config: dict[str, Any]) -> str:
    """The image by the name it was run with, unless that means another one now."""
    name, ident = str(config.get("Image") or ""), str(raw.get("Image") or "")
    try:
        if str(engine.image(name).get("Id") or "") == ident:
            return name
    except NotFound:
        pass
    return ident or name


def _networks(raw: dict[str, Any], ident: str, mode: str) -> list[tuple[str, dict[str, Any]]]:
    """The networks with what was asked for, the one of the network mode first."""
    if mode in ("none", "host") or mode.startswith("container:"):
        return []
    found = (raw.get("NetworkSettings") or {}).get("Networks") or {}
    out = []
    for name, settings in found.items():
        asked = {
            "IPAMConfig": settings.get("IPAMConfig"),
            "Links": settings.get("Links"),
            "Aliases": [a for a in settings.get("Aliases") or () if a != ident[:12]] or None,
            "DriverOpts": settings.get("DriverOpts"),
        }
        out.append((name, {key: value for key, value in asked.items() if value}))
    first = "bridge" if mode in ("", "default") else mode
    return sorted(out, key=lambda item: (item[0] != first, item[0]))
