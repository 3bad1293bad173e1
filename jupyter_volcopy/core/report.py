"""What a finished transfer did (safety F16): counts, and every item that is not there, by name."""

from __future__ import annotations

from jupyter_volcopy.core.model import path_fields
from jupyter_volcopy.core.record import State, Value, each
from jupyter_volcopy.errors import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Note", "Report"]


class Note(Value):
    """One path and what is to be said of it.

    Attributes:
        code: word for machines: `socket`, `special`, `setuid`, `capability`, `filtered`, `equal`,
            `exists`, `bad-link`, `grew`, `vanished`, `unreadable`, `hidden`, `layer`, `owner` ...
    """

    path: str
    text: str
    code: str = "note"

    def __str__(self) -> str:
        return f"{show(self.path)}: {show(self.text)}" if self.path else show(self.text)

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {**path_fields("path", self.path), "text": show(self.text), "code": self.code}


class Report(State):
    """The result of one copy.

    Attributes:
        direction: `pull`, `push` or `copy`.
        sources, destination: as typed.
        landed: final paths, one for each source.
        files, entries, bytes: what was moved (contents only, not tar framing).
        created, replaced: files that were not there, and that were.
        skipped: left out on request or because equal; never an error.
        warnings: worth knowing; exit status stays 0.
        failed: not copied although asked for; a report with any is a failure.
        verified: files whose hashes were compared, or None.
        seconds: monotonic.
    """

    direction: str
    sources: list[str] = each(factory=list)
    destination: str = ""
    landed: list[str] = each(factory=list)
    files: int = 0
    entries: int = 0
    bytes: int = 0
    created: int = 0
    replaced: int = 0
    skipped: list[Note] = each(factory=list)
    warnings: list[Note] = each(factory=list)
    failed: list[Note] = each(factory=list)
    verified: int | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether everything asked for arrived."""
        return not self.failed

    def add(self, other: Report) -> None:
        """Take in the result of one more source."""
        for name in ("landed", "skipped", "warnings", "failed"):
            getattr(self, name).extend(getattr(other, name))
        for name in ("files", "entries", "bytes", "created", "replaced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.verified is not None:
            self.verified = (self.verified or 0) + other.verified

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "ok": self.ok,
            "direction": self.direction,
            "sources": [show(item) for item in self.sources],
            "destination": show(self.destination),
            "landed": [path_fields("path", item) for item in self.landed],
            "files": self.files,
            "entries": self.entries,
            "bytes": self.bytes,
            "created": self.created,
            "replaced": self.replaced,
            "skipped": [item.to_dict() for item in self.skipped],
            "warnings": [item.to_dict() for item in self.warnings],
            "failed": [item.to_dict() for item in self.failed],
            "verified": self.verified,
            "seconds": round(self.seconds, 3),
        }
