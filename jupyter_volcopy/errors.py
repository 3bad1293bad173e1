"""Everything that can go wrong, in one family.

::

    VolcopyError                 error          500   1
    ├ UsageError                 usage          400   1   bad endpoint, wrong number of arguments
    │ └ BadOption                bad-option     400   125 unknown option or a bad value of one
    ├ NotFound                   not-found      404   1
    │ ├ NoSuchContainer, NoSuchVolume, NoSuchPath
    ├ Conflict                   conflict       409   1
    │ ├ NotADirectory, IsADirectory, DestinationExists, ReadOnlyTarget, Busy
    ├ AccessDenied               denied         403   4   the policy said no
    ├ UnsafeEntry                unsafe-entry   502   5   the archive tried to leave its place
    ├ LimitExceeded              limit          413   1   more entries or bytes than allowed
    │ └ TooMany                  too-many       429   1   more requests or transfers than allowed
    ├ SourceChanged              changed        409   1   the source changed while it was read
    ├ PartialWrite               partial        500   6   some of it arrived; says what
    ├ LocalError                 local          500   1
    │ ├ NoSpace (507), LocalPermission
    ├ EngineError                engine         502   1   the engine refused; its own text kept
    │ ├ CutStream                cut            502   1   the archive ended before its end
    │ ├ EngineUnreachable        unreachable    503   7
    │ ├ EngineStalled            stalled        504   7
    │ └ EngineTooOld             too-old        502   7
    ├ Precondition               precondition   412   1   a condition of the request does not hold
    ├ Interrupted                interrupted    500   1   the server ended while it ran
    └ TransferCancelled          cancelled      499   130

A class carries everything a door needs: the code for machines, the HTTP status, the exit status of
a command. The message says what happened and to what; the hint says what to do.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


__all__ = [
    "AccessDenied",
    "BadOption",
    "Busy",
    "Conflict",
    "CutStream",
    "DestinationExists",
    "EngineError",
    "EngineStalled",
    "EngineTooOld",
    "EngineUnreachable",
    "Interrupted",
    "IsADirectory",
    "LimitExceeded",
    "LocalError",
    "LocalPermission",
    "NoSpace",
    "NoSuchContainer",
    "NoSuchPath",
    "NoSuchVolume",
    "NotADirectory",
    "NotFound",
    "PartialWrite",
    "Precondition",
    "ReadOnlyTarget",
    "SourceChanged",
    "TooMany",
    "TransferCancelled",
    "UnsafeEntry",
    "UsageError",
    "VolcopyError",
    "error_from_dict",
    "internal_error",
    "show",
]


def _unsafe(char: str) -> bool:
    """Whether `char` could act on a terminal or mislead a reader instead of being shown."""
    code = ord(char)
    return (
        code < 0x20
        or 0x7F <= code <= 0x9F
        or 0xD800 <= code <= 0xDFFF
        or code in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF)
        or 0x202A <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
    )


def show(text: str) -> str:
    r"""`text` as it may be shown to a person: controls, bidi marks and odd bytes escaped.

    Args:
        text: a name or message; bytes that are not UTF-8 are surrogates U+DC80..U+DCFF.

    Returns:
        The text with such characters as ``\xNN`` or ``\uNNNN``; everything else unchanged.
    """
    if text.isprintable() and text.isascii():
        return text
    out = []
    for char in text:
        if not _unsafe(char):
            out.append(char)
            continue
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        else:
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
    return "".join(out)


class VolcopyError(Exception):
    """Base of the family.

    Args:
        message: what happened, and to what. It may hold raw names; it is shown escaped.
        hint: what to do about it, a sentence, or empty.
        context: facts for machines (paths, container), JSON values only.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", **context: Any) -> None:
        super().__init__(message)
        self.message = show(message)
        self.hint = show(hint)
        self.context = context

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def to_dict(self) -> dict[str, Any]:
        """The error as the body of a REST reply and of `--json`."""
        context = {
            key: show(value) if isinstance(value, str) else value
            for key, value in self.context.items()
        }
        return {"code": self.code, "message": self.message, "hint": self.hint, "context": context}

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(VolcopyError):
    """The request itself makes no sense."""

    code = "usage"
    status = 400


class BadOption(UsageError):
    """No such option, or a value that it cannot have (docker's exit status for these)."""

    code = "bad-option"
    exit_code = 125


class NotFound(VolcopyError):
    """Something named is not there."""

    code = "not-found"
    status = 404


class NoSuchContainer(NotFound):
    """No container of that name or id."""

    code = "no-such-container"


class NoSuchVolume(NotFound):
    """No volume of that name."""

    code = "no-such-volume"


class NoSuchPath(NotFound):
    """No file or directory at that path."""

    code = "no-such-path"


class Conflict(VolcopyError):
    """What is there does not fit what should happen."""

    code = "conflict"
    status = 409


class NotADirectory(Conflict):
    """A directory was needed, something else is there."""

    code = "not-a-directory"


class IsADirectory(Conflict):
    """A directory is where something else was to go."""

    code = "is-a-directory"


class DestinationExists(Conflict):
    """The destination exists and was not to be replaced."""

    code = "exists"


class ReadOnlyTarget(Conflict):
    """The destination is mounted read-only."""

    code = "read-only"


class Busy(Conflict):
    """Somebody else is writing there, or the name is a mount and cannot be replaced."""

    code = "busy"


class AccessDenied(VolcopyError):
    """The policy said no."""

    code = "denied"
    status = 403
    exit_code = 4


class UnsafeEntry(VolcopyError):
    """An archive held something no engine sends, or that would leave its place."""

    code = "unsafe-entry"
    status = 502
    exit_code = 5


class LimitExceeded(VolcopyError):
    """More entries or bytes than the limit allows."""

    code = "limit"
    status = 413


class SourceChanged(VolcopyError):
    """The source changed while it was read."""

    code = "changed"
    status = 409


class PartialWrite(VolcopyError):
    """Not everything arrived; the context lists what did and what did not."""

    code = "partial"
    exit_code = 6


class LocalError(VolcopyError):
    """The local file system refused."""

    code = "local"


class NoSpace(LocalError):
    """No room, here or in the container."""

    code = "no-space"
    status = 507


class LocalPermission(LocalError):
    """The local file system did not permit it."""

    code = "local-permission"


class EngineError(VolcopyError):
    """The engine refused; its own text is in the message."""

    code = "engine"
    status = 502


class CutStream(EngineError):
    """An archive ended before its end: the copy is not complete."""

    code = "cut"


class EngineUnreachable(EngineError):
    """No engine answers at the address."""

    code = "unreachable"
    status = 503
    exit_code = 7


class EngineStalled(EngineError):
    """The engine stopped answering, or sent nothing for too long."""

    code = "stalled"
    status = 504
    exit_code = 7


class EngineTooOld(EngineError):
    """The engine cannot do what is needed."""

    code = "too-old"
    exit_code = 7


class TooMany(LimitExceeded):
    """More requests or transfers at a time than one user may have."""

    code = "too-many"
    status = 429


class Precondition(VolcopyError):
    """A condition the request made (`If-None-Match`) does not hold; nothing was changed."""

    code = "precondition"
    status = 412


class Interrupted(VolcopyError):
    """The process ended while a transfer ran; no final name holds half a file."""

    code = "interrupted"


class TransferCancelled(VolcopyError):
    """Somebody cancelled the transfer."""

    code = "cancelled"
    status = 499
    exit_code = 130


def _family(base: type[VolcopyError]) -> dict[str, type[VolcopyError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        found.update(_family(child))
    return found


def error_from_dict(body: dict[str, Any]) -> VolcopyError:
    """Rebuild an error from `VolcopyError.to_dict()`, as it came over HTTP."""
    context = body.get("context")
    return _family(VolcopyError).get(str(body.get("code")), VolcopyError)(
        str(body.get("message", "unknown error")),
        hint=str(body.get("hint") or ""),
        **(context if isinstance(context, dict) else {}),
    )


def internal_error(error: BaseException) -> VolcopyError:
    """A fault of our own as an error that can be said; its traceback only if that was asked for.

    Args:
        error: what no part of this package expected. With `VOLCOPY_DEBUG=1` in the environment its
            traceback goes to standard error.
    """
    import os
    import sys
    import traceback

    if os.environ.get("VOLCOPY_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error, file=sys.stderr)
        hint = "please report it with the lines above and what you asked for"
    else:
        hint = "please report it, with what VOLCOPY_DEBUG=1 in the environment adds"
    said = " ".join(str(error).split())[:500]
    return VolcopyError(
        f"internal error: {type(error).__name__}" + (f": {said}" if said else ""), hint=hint
    )
