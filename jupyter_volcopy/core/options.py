"""What may be asked of a copy beyond its two sides."""

from __future__ import annotations

import os

from jupyter_volcopy.core.record import Value, fields
from jupyter_volcopy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CopyOptions", "access_to", "options_from"]


class CopyOptions(Value):
    """All options of a copy; the defaults are exactly `docker cp`.

    Attributes:
        archive: `-a`: into a container, everything gets the container's configured user.
        follow_link: `-L`: a link named as the source is followed.
        safe: no power travels: set-id bits cleared, devices and pipes left out, no capabilities,
            the named destination is not followed if it is a link, a pushed file gets the owner of
            the directory it lands in.
        max_entries, max_bytes: refuse an archive with more; None: no limit of ours.
        verify: read back and compare sha256 of every file.
        strict: anything left out is an error.
        exclude, include: gitignore-style patterns, relative to the source.
        exclude_from: local file with more `exclude` patterns.
        dockerignore: honour the `.dockerignore` of a local source directory.
        no_hidden: leave out names below the source that begin with a dot; no include brings them
            back.
        max_size: leave out files larger than this many bytes.
        newer: leave out files not modified after this time (seconds since 1970).
        chown: `UID[:GID]`, names, `container` or `directory`; who owns what arrives.
        numeric_owner: on a pull, keep the container's numeric owners.
        parents: make missing parents of the destination.
        no_clobber: leave existing files alone.
        update: leave out what is already equal (kind, size, mtime, mode).
        checksum: with `update`, compare contents instead of times.
        backup: keep a replaced file as NAME~.
        keep_links: relative links that leave the tree are copied as they are.
        skip_bad_links: such links are left out, with a warning.
        follow_all: follow every link, also inside the tree (loop-safe).
        inconsistent: accept files that changed while they were read.
        pause: pause a running container while it is read.
        durable: fsync before the copy counts as done.
        access: `auto`: directly, as root on the engine's host, where it can be proven that the
            files are that container's, else `api`: ask the engine; `direct`: never the engine.
            Where nothing is said: `VOLCOPY_ACCESS`, the engine's own setting, `auto`.
    """

    archive: bool = False
    follow_link: bool = False
    safe: bool = False
    max_entries: int | None = None
    max_bytes: int | None = None
    verify: bool = False
    strict: bool = False
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude_from: str = ""
    dockerignore: bool = False
    no_hidden: bool = False
    max_size: int | None = None
    newer: float | None = None
    chown: str = ""
    numeric_owner: bool = False
    parents: bool = False
    no_clobber: bool = False
    update: bool = False
    checksum: bool = False
    backup: bool = False
    keep_links: bool = False
    skip_bad_links: bool = False
    follow_all: bool = False
    inconsistent: bool = False
    pause: bool = False
    durable: bool = False
    access: str = ""

    @property
    def filtered(self) -> bool:
        """Whether some entries may be left out on request."""
        return bool(
            self.exclude
            or self.include
            or self.exclude_from
            or self.dockerignore
            or self.no_hidden
            or self.max_size is not None
            or self.newer is not None
        )


def options_from(settings: dict[str, Any]) -> CopyOptions:
    """Options from keyword arguments; lists become tuples.

    Limits that are not given come from the environment, if it has any: `VOLCOPY_MAX_ENTRIES` and
    `VOLCOPY_MAX_BYTES` (safety S11).

    Raises:
        UsageError: an unknown name, or a setting in the environment that is none.
    """
    unknown = sorted(set(settings).difference(fields(CopyOptions)))
    if unknown:
        raise UsageError(f"no such option: {', '.join(unknown)}", hint="see `dcp --help`")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    for name in ("max_entries", "max_bytes"):
        text = os.environ.get(f"VOLCOPY_{name.upper()}")
        if text and values.get(name) is None:
            if not (text.isascii() and text.isdigit()):
                raise UsageError(f"VOLCOPY_{name.upper()}={text!r} is no number")
            values[name] = int(text)
    for one, other in (("no_clobber", "backup"), ("keep_links", "skip_bad_links")):
        if values.get(one) and values.get(other):
            raise UsageError(
                f"conflicting options: --{one.replace('_', '-')} and --{other.replace('_', '-')}",
                hint="choose one",
            )
    for access in (values.get("access", ""), os.environ.get("VOLCOPY_ACCESS", "")):
        if access not in ("", "api", "direct", "auto"):
            raise UsageError(f"no such access: {access!r}", hint="api, direct or auto")
    if values.get("checksum") and not values.get("update"):
        raise UsageError("--checksum says how --update compares", hint="write both")
    return CopyOptions(**values)


def access_to(engine: Any, asked: str = "") -> str:
    """How the files of a running container are to be reached: `auto`, `direct` or `api`.

    Args:
        engine: may have an `access` of its own.
        asked: of the copy, "" where it says nothing.
    """
    return asked or getattr(engine, "access", "") or os.environ.get("VOLCOPY_ACCESS", "") or "auto"
