"""A shelf of rescues: what would be lost is kept for each user, and put back when they return.

`SHELF/<user>/<server>/<time>/` holds one rescue (see `rescue`). An age limit and a quota for each
user take away the oldest; what is larger than the quota is not kept at all, and that is said. What
was put back is marked, so it is not put back twice.
"""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime, timezone

from jupyter_volcopy.core.control import Cancel
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.localfs import local_error
from jupyter_volcopy.core.many import folder_name
from jupyter_volcopy.core.paths import join
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.core.removal import forecast
from jupyter_volcopy.core.rescue import Rescued, rescue
from jupyter_volcopy.core.restore import Restored, restore
from jupyter_volcopy.errors import LimitExceeded, PartialWrite

__all__ = ["Shelf"]

_DEFAULT = "default"
_BACK = ".restored"


class Shelf(Value):
    """Where rescues of users lie.

    Attributes:
        directory: made with the first rescue, for its owner only.
        quota: bytes for each user.
        days: after which a rescue is removed; 0 for never.
    """

    directory: str
    quota: int = 1 << 30
    days: float = 30.0

    def place(self, user: str, server: str = "") -> str:
        """The directory of one server."""
        name = f"server-{folder_name(server)}" if server else _DEFAULT
        return join(join(self.directory, folder_name(user)), name)

    def keep(
        self,
        engine: Engine,
        container: str,
        user: str,
        server: str = "",
        how: str = "spawner",
        cancel: Cancel | None = None,
    ) -> Rescued | None:
        """Save what removing a container would lose; None where that is nothing.

        Raises:
            LimitExceeded: it is more than the quota; nothing was saved.
            PartialWrite: some of it could not be saved; the rest was.
            VolcopyError: nothing was saved.
        """
        seen = forecast(engine, container, how, caches=False)
        if not seen.lost:
            return None
        if seen.bytes_lost > self.quota:
            raise LimitExceeded(
                f"{seen.container} would lose {seen.bytes_lost} bytes, more than the quota of "
                f"{self.quota}",
                hint="rescue it by hand, or raise the quota",
            )
        place = self.place(user, server)
        try:
            os.makedirs(place, 0o700, exist_ok=True)
        except OSError as error:
            raise local_error(error, "make", place) from None
        self.tidy(user, room=seen.bytes_lost)
        # Names order the rescues, also of one second.
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        name = f"{stamp}-{seen.id[:12]}-{os.urandom(2).hex()}"
        done = rescue(engine, container, join(place, name), how, caches=False, cancel=cancel)
        if not done.ok:
            raise PartialWrite(
                f"not everything of {seen.container} could be saved: {done.failed[0]}",
                hint=f"what could lies in {join(place, name)}",
            )
        return done

    def newest(self, user: str, server: str = "") -> str:
        """The newest rescue of a server that was not put back yet, or ""."""
        place = self.place(user, server)
        try:
            names = sorted(os.listdir(place))
        except OSError:
            return ""
        for name in reversed(names):
            if not name.startswith(".") and not name.endswith(_BACK):
                return join(place, name)
        return ""

    def put_back(
        self, engine: Engine, container: str, user: str, server: str = ""
    ) -> Restored | None:
        """Put all that was kept of a server into a container, oldest first; None: nothing was.

        Raises:
            VolcopyError: the container could not take it; it stays on the shelf.
        """
        place = self.place(user, server)
        try:
            names = sorted(os.listdir(place))
        except OSError:
            return None
        done: Restored | None = None
        for name in names:
            if name.startswith(".") or name.endswith(_BACK):
                continue
            path = join(place, name)
            done = restore(engine, path, container)
            try:
                os.rename(path, path + _BACK)
            except OSError as error:
                raise local_error(error, "rename", path) from None
        return done

    def tidy(self, user: str, *, room: int = 0) -> list[str]:
        """Remove what is too old, and the oldest until `room` bytes more fit; the names removed."""
        top = join(self.directory, folder_name(user))
        found: list[tuple[str, str]] = []
        for server in _names(top):
            found += [(name, join(join(top, server), name)) for name in _names(join(top, server))]
        found.sort()
        limit = time.time() - self.days * 86_400
        sizes = {path: _size(path) for _, path in found}
        total = sum(sizes.values())
        gone = []
        for _, path in found:
            try:
                old = bool(self.days) and os.stat(path).st_mtime < limit
            except OSError:
                continue
            if old or total + room > self.quota:
                shutil.rmtree(path, ignore_errors=True)
                total -= sizes[path]
                gone.append(path)
        return gone


def _names(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(path) if not name.startswith(".")]
    except OSError:
        return []


def _size(path: str) -> int:
    total = 0
    for top, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(top, name)).st_size
            except OSError:
                continue
    return total
