"""What a refusal of the engine means: its status and text as one of our errors.

The engine says most things only in words (status 500 for a full disk, a read-only mount and a name
in the way alike), so the words decide. Its text stays in the message, since people search for it;
paths of the engine's own storage are taken out: they mean nothing to the reader and tell where the
engine keeps its data.
"""

from __future__ import annotations

from jupyter_volcopy.errors import (
    Busy,
    Conflict,
    EngineError,
    EngineTooOld,
    NoSpace,
    NoSuchContainer,
    NoSuchPath,
    NoSuchVolume,
    NotADirectory,
    NotFound,
    ReadOnlyTarget,
    VolcopyError,
)

__all__ = ["error_from_answer", "missing_path", "without_host_paths"]

# Where engines keep the root of a container: <data root>/overlay2/<id>/merged and its like; the
# same for containerd's snapshots and, on other layouts, volumes and bind staging.
_STORAGE = (
    r"/[^\s\"':]*?/(?:"
    r"(?:overlay2?|aufs/mnt|btrfs/subvolumes|vfs/dir|zfs/graph|devicemapper/mnt|fuse-overlayfs"
    r"|rootfs/[a-z0-9-]+|containers/storage/overlay)/[0-9a-f]{64}(?:-init)?"
    r"(?:/(?:merged|rootfs|diff|mounts))?"
    r"|snapshots/[0-9]+/fs"
    r"|volumes/[A-Za-z0-9][A-Za-z0-9_.-]*/_data"
    r")(?=[/\s\"':,]|$)"
)
_LONG = 2000

# First match decides. Texts of moby's daemon/archive.go, pkg/archive, volume and the kernel.
_WORDS: tuple[tuple[str, type[VolcopyError], str], ...] = (
    (
        "rootfs is marked read-only",
        ReadOnlyTarget,
        "copy into one of its writable mounts instead",
    ),
    (
        "volume is marked read-only",
        ReadOnlyTarget,
        "it is mounted read-only: copy to another path, or start the container with it writable",
    ),
    ("read-only file system", ReadOnlyTarget, "copy to a path that is mounted writable"),
    ("no space left on device", NoSpace, "make room on the engine's disk, then copy again"),
    ("disk quota exceeded", NoSpace, "make room within the quota, then copy again"),
    ("multiple ids found with provided prefix", NoSuchContainer, "write more of the id"),
    ("extraction point is not a directory", NotADirectory, ""),
    ("cannot overwrite", Conflict, "remove or rename what is there first"),
    (
        "device or resource busy",
        Busy,
        "it is a mount of its own (a single file bound into the container), which cannot be"
        " replaced: change its source on the host, or copy beside it",
    ),
    ("text file busy", Busy, "a program in the container runs it: stop that first"),
)


def without_host_paths(text: str) -> str:
    """`text` with paths of the engine's storage cut down to the path in the container."""
    if "/" not in text:
        return text
    import re  # a plain copy meets no refusal: its start is spared this

    return re.sub(_STORAGE, "", text)


def missing_path(container: str, path: str) -> NoSuchPath:
    """The error for a path that is not there, in the engine's own words."""
    return NoSuchPath(
        f"Could not find the file {path} in container {container}",
        container=container,
        path=path,
    )


def error_from_answer(
    status: int, text: str, what: str = "", *, container: str = "", path: str = ""
) -> VolcopyError:
    """The error for one refusal.

    Args:
        status: of the HTTP answer.
        text: the engine's message (`message` of its JSON).
        what: the call, used where the engine gave no text.
        container: as the caller named it; shown instead of its id.
        path: the path the call was about.

    Returns:
        An error to be raised.
    """
    said = without_host_paths(text.strip())
    if len(said) > _LONG:
        said = said[:_LONG] + " ..."
    said = said or f"the engine answered {what or 'a call'} with status {status}"
    low = said.lower()
    context = {key: value for key, value in (("container", container), ("path", path)) if value}
    if status == 404:
        if "no such container" in low:
            return NoSuchContainer(said, hint="`docker ps -a` lists the containers", **context)
        if "could not find the file" in low or "no such file or directory" in low:
            return NoSuchPath(said, **context)
        if "no such volume" in low:
            return NoSuchVolume(said, hint="`docker volume ls` lists the volumes", **context)
        if "page not found" in low:
            return EngineTooOld(f"the engine does not know {what or 'this call'}: {said}")
        return NotFound(said, **context)
    for words, kind, hint in _WORDS:
        if words in low:
            return kind(said, hint=hint, **context)
    if status == 409:
        hint = ""
        if "is not running" in low:
            hint = "start the container first"
        elif "is paused" in low:
            hint = "unpause the container first"
        return Conflict(said, hint=hint, **context)
    if status == 400 and "not a directory" in low:
        return NotADirectory(said, **context)
    if "no such file or directory" in low and status == 500:
        return NoSuchPath(said, **context)
    return EngineError(said, engine_status=status, **context)
