r"""Facts of an engine as JSON and back, nothing lost.

It is what `ServiceEngine` and the REST interface say to each other beyond what is shown to people.
Names keep their bytes: JSON's `\udcXX` escapes carry the surrogates of paths. The environment of a
container and most of its raw inspect never travel, since they hold secrets.
"""

from __future__ import annotations

from typing import Any

from jupyter_volcopy.core.model import (
    Change,
    Container,
    EngineInfo,
    Kind,
    ListedEntry,
    Mount,
    Record,
    Stat,
    Volume,
    VolumeUse,
)
from jupyter_volcopy.core.record import Words, fields, replace

__all__ = [
    "from_change",
    "from_container",
    "from_entry",
    "from_info",
    "from_stat",
    "from_volume",
    "to_wire",
    "without_secrets",
]

_HOST = (
    "AutoRemove",
    "Binds",
    "CapAdd",
    "Mounts",
    "Privileged",
    "Tmpfs",
    "VolumeDriver",
    "VolumesFrom",
)
_CONFIG = ("Image", "User", "Volumes", "WorkingDir")


def to_wire(value: Any) -> Any:
    """A value of the model as JSON-able data, exactly."""
    if isinstance(value, Record):
        return {name: to_wire(getattr(value, name)) for name in fields(type(value))}
    if isinstance(value, Words):
        return value.value
    if isinstance(value, (list, tuple)):
        return [to_wire(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_wire(item) for key, item in value.items()}
    return value


def without_secrets(container: Container) -> Container:
    """The container without its environment, and of the raw inspect only what a copy needs.

    Of the environment only who Jupyter runs as stays, which says whose the files are.
    """
    raw = container.raw
    host, config = raw.get("HostConfig") or {}, raw.get("Config") or {}
    kept: dict[str, Any] = {}
    if raw:
        kept = {
            "Image": raw.get("Image"),
            "HostConfig": {key: host[key] for key in _HOST if key in host},
            "Config": {key: config[key] for key in _CONFIG if key in config},
        }
    env = tuple(item for item in container.env if item.partition("=")[0] in ("NB_UID", "NB_GID"))
    return replace(container, env=env, raw=kept, pid=0)


def _known(kind: Any, data: Any) -> dict[str, Any]:
    """The fields of a record among those that came: a newer server may send more."""
    return {name: data[name] for name in fields(kind) if name in data}


def from_container(data: Any) -> Container:
    """A container from `to_wire`."""
    found = _known(Container, data)
    found["mounts"] = tuple(Mount(**_known(Mount, item)) for item in data.get("mounts") or ())
    found["tmpfs"] = tuple(data.get("tmpfs") or ())
    found["env"] = tuple(data.get("env") or ())
    return Container(**found)


def from_volume(data: Any) -> Volume:
    """A volume from `to_wire`."""
    found = _known(Volume, data)
    uses = data.get("used_by") or ()
    found["used_by"] = tuple(VolumeUse(**_known(VolumeUse, item)) for item in uses)
    return Volume(**found)


def from_stat(data: Any) -> Stat:
    """A stat from `to_wire`."""
    found = _known(Stat, data)
    found["kind"] = Kind(data["kind"])
    return Stat(**found)


def from_entry(data: Any) -> ListedEntry:
    """A line of a listing from `to_wire`."""
    found = _known(ListedEntry, data)
    found["kind"] = Kind(data["kind"])
    return ListedEntry(**found)


def from_change(data: Any) -> Change:
    """A change from `to_wire`."""
    return Change(**_known(Change, data))


def from_info(data: Any) -> EngineInfo:
    """What is known of the engine; it is never local to whoever asks over HTTP."""
    found = _known(EngineInfo, data)
    found["security"] = tuple(data.get("security") or ())
    found["local"] = False
    return EngineInfo(**found)
