"""Who did what on a Hub, in a file: append-only lines of JSON, rotated (safety S36).

Each line has the time, the event, the user, where the request came from, and the answer; refused
attempts too; never a token, never a content. The lines are pure ASCII, so no name can forge one.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from logging.handlers import RotatingFileHandler
from typing import Any

from jupyter_volcopy.core.model import when
from jupyter_volcopy.core.policy import User
from jupyter_volcopy.web.audit import Audit, Heard

__all__ = ["HubAudit"]

_RECENT = 500


class _Private(RotatingFileHandler):
    """Every file it begins is for its owner only, whatever the umask."""

    def _open(self) -> Any:
        file = open(  # noqa: SIM115 - the handler closes it
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )
        os.fchmod(file.fileno(), 0o600)  # it may have been there
        return file


class HubAudit(Audit):
    """Writes the lines into a file, and keeps the last ones for the administrators' page.

    Args:
        path: of the file; "" for the log only.
        log: of the service; gets the lines where there is no file.
        most: bytes of one file.
        kept: older files.
    """

    def __init__(
        self,
        path: str,
        log: logging.Logger | logging.LoggerAdapter[Any],
        *,
        most: int = 10 << 20,
        kept: int = 10,
    ) -> None:
        super().__init__(log)
        self.recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        self._file: logging.Logger | None = None
        self._handler: RotatingFileHandler | None = None
        if path:
            os.makedirs(os.path.dirname(path) or ".", 0o700, exist_ok=True)
            self._handler = _Private(path, maxBytes=most, backupCount=kept, encoding="ascii")
            self._handler.setFormatter(logging.Formatter("%(message)s"))
            self._file = logging.Logger("volcopy-audit", logging.INFO)
            self._file.addHandler(self._handler)

    def line(self, event: str, **facts: Any) -> None:
        """One line."""
        made = {"time": when(time.time()), "event": event, **facts}
        self.recent.append(made)
        if self._file is None:
            super().line(event, **facts)
        else:
            self._file.info("%s", json.dumps(made, default=str))

    def heard(self) -> Heard:
        """To be told the decisions of one request or transfer."""
        return _Heard(self)

    def close(self) -> None:
        """Let go of the file."""
        if self._handler is not None:
            self._handler.close()


class _Heard(Heard):
    """Adds where the request came from."""

    def more(self, user: User) -> dict[str, Any]:
        """The address, and what the proxy says is behind it."""
        return {"remote": getattr(user, "remote", "")}
