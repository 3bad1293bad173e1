"""Which sources a copy has, and that all of them can be copied, before the first one is.

Patterns become the names they mean; then every source is looked at and placed. One that is not
there, that does not fit its destination, or that would land where another one lands, ends the copy
before its first byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from jupyter_volcopy.core.ancestors import as_directory
from jupyter_volcopy.core.endpoint import ContainerPath, Endpoint, LocalPath, Stream, VolumePath
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.model import Kind, Stat
from jupyter_volcopy.core.paths import base_name, clean, decode, encode, join, parent
from jupyter_volcopy.core.patterns import expand, expand_local, is_pattern
from jupyter_volcopy.core.plan import Landing, Placement, Source, place
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.core.sides import container_source, local_landing, local_path, local_source
from jupyter_volcopy.core.transfer import ROOT_USER, Place, Run
from jupyter_volcopy.core.transfer_push import land
from jupyter_volcopy.errors import DestinationExists, NoSuchPath, NotADirectory

__all__ = ["Looked", "check_all", "expanded", "in_container", "look"]

PlaceOf = Callable[["ContainerPath | VolumePath"], Place]
"""Finds the container of an endpoint."""


def expanded(engine: Engine, sources: Sequence[Endpoint], place_of: PlaceOf) -> list[Endpoint]:
    """The sources, each pattern replaced by what it means.

    Args:
        engine: whose containers they are in.
        sources: as typed.
        place_of: finds containers.

    Raises:
        NoSuchPath: nothing matches a pattern.
    """
    found: list[Endpoint] = []
    for source in sources:
        if isinstance(source, Stream) or not is_pattern(source.path):
            found.append(source)
        elif isinstance(source, LocalPath):
            found += [LocalPath(path) for path in expand_local(source.path)]
        elif isinstance(source, VolumePath):
            root = place_of(VolumePath(source.volume, "/")).path.removesuffix("/.")
            where = place_of(source)
            paths = expand(engine, where.container, where.reach, where.path, below=root)
            found += [VolumePath(source.volume, path[len(root) :] or "/") for path in paths]
        else:
            where = place_of(source)
            paths = expand(engine, where.container, where.reach, where.path)
            found += [ContainerPath(source.container, path) for path in paths]
    return found


class Looked(Value):
    """One source and where it would land.

    Attributes:
        endpoint: as typed, or as its pattern was expanded.
        source: what it is.
        stat: of what is copied.
        landing: what stands at the destination.
        placement: where its top goes.
    """

    endpoint: Endpoint
    source: Source
    stat: Stat
    landing: Landing
    placement: Placement


def look(
    run: Run, endpoint: Endpoint, target: Endpoint, place_of: PlaceOf, *, into_directory: bool
) -> Looked:
    """Look at both sides of one source; nothing is changed, no content is read.

    Args:
        run: the transfer.
        endpoint: the source; not a stream.
        target: the destination; not a stream.
        place_of: finds containers.
        into_directory: there are several sources.

    Raises:
        VolcopyError: what the copy would fail with for one of these reasons.
    """
    options = run.options
    follow = options.follow_link or options.follow_all
    if isinstance(endpoint, LocalPath):
        source, stat = local_source(endpoint.path, follow=follow)
    else:
        assert isinstance(endpoint, (ContainerPath, VolumePath))
        source, stat = in_container(run, place_of(endpoint), follow)
    if isinstance(target, LocalPath):
        typed = target.path
        landing = _local(run, target.path)
        if into_directory and not landing.is_dir and (landing.exists or not options.parents):
            raise NoSuchPath(
                f"several sources need an existing directory, {typed!r} is none",
                hint="make it first, or use --parents",
            )
    else:
        assert isinstance(target, (ContainerPath, VolumePath))
        destination = place_of(target)
        typed = destination.typed
        landing = land(run, destination, into_directory=into_directory)
    if options.parents:
        landing = as_directory(landing, is_dir=source.is_dir, into_directory=into_directory)
    placement = place(source, landing, typed)
    if not isinstance(target, LocalPath):
        where = place_of(target)
        where.reach.check_writable(placement.path, typed)
        if not landing.exists and not options.parents:
            _check_parent(run, where, placement.directory)
    return Looked(endpoint, source, stat, landing, placement)


def _check_parent(run: Run, where: Place, directory: str) -> None:
    """That the directory a new name is made in is there, as the engine will ask.

    Raises:
        NoSuchPath, NotADirectory: with what the copy would be refused with.
    """
    live = where.reach.is_live(directory) and where.container.running
    user = ROOT_USER if live else None
    missing = NoSuchPath(
        f"Could not find the file {directory} in container {where.container.name}",
        hint="make it first, or use --parents",
    )
    try:
        found = run.engine.stat(where.container.id, directory, user=user)
        if found.kind is Kind.SYMLINK and found.link_target:
            found = run.engine.stat(where.container.id, found.link_target, user=user)
    except NoSuchPath:
        raise missing from None
    if not found.is_dir:
        raise NotADirectory(f"extraction point is not a directory: {where.typed}")


def in_container(run: Run, where: Place, follow: bool) -> tuple[Source, Stat]:
    """What stands at a source in a container; nothing is read of it.

    Raises:
        VolcopyError: nothing does, or it cannot be reached.
    """
    source, stat = container_source(run.engine, where.container, where.path, follow=follow)
    plain = clean(source.path)
    where.reach.check_live(plain, where.typed)

    def stat_of(path: str) -> Stat:
        live = where.reach.is_live(path) and where.container.running
        return run.engine.stat(where.container.id, path, user=ROOT_USER if live else None)

    if stat is None:
        stat = stat_of(plain)
        as_dir = source.path.endswith(("/", "/.")) and plain != "/"
        if stat.kind is Kind.SYMLINK and as_dir and stat.link_target:
            stat = stat_of(stat.link_target)
        if as_dir and not stat.is_dir:
            raise NotADirectory(f"not a directory: {where.typed!r}")
    return Source(source.path, source.name, stat.is_dir, source.contents), stat


def _local(run: Run, typed: str) -> Landing:
    if run.options.parents and typed:
        path = local_path(typed)
        if not os.path.lexists(encode(parent(clean(path)))):
            return Landing(clean(path), False, False, path.endswith(("/", "/.")))
    return local_landing(typed, follow=not run.options.safe)


def check_all(run: Run, sources: Sequence[Endpoint], target: Endpoint, place_of: PlaceOf) -> None:
    """Look at every one of several sources, and that no two have one target.

    Raises:
        DestinationExists: two sources would land at one place.
        VolcopyError: one of them cannot be copied.
    """
    taken: dict[str, str] = {}
    for endpoint in sources:
        looked = look(run, endpoint, target, place_of, into_directory=True)
        for path in _targets(run, looked, place_of):
            if path in taken:
                raise DestinationExists(
                    f"{taken[path]} and {endpoint} would both become {path}",
                    hint="nothing was copied; copy them one by one, to different names",
                    path=path,
                )
            taken[path] = str(endpoint)


def _targets(run: Run, looked: Looked, place_of: PlaceOf) -> list[str]:
    """The paths at which a source begins."""
    if looked.placement.name:
        return [looked.placement.path]
    endpoint = looked.endpoint
    if isinstance(endpoint, LocalPath):
        names = [decode(name) for name in os.listdir(encode(looked.source.path))]
    else:
        assert isinstance(endpoint, (ContainerPath, VolumePath))
        where = place_of(endpoint)
        path = clean(looked.source.path)
        live = where.reach.is_live(path) and where.container.running
        listing = run.engine.list_dir(where.container.id, path, user=ROOT_USER if live else None)
        names = [item.name for item in listing.entries]
    return [join(looked.placement.path, base_name(name)) for name in names]
