"""`--verify`: after the copy, every file is read on both sides and compared by SHA-256.

The container's side is read as a second archive, so that works in every state. What differs was
changed by somebody meanwhile, or lost: it is named, and the copy has failed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from jupyter_volcopy.core.again import container_digests, file_digest
from jupyter_volcopy.core.paths import encode, join
from jupyter_volcopy.core.plan import Placement
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.transfer import Place, Run
from jupyter_volcopy.errors import NotADirectory, NotFound

__all__ = ["verify_arrived", "verify_pull"]


def _compare(run: Run, here: dict[str, bytes | None], there: dict[str, bytes | None]) -> None:
    report = run.report
    for name, digest in here.items():
        other = there.get(name)
        if digest is None or other is None:
            report.failed.append(Note(name, "could not be read back to be compared", "verify"))
        elif digest != other:
            report.failed.append(
                Note(name, "is not the same on both sides (sha256 differs)", "verify")
            )
    report.verified = (report.verified or 0) + len(here)


def verify_pull(
    run: Run, source: Place, path: str, placement: Placement, written: Iterable[str]
) -> None:
    """Compare what was pulled with the container's files.

    Args:
        run: the transfer; differences are reported as failed.
        source: the container's side.
        path: of the source, as it was read (links resolved, a `/.` kept).
        placement: where it landed.
        written: paths of the files below the top.
    """
    here: dict[str, bytes | None] = {}
    for rel in written:
        name = join(placement.path, rel) if rel else placement.path
        try:
            fd = os.open(encode(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            here[rel] = None
            continue
        try:
            here[rel] = file_digest(fd)
        finally:
            os.close(fd)
    if not here:
        run.report.verified = run.report.verified or 0
        return
    there: dict[str, bytes | None] = {}
    reads = [path]
    plain = path.removesuffix("/.").rstrip("/") or "/"
    for target in source.reach.live_below(plain) if source.container.running else []:
        reads.append(target + "/.")
    for one in reads:
        prefix = one.removesuffix("/.")[len(plain.rstrip("/")) :].strip("/")
        try:
            found = container_digests(run, source, one)
        except (NotFound, NotADirectory):
            continue
        for rel, digest in found.items():
            there["/".join(part for part in (prefix, rel) if part)] = digest
    _compare(run, here, there)


def verify_arrived(
    run: Run, destination: Place, placement: Placement, sent: dict[str, bytes | None]
) -> None:
    """Compare what was sent with what stands in the container now.

    Args:
        run: the transfer; differences are reported as failed.
        destination: the container's side.
        placement: where it landed.
        sent: SHA-256 of each file by its name, relative to the placement's directory.
    """
    there: dict[str, bytes | None] = {}
    reach, running = destination.reach, destination.container.running
    for top in sorted({name.partition("/")[0] for name in sent}):
        path = join(placement.directory, top)
        reads = [path] + [t for t in reach.live_below(path) if running]
        for one in reads:
            prefix = top + one[len(path) :]
            try:
                found = container_digests(run, destination, one)
            except (NotFound, NotADirectory):
                continue
            for rel, digest in found.items():
                there["/".join(part for part in (prefix, rel) if part)] = digest
    _compare(run, sent, there)
