"""The root of a running container, proven to be that and held by descriptor (see `direct`)."""

from __future__ import annotations

import errno
import os
import stat as bits

from jupyter_volcopy.core.here import is_here
from jupyter_volcopy.core.localfs import DIRECTORY_FLAGS
from jupyter_volcopy.core.paths import base_name, decode, encode, parent
from jupyter_volcopy.core.reach import below, mount_points
from jupyter_volcopy.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from jupyter_volcopy.core.engine import Engine
    from jupyter_volcopy.core.fs_user import FsUser
    from jupyter_volcopy.core.model import Container

__all__ = ["OwnRights", "Root", "close_fd", "same", "why_not"]

_LINKS = 255  # as the engine: links followed in one path
_KERNEL = ("/dev", "/proc", "/sys")
# Each shows whoever looks what is theirs: we would see our own.
_KERNEL_TYPES = frozenset(
    [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nsfs",
        "proc",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "sysfs",
        "tracefs",
    ]
)
_MEMORY_TYPES = ("ramfs", "tmpfs")
_REACH = DIRECTORY_FLAGS | os.O_PATH
_RUNTIMES = ("crun", "io.containerd.runc.v2", "runc")  # a process of theirs is one of this kernel


def why_not(engine: Engine, container: Container) -> str:
    """Why a container cannot be reached directly, as far as that is seen from outside; or ""."""
    host = container.raw.get("HostConfig") or {}
    added = {str(cap).upper().removeprefix("CAP_") for cap in host.get("CapAdd") or ()}
    if os.geteuid():
        return "only root may look into the files of a container"
    if container.state != "running" or container.pid <= 0:
        return f"the container is {container.state}"
    if host.get("Privileged") or added & {"ALL", "SYS_ADMIN"}:
        return "the container may mount what it likes"
    runtime = str(host.get("Runtime") or "runc")
    if runtime not in _RUNTIMES:
        return f"its files are those of another kernel's view ({runtime})"
    if os.path.exists("/sys/fs/selinux/enforce"):
        return "files need SELinux labels that only the engine gives"
    if not is_here(engine.address):
        return "the engine is not proven to be on this machine"
    return ""


class OwnRights:
    """Our own rights, where it could be those of a user (`fs_user.FsUser`)."""

    def __enter__(self) -> OwnRights:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ours(self) -> OwnRights:
        """As `FsUser.ours`."""
        return self

    def inside(self, items: Iterable[Any]) -> Iterable[Any]:
        """As `FsUser.inside`."""
        return items

    outside = inside


class Root:
    """The root of a running container, held by descriptor.

    Args:
        container: as the engine described it just now.

    Attributes:
        rights: those with which whoever asks is to reach what is in it.
        mounted: paths at which something is mounted, with its type. From our own mount namespace
            the kernel lets such a file be replaced, and takes the mount away (mount_namespaces(7)).

    Raises:
        Conflict: the process is not that of the container; the text says what differs.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.rights: OwnRights | FsUser = OwnRights()
        self.mounted: dict[str, str] = {}
        self._kernel: tuple[str, ...] = _KERNEL
        self.fd = self._process = -1
        try:
            self._process = os.open(
                f"/proc/{container.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
            if container.id.encode() not in _read(self._process, "cgroup"):
                raise Conflict("the process is not of the container's cgroup")
            self.fd = os.open(
                "root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._process
            )
            table = _read(self._process, "mountinfo")
            self._check_mount(table)
            self.mounted = mount_points(table)
            self._kernel += tuple(
                target
                for target, kind in self.mounted.items()
                if kind in _KERNEL_TYPES and not self.in_kernel(target, above=False)
            )
            # Last: a process can take itself into users and mounts of its own, but never back.
            if self._namespace("user") != _inode(os.stat("/proc/self/ns/user")):
                raise Conflict("the container has users of its own (userns-remap or rootless)")
            self._mounts = self._namespace("mnt")
        except OSError as error:
            self.close()
            raise Conflict(f"its process cannot be looked at: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    def as_user(self, user: FsUser) -> Root:
        """The same root with a user's rights; it is open as long as this one."""
        found = Root.__new__(Root)
        found.__dict__.update(self.__dict__, rights=user)
        return found

    def _namespace(self, name: str) -> tuple[int, int]:
        return _inode(os.stat("ns/" + name, dir_fd=self._process))

    def alive(self) -> bool:
        """Whether the very process whose root this is still runs, and so its mounts are there."""
        try:
            return self._namespace("mnt") == self._mounts
        except OSError:
            return False

    def _check_mount(self, table: bytes) -> None:
        """The root must be the overlay that the engine made, seen from its top."""
        driver = self.container.raw.get("GraphDriver") or {}
        upper = str((driver.get("Data") or {}).get("UpperDir") or "")
        device = os.fstat(self.fd).st_dev
        number = b"%d:%d" % (os.major(device), os.minor(device))
        option = b"upperdir=" + encode(upper)
        for line in table.split(b"\n"):
            fields = line.split(b" ")
            here = len(fields) > 9 and fields[3:5] == [b"/", b"/"] and fields[2] == number
            if here and upper and option in fields[-1].split(b","):
                return
        raise Conflict("its root is not a file system that the engine says it has")

    def close(self) -> None:
        """Let go of it."""
        close_fd(self.fd)
        close_fd(self._process)
        self.fd = self._process = -1

    # -- paths

    def resolve(self, path: str, *, follow: bool) -> str:
        """`path` with links resolved inside the root, whether it is there or not.

        Args:
            path: absolute.
            follow: the last component too.

        Raises:
            OSError: ELOOP, or what the kernel says.
        """
        todo = encode(path).split(b"/")[::-1]
        done: list[bytes] = []
        held = [os.dup(self.fd)]  # of the directories in `done`; -1 where there is none
        links = 0
        try:
            while todo:
                part = todo.pop()
                if part in (b"", b"."):
                    continue
                if part == b"..":
                    if done:
                        done.pop()
                        close_fd(held.pop())
                    continue
                last = not any(rest not in (b"", b".") for rest in todo)
                at, below = held[-1], -1
                if at >= 0:
                    try:
                        mode = os.stat(part, dir_fd=at, follow_symlinks=False).st_mode
                    except FileNotFoundError:
                        mode = 0
                    if bits.S_ISLNK(mode) and (follow or not last):
                        links += 1
                        if links > _LINKS:
                            raise OSError(errno.ELOOP, "too many links")
                        text = os.readlink(part, dir_fd=at)
                        if text.startswith(b"/"):
                            while done:
                                done.pop()
                                close_fd(held.pop())
                        todo.extend(text.split(b"/")[::-1])
                        continue
                    if bits.S_ISDIR(mode):
                        below = os.open(part, _REACH, dir_fd=at)
                done.append(part)
                held.append(below)
        finally:
            for fd in held:
                close_fd(fd)
        return "/" + decode(b"/".join(done))

    def in_kernel(self, path: str, *, above: bool) -> bool:
        """Whether `path` lies in what the kernel makes, or (with `above`) holds it."""
        return any(below(path, place) or (above and below(place, path)) for place in self._kernel)

    def in_memory(self, path: str) -> bool:
        """Whether what is written at `path` or below may land in memory (tmpfs)."""
        memory = {
            target
            for target, kind in self.mounted.items()
            if kind in _MEMORY_TYPES and not self.in_kernel(target, above=False)
        }
        holder = max((target for target in self.mounted if below(path, target)), key=len)
        return holder in memory or any(below(target, path) for target in memory)

    def is_mounted_over(self, path: str) -> bool:
        """Whether what stands at `path` is not of the root file system; links are followed."""
        real = self.resolve(path, follow=True)
        return any(target != "/" and below(real, target) for target in self.mounted)

    def open_directory(self, path: str, *, read: bool = True) -> int:
        """A descriptor of the directory at the resolved `path`; no link is followed.

        Args:
            path: absolute.
            read: False: it is enough to reach what is in it (`O_PATH`), as for those above it.

        Raises:
            OSError: as the kernel says.
        """
        fd = os.dup(self.fd)
        parts = [part for part in encode(path).split(b"/") if part]
        try:
            for at, part in enumerate(parts, 1):
                flags = DIRECTORY_FLAGS if read and at == len(parts) else _REACH
                below = os.open(part, flags, dir_fd=fd)
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        return fd

    def stat(self, path: str) -> os.stat_result:
        """What stands at the resolved `path`, not followed."""
        if path == "/":
            return os.fstat(self.fd)
        fd = self.open_directory(parent(path), read=False)
        try:
            return os.stat(encode(base_name(path)), dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)


def _inode(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def _read(process: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    try:
        found = bytearray()
        while piece := os.read(fd, 1 << 16):
            found += piece
        return bytes(found)
    finally:
        os.close(fd)


def close_fd(fd: int) -> None:
    """Close a descriptor, if it is one."""
    if fd >= 0:
        os.close(fd)


def same(one: Container, other: Container) -> bool:
    """Whether both are the same container, started at the same moment."""
    return (one.id, one.pid, one.started) == (other.id, other.pid, other.started)
