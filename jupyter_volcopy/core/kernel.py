"""Linux calls that Python's `os` does not have: openat2, renameat2, syncfs, a thread's rights.

They are made through ctypes, which is imported at the first call only: its import costs more than
a whole copy of a small file. Where a call is missing (old kernel, seccomp filter, odd libc) or the
file system does not know the flag, `NotAvailable` is raised and the caller goes the longer way.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = [
    "RENAME_EXCHANGE",
    "RENAME_NOREPLACE",
    "RESOLVE_BENEATH",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "NotAvailable",
    "Rights",
    "openat2",
    "renameat2",
    "syncfs",
]

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

_OPENAT2 = 437  # the same number on every architecture but alpha (asm-generic/unistd.h)
_RENAMEAT2 = {
    "x86_64": 316,
    "i686": 353,
    "i386": 353,
    "aarch64": 276,
    "riscv64": 276,
    "loongarch64": 276,
    "armv7l": 382,
    "ppc64le": 357,
    "s390x": 347,
}
_SETGROUPS = {  # with 32 bits for each
    "x86_64": 116,
    "i686": 206,
    "i386": 206,
    "aarch64": 159,
    "riscv64": 159,
    "loongarch64": 159,
    "armv7l": 206,
    "ppc64le": 81,
    "s390x": 206,
}
_CAPABILITIES = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of 32 bits for each set
_RETRIES = 64  # openat2 answers EAGAIN while somebody renames in the same tree

_missing: set[str] = set()
_libc_loaded: Any = None


class NotAvailable(Exception):
    """The kernel, sandbox or file system does not have the call; never shown to a person."""


def _libc() -> Any:
    global _libc_loaded
    if _libc_loaded is None:
        import ctypes

        _libc_loaded = ctypes.CDLL(None, use_errno=True)
        _libc_loaded.syscall.restype = ctypes.c_long
    return _libc_loaded


def _failed(name: str, *, flags_may_be_unknown: bool = False) -> OSError:
    """The error of the last call; raises `NotAvailable` if it means there is no such call."""
    import ctypes

    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EPERM) and name == "openat2":
        _missing.add(name)  # seccomp filters of older container engines answer EPERM
        raise NotAvailable(name)
    if code == errno.ENOSYS or (flags_may_be_unknown and code in (errno.EINVAL, errno.ENOTSUP)):
        if code == errno.ENOSYS:
            _missing.add(name)
        raise NotAvailable(name)
    return OSError(code, os.strerror(code))


def openat2(directory: int, path: bytes, flags: int, *, resolve: int) -> int:
    """Open `path` below the descriptor `directory` under the rules of `resolve` (openat2).

    Args:
        directory: descriptor of a directory.
        path: relative, without NUL; `..` must have been refused before (`RESOLVE_BENEATH` allows
            one that stays inside).
        flags: of open(2); O_CLOEXEC is added.
        resolve: RESOLVE_ bits.

    Raises:
        NotAvailable: no such call here.
        OSError: as open(2); ELOOP for a link, EXDEV for a path that leaves.
    """
    if "openat2" in _missing:
        raise NotAvailable("openat2")
    if b"\0" in path:
        raise OSError(errno.EINVAL, "a name holds a NUL byte")
    import ctypes

    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_RETRIES):
        got = int(
            _libc().syscall(
                ctypes.c_long(_OPENAT2),
                ctypes.c_int(directory),
                ctypes.c_char_p(path),
                ctypes.byref(how),
                ctypes.c_size_t(24),
            )
        )
        if got >= 0:
            return got
        error = _failed("openat2")
        if error.errno not in (errno.EAGAIN, errno.EINTR):
            raise error
    raise error


def renameat2(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int) -> None:
    """Rename with flags, both names relative to descriptors.

    Raises:
        NotAvailable: no such call, or the file system does not know the flag.
        OSError: as rename(2); EEXIST with RENAME_NOREPLACE where `new` is there.
    """
    if "renameat2" in _missing:
        raise NotAvailable("renameat2")
    import ctypes

    libc = _libc()
    arguments = (
        ctypes.c_int(old_dir),
        ctypes.c_char_p(old),
        ctypes.c_int(new_dir),
        ctypes.c_char_p(new),
        ctypes.c_uint(flags),
    )
    try:
        call = libc.renameat2
    except AttributeError:
        number = _RENAMEAT2.get(os.uname().machine)
        if number is None:
            _missing.add("renameat2")
            raise NotAvailable("renameat2") from None
        got = libc.syscall(ctypes.c_long(number), *arguments)
    else:
        got = call(*arguments)
    if got != 0:
        raise _failed("renameat2", flags_may_be_unknown=True)


def syncfs(fd: int) -> None:
    """Write everything of the file system that holds `fd` to disk (all of them where unknown)."""
    try:
        call = _libc().syncfs
    except AttributeError:
        os.sync()
        return
    if call(fd) != 0:
        import ctypes

        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Rights:
    """Rights of one thread over files: ids, groups, and what capabilities are in effect.

    Args:
        user, group: for files (setfsuid(2), setfsgid(2)).
        groups: supplementary ones.
        power: the capabilities are in effect that are now; else none.

    Raises:
        NotAvailable: the number of a call is not known here.
        OSError: capget(2) failed.
    """

    def __init__(self, user: int, group: int, groups: Sequence[int], *, power: bool) -> None:
        import ctypes

        number = _SETGROUPS.get(os.uname().machine)
        if number is None:
            raise NotAvailable("setgroups")
        self._ids = user, group
        some = (ctypes.c_uint32 * len(groups))(*groups)
        # by its number: glibc's own changes every thread of the process
        self._groups = ctypes.c_long(number), ctypes.c_size_t(len(groups)), some
        self._header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
        self._sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low words first
        self._libc = _libc()
        if self._libc.capget(self._header, self._sets) != 0:
            raise _failed("capget")
        if not power:
            self._sets[0] = self._sets[3] = 0

    def take(self) -> None:
        """Make them the rights of this thread, and of no other.

        Raises:
            OSError: some of it was refused.
        """
        libc, (user, group) = self._libc, self._ids
        to_root = not user
        if to_root:  # first, so that the rest is permitted
            libc.setfsuid(user)
            self._take_power()
        if libc.syscall(*self._groups) != 0:
            raise _failed("setgroups")
        libc.setfsgid(group)
        libc.setfsuid(user)
        # they never fail, but answer with what was before: an id that nobody has only asks
        if libc.setfsgid(-1) & 0xFFFFFFFF != group or libc.setfsuid(-1) & 0xFFFFFFFF != user:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if not to_root:
            self._take_power()

    def _take_power(self) -> None:
        if self._libc.capset(self._header, self._sets) != 0:
            raise _failed("capset")
