"""A new name for what was unpacked under a hidden one, by a program in the container."""

from __future__ import annotations

from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.execute import collect
from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.errors import NoSuchPath, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jupyter_volcopy.core.execute import Program

__all__ = ["Rename"]

_MOVE_WHAT_COMES = ["xargs", "-0", "-r", "mv", "-T"]
_PIECE = 1024
"""Bytes of names that come in one piece on every way there is: no part of one is ever taken."""


class Rename:
    """A rename by a program in the container, which is believed only as far as it is seen.

    It is started before the upload and waits beside that for the two names (design E12): a program
    takes as long to start as some thousand small files to be sent.

    Args:
        engine: whose container it is.
        container: 64-hex id of a running one.
        old, new: absolute paths.
    """

    def __init__(self, engine: Engine, container: str, old: str, new: str) -> None:
        self._engine = engine
        self._container = container
        self._old = old
        self._new = new
        self._names = b"".join(encode(path) + b"\0" for path in (old, new))
        self._waiting: Program | None = None
        start = getattr(engine, "start_program", None)
        if start is not None and len(self._names) <= _PIECE:
            try:
                self._waiting = start(container, _MOVE_WHAT_COMES, user="0:0", stdin=True)
            except VolcopyError:
                pass  # the upload will say why

    def done(self) -> bool:
        """Do it; whether it is seen to be done."""
        waiting, self._waiting = self._waiting, None
        try:
            done = waiting is not None and not collect(waiting, "xargs", self._names).exit_code
            if not done and self._is_there(self._old):
                argv = ["mv", "-T", self._old, self._new]
                done = not self._engine.execute(self._container, argv, user="0:0").exit_code
            return done and not self._is_there(self._old) and self._is_there(self._new)
        except VolcopyError:
            return False

    def _is_there(self, path: str) -> bool:
        """Whether a directory has that name."""
        try:
            return self._engine.stat(self._container, path).is_dir
        except NoSuchPath:
            return False

    def close(self) -> None:
        """Let go of a program that was given nothing: it ends without doing anything."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None
