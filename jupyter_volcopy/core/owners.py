"""Owners by name: the container's own passwd and group, readable in every state.

Names mean what they mean *in the container*, so its `/etc/passwd` and `/etc/group` are read through
the archive API; no program runs, and a container that was never started will do. The files are as
hostile as the container: they are read up to a limit, and what is not a proper line is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.paths import decode
from jupyter_volcopy.errors import LimitExceeded, NotFound, UsageError, VolcopyError

if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import Engine

__all__ = ["Account", "Owners", "lookup", "read_owners", "read_small_file"]

_LIMIT = 4 << 20
_MAX_ID = (1 << 32) - 2


class Account(NamedTuple):
    """One line of passwd."""

    name: str
    uid: int
    gid: int
    home: str


class Owners:
    """Users and groups of one container.

    Args:
        passwd: text of `/etc/passwd`, or empty.
        group: text of `/etc/group`, or empty.

    Attributes:
        accounts: lines of passwd in order.
        groups: name to gid; of two lines of one name the first counts, as everywhere.
    """

    def __init__(self, passwd: str = "", group: str = "") -> None:
        self.accounts: list[Account] = []
        self.groups: dict[str, int] = {}
        self._members: dict[str, list[int]] = {}
        for line in passwd.split("\n"):
            parts = line.split(":")
            if len(parts) >= 4 and parts[0]:  # as the engine, which takes shorter lines, too
                uid, gid = _number(parts[2]), _number(parts[3])
                if uid is not None and gid is not None:
                    home = parts[5] if len(parts) >= 6 else ""
                    self.accounts.append(Account(parts[0], uid, gid, home))
        for line in group.split("\n"):
            parts = line.split(":")
            gid = _number(parts[2]) if len(parts) >= 3 else None
            if parts[0] and gid is not None:
                self.groups.setdefault(parts[0], gid)
                for member in parts[3].split(",") if len(parts) >= 4 else ():
                    self._members.setdefault(member, []).append(gid)
        self._users = {account.uid: account.name for account in reversed(self.accounts)}
        self._group_names = {gid: name for name, gid in reversed(self.groups.items())}

    def user(self, uid: int) -> str:
        """Name of `uid`, or empty."""
        return self._users.get(uid, "")

    def group(self, gid: int) -> str:
        """Name of `gid`, or empty."""
        return self._group_names.get(gid, "")

    def groups_of(self, name: str) -> list[int]:
        """The groups that name a user as a member."""
        return self._members.get(name, [])

    def account(self, name: str) -> Account | None:
        """The line of `name`, else the first whose uid it is."""
        for account in self.accounts:
            if account.name == name:
                return account
        return self.account_of(_number(name))

    def account_of(self, uid: int | None) -> Account | None:
        """The first line whose uid it is, whatever else is called so."""
        return next((account for account in self.accounts if account.uid == uid), None)


def _number(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID:
        return int(text)
    return None


def read_small_file(engine: Engine, container: str, path: str, limit: int = _LIMIT) -> bytes:
    """The content of one file of a container in any state; a link is followed.

    Args:
        engine: to ask.
        container: id or exact name.
        path: absolute.
        limit: bytes at most.

    Raises:
        NotFound: no file there.
        LimitExceeded: it is longer.
    """
    from jupyter_volcopy.core.tar_reader import TarReader

    stat = engine.stat(container, path)
    if stat.kind is Kind.SYMLINK:
        path = stat.link_target
        stat = engine.stat(container, path)
    if stat.kind is not Kind.FILE:
        raise NotFound(f"{path} is not a file", container=container, path=path)
    if stat.size > limit:
        raise LimitExceeded(f"{path} is longer than {limit} bytes", path=path)
    archive = engine.open_archive(container, path)
    try:
        out = bytearray()
        reader = TarReader(archive, max_bytes=limit)
        for entry in reader:
            if entry.kind is Kind.FILE:
                reader.read(lambda piece: out.__iadd__(piece))
                break
        return bytes(out)
    finally:
        archive.close()


def read_owners(engine: Engine, container: str) -> Owners:
    """Users and groups of a container; what cannot be read counts as empty."""
    texts = []
    for path in ("/etc/passwd", "/etc/group"):
        try:
            texts.append(decode(read_small_file(engine, container, path)))
        except VolcopyError:
            texts.append("")
    return Owners(*texts)


def _unknown(engine: Engine, container: str, what: str, name: str) -> NotFound:
    where = engine.container(container).name
    return NotFound(
        f"no {what} {name!r} in container {where}",
        hint=f"write a number, or a name of /etc/{'passwd' if what == 'user' else 'group'} there",
        container=where,
    )


def lookup(engine: Engine, container: str, spec: str) -> tuple[int, int]:
    """The numbers an owner means in a container.

    Args:
        engine: to ask.
        container: id or exact name, in any state.
        spec: `1000`, `1000:100`, `nb`, `nb:users`, or `container`: the user Jupyter runs as there
            (`NB_UID` of its environment), else its configured user, else root.

    Returns:
        uid and gid. Without a group: that of the account; of a bare number without an account the
        same number (for `container`: 0, as the engine does).

    Raises:
        NotFound: no such user or group there.
        UsageError: not an owner at all.
    """
    orphan: int | None = None
    if spec == "container":
        found = engine.container(container)
        environment = dict(item.split("=", 1) for item in found.env if "=" in item)
        uid, gid = _number(environment.get("NB_UID", "")), _number(environment.get("NB_GID", ""))
        if uid is not None and gid is not None:
            return uid, gid
        spec, orphan = found.user or "0:0", 0
        if uid is not None:
            spec = str(uid)
    user, colon, group = spec.partition(":")
    if not user or (colon and not group) or ":" in group:
        raise UsageError(f"{spec!r} is not an owner", hint="write UID, UID:GID or names")
    uid, gid = _number(user), _number(group)
    if uid is not None and gid is not None:
        return uid, gid
    owners = read_owners(engine, container)
    if uid is None:
        account = next((item for item in owners.accounts if item.name == user), None)
        if account is None:
            raise _unknown(engine, container, "user", user)
        uid = account.uid
    else:
        account = owners.account(user)
    if not group:
        gid = account.gid if account else uid if orphan is None else orphan
    elif gid is None:
        gid = owners.groups.get(group)
        if gid is None:
            raise _unknown(engine, container, "group", group)
    assert gid is not None
    return uid, gid
