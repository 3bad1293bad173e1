"""Names that the engine's JSON cannot hold: every byte that is no UTF-8 comes as U+FFFD.

Only `docker diff` gives names that are nowhere else; which ones they are is then asked of the
directories they lie in.
"""

from __future__ import annotations

import re

from jupyter_volcopy.core.paths import base_name, join, parent
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.errors import VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import Engine
    from jupyter_volcopy.core.model import Change

__all__ = ["mended"]

_LOST = "\ufffd"
_DEEP = 300  # components of a path, beyond which a name is not looked for


def mended(engine: Engine, container: str, changes: list[Change]) -> list[Change]:
    """The changes with the names that are really there; what cannot be found stays as it is.

    Where several names of a directory come as the same one, each of them counts as changed: that is
    never too little for what would be lost.
    """
    if not any(_LOST in change.path for change in changes):
        return changes
    names = _Names(engine, container)
    found = {
        real: replace(change, path=real)
        for change in changes
        for real in (
            [change.path]
            if change.kind == "D" or change.path.count("/") > _DEEP
            else names.real(change.path)
        )
    }
    return [found[path] for path in sorted(found)]


class _Names:
    def __init__(self, engine: Engine, container: str) -> None:
        self._engine, self._container = engine, container
        self._listed: dict[str, list[str]] = {}
        self._real: dict[str, list[str]] = {}

    def real(self, path: str) -> list[str]:
        """The paths that the engine would name so; never empty."""
        if _LOST not in path:
            return [path]
        if path not in self._real:
            wanted = base_name(path)
            self._real[path] = [
                join(above, name)
                for above in self.real(parent(path))
                for name in self._list(above)
                if re.sub("[\udc80-\udcff]", _LOST, name) == wanted
            ] or [path]
        return self._real[path]

    def _list(self, directory: str) -> list[str]:
        if directory not in self._listed:
            try:
                entries = self._engine.list_dir(self._container, directory).entries
            except VolcopyError:
                entries = ()
            self._listed[directory] = [entry.name for entry in entries]
        return self._listed[directory]
