"""Which parts of a container's tree the archive API reaches, and what is mounted where.

The engine mounts binds and volumes for an archive call, but not tmpfs, `/dev/shm`, `/proc`, `/sys`
and `/dev`, nor what was mounted by a process inside: there it sees the layer beneath (rule R74).
What is written there is invisible in the container, so these places are reached through a program
run in it, or not at all.
"""

from __future__ import annotations

from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.model import Container, Mount
from jupyter_volcopy.core.paths import clean, decode
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.errors import Busy, Conflict, ReadOnlyTarget, VolcopyError

__all__ = ["Reach", "below", "mount_points"]

KERNEL = ("/dev", "/proc", "/sys")
"""Made by the kernel for a running container: nothing to copy, and nothing is written there."""


def below(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies in it, by name."""
    return path == directory or directory == "/" or path.startswith(directory + "/")


class Reach(Value):
    """The mounts of one container, by target.

    Attributes:
        mounts: binds and volumes.
        live: targets which only a process in the container sees: tmpfs, mounts made inside.
    """

    container: Container
    mounts: dict[str, Mount]
    live: tuple[str, ...]

    @classmethod
    def of(cls, engine: Engine, container: Container) -> Reach:
        """Of an inspected container; asks the engine only where mounts could be made inside."""
        mounts = {clean(m.target): m for m in container.mounts if m.type != "tmpfs"}
        live = {clean(m.target) for m in container.mounts if m.type == "tmpfs"}
        live.update(clean(target) for target in container.tmpfs)
        live.add("/dev/shm")  # noqa: S108 - a place in the container
        if container.running and _may_mount(container):
            live.update(_made_inside(engine, container, mounts))
        return cls(container, mounts, tuple(sorted(live - set(mounts))))

    def holder(self, path: str) -> str:
        """The target of the mount in which `path` lies, `/` for the root file system."""
        best = "/"
        for target in (*self.mounts, *self.live, *KERNEL):
            if below(path, target) and len(target) > len(best):
                best = target
        return best

    def is_live(self, path: str) -> bool:
        """Whether only a process in the container sees `path`."""
        return self.holder(path) in self.live

    def live_below(self, path: str) -> list[str]:
        """Targets of live mounts below `path`, those in `/dev` excepted."""
        return [t for t in self.live if t != path and below(t, path) and not below(t, "/dev")]

    def mounts_below(self, path: str) -> list[str]:
        """Targets of every other mount below `path`."""
        return sorted(t for t in (*self.mounts, *self.live) if t != path and below(t, path))

    def survives(self, path: str) -> bool:
        """Whether what lies at `path` outlives the container."""
        return self.holder(path) in self.mounts

    def check_live(self, path: str, typed: str) -> None:
        """Refuse a path that cannot be reached now.

        Raises:
            Conflict: it lies in a tmpfs of a container that is not running, or outside of the
                volume for which the container is a helper of ours.
        """
        if (
            self.container.state == "created"
            and self.container.is_helper
            and self.holder(path) not in self.mounts
        ):
            raise Conflict(
                f"{typed}: a link in the volume leads to {path}, outside of the volume",
                hint="name a container that mounts it: what is there is that one's",
            )
        if self.is_live(path) and not self.container.running:
            raise Conflict(
                f"{typed} lies in {self.holder(path)}, which is mounted in memory while the "
                f"container runs; it is {self.container.state}",
                hint="start the container, or choose another place",
            )

    def check_writable(self, path: str, typed: str) -> None:
        """Refuse a destination that cannot be written, before anything is sent (O07 to O09).

        Raises:
            ReadOnlyTarget: the mount or the root file system is read-only.
            Busy: the path is a mounted file and cannot be replaced.
            Conflict: see `check_live`; also the kernel's own places.
        """
        holder = self.holder(path)
        if holder in KERNEL and path != holder:
            raise Conflict(
                f"{typed} lies in {holder}, which the kernel makes for a running container; "
                "a file written there would be invisible",
                hint="choose another place",
            )
        self.check_live(path, typed)
        mount = self.mounts.get(holder)
        if mount is not None and mount.read_only:
            raise ReadOnlyTarget(
                f"mounted volume is marked read-only: {typed} lies in {holder}",
                hint="choose a place outside of it, or start the container without :ro",
            )
        if holder == "/" and self.container.read_only:
            raise ReadOnlyTarget(
                f"container rootfs is marked read-only: {typed}",
                hint="choose a place in a writable volume of the container",
            )

    def check_single_file(self, path: str, typed: str) -> None:
        """Refuse to replace a file that is itself a mount (O09).

        Raises:
            Busy: naming the file it is mounted from.
        """
        if path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf") and self.container.running:
            raise Busy(
                f"device or resource busy: {typed} is mounted by the engine, it cannot be replaced",
                hint="set it when the container is made (--add-host, --hostname, --dns)",
            )
        mount = self.mounts.get(path)
        if mount is not None:
            raise Busy(
                f"device or resource busy: {typed} is mounted from {mount.source}, "
                "it cannot be replaced",
                hint=f"write to {mount.source} on the engine's host, if you may",
            )


def _may_mount(container: Container) -> bool:
    host = container.raw.get("HostConfig") or {}
    caps = {str(cap).upper().removeprefix("CAP_") for cap in host.get("CapAdd") or ()}
    return bool(host.get("Privileged")) or bool(caps & {"ALL", "SYS_ADMIN"})


def _made_inside(engine: Engine, container: Container, known: dict[str, Mount]) -> set[str]:
    """Mount points of the container's own making, from its mount table (proc(5), mountinfo)."""
    try:
        answer = engine.execute(container.id, ["cat", "/proc/self/mountinfo"])
    except VolcopyError:
        return set()
    found = set()
    for target in mount_points(answer.stdout):
        engine_made = target in ("/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
        if not engine_made and target not in known and not any(below(target, k) for k in KERNEL):
            found.add(target)
    return found


def mount_points(table: bytes) -> dict[str, str]:
    """Where something is mounted, and its type, by a mount table (proc(5), mountinfo)."""
    found = {}
    for line in decode(table).split("\n"):  # names may hold other ends of lines
        parts = line.split(" ")
        if len(parts) < 5:
            continue
        target = parts[4]
        for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            target = target.replace(code, char)
        found[target] = line.partition(" - ")[2].partition(" ")[0]
    return found
