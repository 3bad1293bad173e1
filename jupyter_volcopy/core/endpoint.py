"""One side of a copy: how it is spelled, and what it means.

The grammar is `docker cp`'s (rules R2 to R5 in docs/docker-cp rules; docker/cli `splitCpArg`): an
argument that starts with `/`, or whose part before the first `:` is missing or starts with `.`, is
local; `-` is a stream. One spelling more, which `docker cp` could never accept as a container since
`=` cannot stand in a container's name: `volume=NAME:PATH`, and for a folder that a Hub's
administrator shares `share=NAME:PATH`, which is a volume of the Hub's service. Likewise
`engine=NAME/CONTAINER:PATH`, `engine=NAME/volume=VOLUME:PATH` for another engine (see `engines`):
the prefix is part of the container's or volume's name.
"""

from __future__ import annotations

from jupyter_volcopy.core.record import Value
from jupyter_volcopy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = [
    "ENGINE_PREFIX",
    "SHARE_PREFIX",
    "ContainerPath",
    "Endpoint",
    "LocalPath",
    "SharePath",
    "Stream",
    "VolumePath",
    "parse_endpoint",
    "split_engine",
]

ENGINE_PREFIX = "engine="
"""What stands before the name of an engine."""

SHARE_PREFIX = "volcopy-share-"
"""How the volumes of shared folders are called."""


class LocalPath(Value):
    """A path where our code runs, as it was typed."""

    path: str

    def __str__(self) -> str:
        head = self.path.partition(":")[0]
        plain = ":" not in self.path or self.path.startswith(("/", ".")) or not head
        return self.path if plain and self.path != "-" else "./" + self.path


class ContainerPath(Value):
    """A path in a container, as it was typed; relative ones mean below `/`."""

    container: str
    path: str

    def __str__(self) -> str:
        return f"{self.container}:{self.path}"


class VolumePath(Value):
    """A path in a volume; the volume's own root is `/`."""

    volume: str
    path: str

    def __str__(self) -> str:
        engine, name = split_engine(self.volume)
        if engine:
            return f"{ENGINE_PREFIX}{engine}/volume={name}:{self.path}"
        return f"volume={self.volume}:{self.path}"


class SharePath(VolumePath):
    """A path in a shared folder of a Hub: its service has a volume for each."""

    def __str__(self) -> str:
        return f"share={self.volume.removeprefix(SHARE_PREFIX)}:{self.path}"


class Stream(Value):
    """A tar archive on standard input or output."""

    def __str__(self) -> str:
        return "-"


Endpoint: TypeAlias = "LocalPath | ContainerPath | VolumePath | Stream"


def split_engine(name: str) -> tuple[str, str]:
    """The engine named before a container or volume ("" for the usual one), and its plain name."""
    if not name.startswith(ENGINE_PREFIX):
        return "", name
    engine, _, plain = name[len(ENGINE_PREFIX) :].partition("/")
    return engine, plain


def parse_endpoint(text: str) -> Endpoint:
    """What `text` means as one side of a copy; `str()` of the result means the same again.

    Raises:
        UsageError: a volume, share or engine without a name or without `:`.
    """
    if text == "-":
        return Stream()
    if text.startswith("/"):
        return LocalPath(text)
    head, colon, rest = text.partition(":")
    if head.startswith("volume="):
        name = head[len("volume=") :]
        if not name or not colon:
            raise UsageError(
                f"{text!r} does not name a path in a volume", hint="write volume=NAME:PATH"
            )
        return VolumePath(name, rest)
    if head.startswith(ENGINE_PREFIX):
        engine, plain = split_engine(head)
        volume = plain.startswith("volume=")
        name = plain.removeprefix("volume=")
        if not engine or not name or not colon or "/" in name or "=" in name:
            raise UsageError(
                f"{text!r} does not name a path on another engine",
                hint="write engine=NAME/CONTAINER:PATH or engine=NAME/volume=VOLUME:PATH",
            )
        full = f"{ENGINE_PREFIX}{engine}/{name}"
        return VolumePath(full, rest) if volume else ContainerPath(full, rest)
    if head.startswith("share="):
        name = head[len("share=") :]
        if not name or not colon:
            raise UsageError(
                f"{text!r} does not name a path in a shared folder", hint="write share=NAME:PATH"
            )
        return SharePath(SHARE_PREFIX + name, rest)
    if not colon or not head or head.startswith("."):
        return LocalPath(text)
    return ContainerPath(head, rest)
