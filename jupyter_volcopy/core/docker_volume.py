"""A volume as a path: through a helper of ours, never through somebody's container.

The Docker API reaches volumes only through containers. In a container that uses the volume, a link
in the volume (`link -> /etc`) would lead to that container's files; so a helper is created from an
empty image made on the spot (no registry, nothing in it), with the volume as all there is, never
started, and removed at the end with its image. Nor does a long transfer then hold the lock of a
container that somebody works in.

Helpers and their images carry labels that say which process made them; what a killed process left
is found by these and swept by the next one. A volume made by us carries a label with a random text,
and its helper the same: a helper that was left behind takes along the volume it was filling.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jupyter_volcopy.core.model import HELPER_LABEL, Entry, Kind
from jupyter_volcopy.core.tar_writer import END, encode_entry
from jupyter_volcopy.errors import (
    DestinationExists,
    EngineError,
    NoSuchVolume,
    NotFound,
    UsageError,
    VolcopyError,
)

if TYPE_CHECKING:
    from jupyter_volcopy.core.docker_engine import DockerEngine

__all__ = [
    "HELPER_PATH",
    "MADE_LABEL",
    "empty_volume",
    "reach_volume",
    "sweep_helpers",
]

HELPER_PATH = "/volume"
"""Where a helper mounts the volume."""

MADE_LABEL = "jupyter-volcopy.made"
"""Label of volumes made by us, and of the helper that fills one: the same random text."""

_OWNER, _PROCESS, _SINCE = (f"{HELPER_LABEL}.{end}" for end in ("owner", "process", "since"))
_FILLS = f"{HELPER_LABEL}.fills"
_BUSY_SECONDS = 10.0
_FOREIGN_SECONDS = 6 * 3600.0
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_log = logging.getLogger(__name__)


@contextmanager
def reach_volume(
    engine: DockerEngine, name: str, *, create: bool = False
) -> Iterator[tuple[str, str]]:
    """`(container id, path)` of a volume while the block runs; see `Engine.volume`."""
    try:
        sweep_helpers(engine)
    except VolcopyError as problem:  # the next one tries again
        _log.debug("helpers that were left behind could not be looked for: %s", problem)
    before = _free_name(engine, name) if create else _volume(engine, name)
    made = os.urandom(16).hex() if create else ""
    image, helper, done = "", "", False
    try:
        image = _make_image(engine)
        helper = _make_helper(engine, image, name, made)
        found = _volume(engine, name)
        if create:
            if (found.get("Labels") or {}).get(MADE_LABEL) != made:
                raise _taken(name)
        elif found.get("CreatedAt") != before.get("CreatedAt"):
            # Removed meanwhile: creating the helper has made an empty one of the name.
            _remove(engine, helper, image)
            helper = image = ""
            engine.json("DELETE", f"/volumes/{name}")
            raise _no_volume(name)
        yield helper, HELPER_PATH
        done = True
    finally:
        if not done and made:
            _remove(engine, helper, "")
            helper = ""
            _remove_made(engine, name, made)
        _remove(engine, helper, image)


def empty_volume(engine: DockerEngine, name: str) -> None:
    """Remove everything in a volume; see `Engine.empty_volume`.

    An archive entry that is no directory replaces a directory of its name, so the engine removes
    what is in there first (moby `pkg/archive`, `Unpack`: `os.RemoveAll`). Here that directory is
    the mount point of the volume, which itself cannot be removed: the engine then says "device or
    resource busy", and the volume is empty. The entry could not be made anyway (see `push`, the
    seal). Seen on engine 20.10.24.
    """
    with reach_volume(engine, name) as (helper, path):
        if not engine.list_dir(helper, path).entries:
            return
        entry = Entry(path.strip("/"), Kind.SYMLINK, mode=0o777, link="x" * 5000)
        head, answer = engine.call(
            "PUT",
            f"/containers/{helper}/archive?path=/",
            data=encode_entry(entry) + END,
            kind="application/x-tar",
        )
        if engine.list_dir(helper, path).entries:
            raise engine.fail(head, answer, f"emptying the volume {name}")


def _taken(name: str) -> DestinationExists:
    return DestinationExists(
        f"a volume {name} is there already", hint="choose another name", volume=name
    )


def _free_name(engine: DockerEngine, name: str) -> dict[str, Any]:
    """Make sure that a volume of this name can be made."""
    if len(name) < 2 or not _ALLOWED.issuperset(name) or name[0] in "_.-":
        raise UsageError(
            f"{name!r} cannot be the name of a volume",
            hint="letters, digits, `_`, `.` and `-`, at least two, the first a letter or digit",
        )
    try:
        _volume(engine, name)
    except NoSuchVolume:
        return {}
    raise _taken(name)


def _remove_made(engine: DockerEngine, name: str, made: str) -> None:
    """Remove a volume that was not filled completely, if it is the one we made.

    The engine may be at work in it for a moment after its client died: "volume is in use".
    """
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            if (_volume(engine, name).get("Labels") or {}).get(MADE_LABEL) == made:
                engine.json("DELETE", f"/volumes/{name}")
            return
        except NotFound:
            return
        except VolcopyError as problem:
            if time.monotonic() > end:
                _log.warning("the volume %s, half filled, could not be removed: %s", name, problem)
                return
        time.sleep(0.1)


def _no_volume(name: str) -> NoSuchVolume:
    return NoSuchVolume(
        f"No such volume: {name}", hint="`docker volume ls` lists the volumes", volume=name
    )


def _volume(engine: DockerEngine, name: str) -> dict[str, Any]:
    if not name or not _ALLOWED.issuperset(name) or name in (".", ".."):
        raise _no_volume(name)
    try:
        found = engine.json("GET", f"/volumes/{name}")
    except NotFound:
        raise _no_volume(name) from None
    if not isinstance(found, dict) or found.get("Name") != name:
        raise _no_volume(name)
    return found


def _make_image(engine: DockerEngine) -> str:
    """An image with nothing in it; its id. Nobody else's: no name, so no race about one."""
    from urllib.parse import urlencode

    owner, process = _identity()
    labels = f'LABEL {HELPER_LABEL}=image {_OWNER}="{owner}" {_PROCESS}="{process}"'
    query = urlencode({"fromSrc": "-", "changes": labels})
    head, answer = engine.call(
        "POST", f"/images/create?{query}", data=bytes(1024), kind="application/x-tar"
    )
    if head.status != 200:
        raise engine.fail(head, answer, "making an empty image")
    import json

    for line in reversed(answer.splitlines()):
        try:
            said = json.loads(line)
        except ValueError:
            continue
        for key in ("status", "id", "stream"):
            text = str(said.get(key) or "").strip()
            if text.startswith("sha256:") or (
                len(text) == 64 and not text.strip("0123456789abcdef")
            ):
                return text
        if said.get("error"):
            raise EngineError(f"the engine could not make an empty image: {said['error']}")
    raise EngineError("the engine did not say which empty image it made")


def _make_helper(engine: DockerEngine, image: str, volume: str, made: str) -> str:
    """A helper that mounts `volume`, and makes it if `made` is given."""
    owner, process = _identity()
    options: dict[str, Any] = {"NoCopy": True}
    if made:
        options["Labels"] = {MADE_LABEL: made}
    answer = engine.json(
        "POST",
        "/containers/create",
        {"name": f"volcopy-helper-{os.urandom(8).hex()}"},
        {
            "Image": image,
            "Cmd": ["never-started"],
            "NetworkDisabled": True,
            "Labels": {
                HELPER_LABEL: "1",
                _OWNER: owner,
                _PROCESS: process,
                _SINCE: str(int(time.time())),
                **({MADE_LABEL: made, _FILLS: volume} if made else {}),
            },
            "HostConfig": {
                "NetworkMode": "none",
                "Mounts": [
                    {
                        "Type": "volume",
                        "Source": volume,
                        "Target": HELPER_PATH,
                        "VolumeOptions": options,
                    }
                ],
            },
        },
    )
    return str(answer["Id"])


def _remove(engine: DockerEngine, helper: str, image: str) -> None:
    """Remove a helper and its image; the volume stays. A failure is logged and swept later."""
    for kind, name in (("containers", helper), ("images", image)):
        if not name:
            continue
        try:
            engine.json("DELETE", f"/{kind}/{name}", {"force": "1"})
        except NotFound:
            pass
        except VolcopyError as problem:
            _log.warning("a helper of ours could not be removed: %s", problem)


def _identity() -> tuple[str, str]:
    """Where process ids mean what they mean here (boot and pid namespace), and our process."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        owner = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        owner = ""
    return owner, _process(os.getpid())


def _process(pid: int) -> str:
    """A process beyond doubt: its id and when it started; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            after_name = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    if after_name[0] == "Z":  # dead, only its parent has not looked yet
        return ""
    return f"{pid} {after_name[19]}"  # field 22 of proc(5): start time


def sweep_helpers(engine: DockerEngine) -> list[str]:
    """Remove helpers that processes left behind.

    Those of this machine go once their process is gone; others, of which that cannot be known, when
    they are older than six hours.

    Returns:
        Names of the containers removed.
    """
    import json

    wanted = json.dumps({"label": [HELPER_LABEL]})
    removed = []
    found = engine.json("GET", "/containers/json", {"all": "1", "filters": wanted}) or []
    for item in found:
        labels = item.get("Labels") or {}
        if _stale(labels, int(item.get("Created") or 0), _FOREIGN_SECONDS):
            _remove(engine, str(item["Id"]), "")  # its image goes below, if it is ours
            if labels.get(MADE_LABEL) and labels.get(_FILLS):
                _remove_made(engine, labels[_FILLS], labels[MADE_LABEL])
            removed.append(str((item.get("Names") or [item["Id"]])[0]).lstrip("/"))
    try:
        images = engine.json("GET", "/images/json", {"filters": wanted}) or []
    except EngineError:
        images = []  # behind a proxy that allows less: then none was made either
    for image in images:
        if _stale(image.get("Labels") or {}, int(image.get("Created") or 0), 600):
            try:
                engine.json("DELETE", f"/images/{image['Id']}")
            except VolcopyError:
                continue  # in use: the engine refuses
    return removed


def _stale(labels: dict[str, Any], created: int, patience: float) -> bool:
    """Whether the process that made it is gone, or where that is not known, it is old."""
    process = str(labels.get(_PROCESS) or "")
    owner = _identity()[0]
    if owner and labels.get(_OWNER) == owner and process:
        pid = process.split()[0]
        return not pid.isdigit() or _process(int(pid)) != process
    since = str(labels.get(_SINCE) or "")
    made = int(since) if since.isdigit() else created
    return time.time() - made > patience
