"""One push: a local path, or archive entries already here, into a container."""

from __future__ import annotations

import os

from jupyter_volcopy.core.localfs import Tree
from jupyter_volcopy.core.model import Entry, Kind, Stat
from jupyter_volcopy.core.outgoing import Outgoing, OutgoingOptions
from jupyter_volcopy.core.ownership import push_owner
from jupyter_volcopy.core.paths import base_name, clean, join, parent
from jupyter_volcopy.core.plan import Landing, Placement, Source, leaves, place
from jupyter_volcopy.core.push import Item, clean_container, send, send_new, takes_far_links
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.sides import container_landing, local_source
from jupyter_volcopy.core.survey import Survey
from jupyter_volcopy.core.transfer import ROOM_MATTERS, ROOT_USER, Place, Run, twice
from jupyter_volcopy.errors import EngineError, NoSuchPath, NotFound, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from jupyter_volcopy.core.again import Standing

__all__ = ["Wants", "far_links", "land", "push", "send_parts", "sweep_container"]

Wants: TypeAlias = "Callable[[str, Kind, int, int], str | None]"

MANY = 1000
"""Entries from which a new tree is better renamed as a whole, by a program in the container."""


def land(run: Run, destination: Place, *, into_directory: bool) -> Landing:
    """What stands at the destination, in the container as its processes see it.

    Raises:
        NoSuchPath: several sources, and it is no directory.
        VolcopyError: it cannot be reached or written.
    """
    path = clean(destination.path if destination.path.startswith("/") else "/" + destination.path)
    reach = destination.reach
    reach.check_live(path, destination.typed)
    user = ROOT_USER if reach.is_live(path) else None
    landing = container_landing(
        run.engine,
        destination.container,
        destination.path,
        follow=not run.options.safe,
        user=user,
    )
    if into_directory and not landing.is_dir and (landing.exists or not run.options.parents):
        raise NoSuchPath(
            f"several sources need an existing directory, {destination.typed!r} is none",
            hint="make it first, or use --parents",
        )
    return landing


def push(
    run: Run, typed: str, destination: Place, *, into_directory: bool, wants: Wants | None
) -> None:
    """Copy the local path `typed` into a container.

    Args:
        run: the transfer; its report is filled.
        typed: local, as typed.
        destination: the container's side.
        into_directory: several sources: the destination must be a directory.
        wants: filter, see `OutgoingOptions`.

    Raises:
        VolcopyError: every file at the destination is the old or the whole new one.
    """
    twice(run, lambda: _push(run, typed, destination, into_directory, wants))


def _push(
    run: Run, typed: str, destination: Place, into_directory: bool, wants: Wants | None
) -> None:
    """One try; only what is reached directly is tried again (see `DirectEngine.confirm`)."""
    options = run.options
    source, found = local_source(typed, follow=options.follow_link or options.follow_all)
    landing = land(run, destination, into_directory=into_directory)
    if options.parents:
        from jupyter_volcopy.core.ancestors import as_directory

        landing = as_directory(landing, is_dir=source.is_dir, into_directory=into_directory)
    placement = place(source, landing, destination.typed)
    destination.reach.check_writable(placement.path, destination.typed)
    with _tree(source, follow_all=options.follow_all) as tree:
        chosen = _outgoing_options(run, destination, placement, landing, wants)
        standing: Standing | None = None
        if landing.exists and (options.update or options.no_clobber or options.backup):
            standing, chosen = _standing(run, destination, placement, source, tree, chosen)
        outgoing = Outgoing(tree, _rel(source), placement, chosen)
        look = outgoing.look()
        if found.kind is Kind.SOCKET:
            run.report.warnings.append(Note(typed, "a socket: sockets cannot be copied", "socket"))
            return
        survey = Survey(run.engine, destination, placement, known=_known(landing, placement))
        if standing is not None:
            survey.adopt(standing.kinds(), standing.sizes())
            standing.check_backups(outgoing.names())
        survey.check(outgoing.names())
        if look.bytes >= ROOM_MATTERS:
            from jupyter_volcopy.core.room import check

            check(
                run,
                destination,
                placement.path,
                look.bytes,
                look.largest,
                replaced=survey.replaced,
                freed=survey.freed,
            )
        if not look.entries or (standing is not None and not standing.changed):
            run.sure()
            for _ in outgoing.items():
                pass  # what is left out is said there
            run.report.skipped.extend(outgoing.skipped)
            run.report.warnings.extend(outgoing.warnings)
            if look.entries:
                run.report.landed.append(f"{destination.container.name}:{placement.path}")
            return
        run.meter.entries_total, run.meter.bytes_total = look.entries, look.bytes
        sweep_container(run, destination)
        if options.parents:
            from jupyter_volcopy.core.ancestors import make

            make(run, destination, placement.directory)
        done = False
        new = bool(placement.name) and survey.kind(placement.name) is None
        if source.is_dir and new and look.entries >= MANY:
            done = _send_new(run, destination, placement, outgoing)
            if not done:  # nothing of it is there
                outgoing = Outgoing(tree, _rel(source), placement, chosen)
        if not done:
            send_parts(
                run,
                destination,
                placement,
                outgoing.items,
                has_files=look.has_files,
                top=found.kind,
                merges=source.is_dir and survey.kind(placement.name) is Kind.DIRECTORY,
            )
        sent: dict[str, bytes | None] | None = dict(outgoing.digests()) if options.verify else None
    report = run.report
    report.files += outgoing.files
    report.bytes += outgoing.bytes
    report.entries += look.entries
    report.skipped.extend(outgoing.skipped)
    report.warnings.extend(outgoing.warnings)
    report.failed.extend(outgoing.failed)
    report.replaced += survey.replaced
    report.created += max(0, outgoing.files - survey.replaced)
    if outgoing.files and not source.is_dir and sent is None:
        _look_after(run, destination, placement, outgoing.bytes)
    if sent is not None:
        from jupyter_volcopy.core.verify import verify_arrived

        verify_arrived(run, destination, placement, sent)
    report.landed.append(f"{destination.container.name}:{placement.path}")


def _send_new(run: Run, destination: Place, placement: Placement, outgoing: Outgoing) -> bool:
    """Send a large new tree as a whole and rename it; False: it is to be sent entry by entry."""
    reach, container = destination.reach, destination.container
    can_rename = getattr(run.engine, "can_rename", None)
    if (
        container.state != "running"
        or reach.holder(placement.path) in reach.live
        or reach.mounts_below(placement.path)
        or can_rename is None
        or not can_rename(container.id, placement.path)
    ):
        return False
    far = _FarLinks()
    items = far.without(outgoing.items(), placement.directory)
    if not send_new(
        run.engine,
        container.id,
        placement.directory,
        placement.name,
        items,
        journal=run.journal,
        copy_uid_gid=run.options.archive,
        meter=run.meter,
        cancel=run.cancel,
    ):
        run.meter.bytes = run.meter.entries = 0
        return False
    if far.links:
        far.send(run, destination, placement.directory)
    return True


def _tree(source: Source, *, follow_all: bool = False) -> Tree:
    path = source.path if source.is_dir else parent(source.path)
    if follow_all:
        from jupyter_volcopy.core.followed import FollowedTree

        return FollowedTree.open(path)
    return Tree.open(path, follow=False)  # its links were resolved: one that is there now is new


def _rel(source: Source) -> str:
    return "" if source.is_dir else base_name(source.path)


def _known(landing: Landing, placement: Placement) -> bool | None:
    """False where nothing can be there yet, True where a file is; None: look."""
    if landing.exists:
        return None if landing.is_dir else True
    return False


def _outgoing_options(
    run: Run, destination: Place, placement: Placement, landing: Landing, wants: Wants | None
) -> OutgoingOptions:
    options = run.options
    return OutgoingOptions(
        owner=push_owner(run, destination, placement.directory, landing),
        safe=options.safe,
        keep_links=options.keep_links,
        skip_bad_links=options.skip_bad_links,
        far_links=far_links(run, destination, placement.directory),
        wants=wants,
        inconsistent=options.inconsistent,
    )


def far_links(run: Run, destination: Place, directory: str) -> Callable[[], bool]:
    """Asks the engine once whether it takes relative links that lead out of `directory`."""
    known: list[bool] = []

    def takes() -> bool:
        if not known:
            known.append(takes_far_links(run.engine, destination.container.id, directory))
        return known[0]

    return takes


def _standing(
    run: Run,
    destination: Place,
    placement: Placement,
    source: Source,
    tree: Tree,
    chosen: OutgoingOptions,
) -> tuple[Standing, OutgoingOptions]:
    """What stands there, and the options that leave out what need not be sent."""
    from jupyter_volcopy.core.again import Standing

    if placement.name:
        tops = [(placement.name, Kind.DIRECTORY if source.is_dir else Kind.FILE)]
    else:
        plain = Outgoing(tree, _rel(source), placement, replace(chosen, skip_bad_links=True))
        tops = [(name, kind) for name, kind in plain.names() if "/" not in name]
    standing = Standing(run, destination, placement, owner=chosen.owner, tops=tops)
    before = standing.backup if run.options.backup else None
    return standing, replace(chosen, leave=standing.leave, before=before)


def send_parts(
    run: Run,
    destination: Place,
    placement: Placement,
    items: Callable[[Callable[[str], bool] | None], Iterator[Item]],
    *,
    has_files: bool,
    top: Kind,
    merges: bool,
) -> None:
    """Send `items` in as many archives as there are mounts at the destination.

    A hard link cannot cross a mount, and the archive API does not see some mounts at all: what lies
    in one is sent by an archive of its own, unpacked at the mount. So is what is merged into a
    directory that is there already: its parent, in which nothing changes, keeps its time (R17). The
    hidden name changes the time of the directory unpacked in, so such a directory is sent once more
    at the end, by itself.

    Args:
        run: the transfer.
        destination: the container's side.
        placement: where it lands.
        items: gives the items for which a predicate on the name holds; called once per archive.
        has_files: there are regular files among them.
        top: what the source is.
        merges: the top is a directory and one is there already.
    """
    reach = destination.reach
    directory = placement.directory
    root = placement.path
    if placement.name and top is not Kind.DIRECTORY:
        reach.check_single_file(root, destination.typed)
    home = reach.holder(root)
    nested = reach.mounts_below(root) if top is Kind.DIRECTORY else []
    for target in nested:
        shown = f"{destination.container.name}:{target}"
        for item in items(_exactly(_relative(target, directory))):
            _close(item)
            if target in reach.mounts and item.entry.kind is not Kind.DIRECTORY:
                reach.check_single_file(target, shown)
            reach.check_writable(target, shown)

    def in_mount(target: str, at: str) -> Callable[[str], bool]:
        def predicate(name: str) -> bool:
            path = join(directory, name)
            if path == at:
                return False
            return reach.holder(path) == target or (path in nested and target == home)

        return predicate

    first = root if merges and placement.name else directory
    parts = [(first, home)] + [(target, target) for target in nested]
    again: list[str] = []
    far = _FarLinks()
    for where, mount in parts:
        live = mount in reach.live
        plain = where == directory and not nested
        found = items(None if plain else in_mount(mount, where))
        if where != directory:
            one = next(found, None)
            if one is None:
                continue
            found = _renamed(one, found, len(_relative(where, directory)) + 1)
            if not live:
                again.append(_relative(where, directory))
        if not live:
            found = far.without(found, where)
        left = send(
            run.engine,
            destination.container.id,
            where,
            found,
            journal=run.journal,
            live=live,
            staged=has_files,
            copy_uid_gid=run.options.archive,
            meter=run.meter,
            cancel=run.cancel,
        )
        if left:
            text = (
                "a second name of what was copied, left by the engine; `volcopy clean` removes it"
            )
            run.report.warnings.append(
                Note(
                    f"{destination.container.name}:{left}",
                    f"{text} once the container runs",
                    "hidden",
                )
            )
    if far.links:
        far.send(run, destination, directory)
    if merges and placement.name and placement.name not in again and home not in reach.live:
        again.append(placement.name)
    if again:
        body = (item for name in again for item in items(_exactly(name)))
        send(
            run.engine,
            destination.container.id,
            directory,
            body,
            journal=run.journal,
            staged=False,
            copy_uid_gid=run.options.archive,
        )


class _FarLinks:
    """Links that leave the directory an archive is unpacked in, which many engines refuse (E11).

    They are sent by an archive of their own, unpacked further up, and after them the directories
    they are in, whose times they changed.
    """

    def __init__(self) -> None:
        self.links: list[Entry] = []
        self._parents: dict[str, Entry] = {}

    def without(self, items: Iterator[Item], where: str) -> Iterator[Item]:
        """The items but those links; `where` is the directory the names are relative to."""
        # with their names, which whoever sends them may change
        around: list[tuple[str, Entry]] = []
        for item in items:
            entry = item.entry
            while around and not entry.name.startswith(around[-1][0] + "/"):
                around.pop()
            if entry.kind is Kind.DIRECTORY:
                around.append((entry.name, entry))
            elif (
                entry.kind is Kind.SYMLINK
                and not entry.link.startswith("/")
                and leaves(where, entry.name, entry.link)
            ):
                self.links.append(replace(entry, name=join(where, entry.name)))
                for name, above in around[-1:]:
                    path = join(where, name)
                    self._parents[path] = replace(above, name=path)
                continue
            yield item

    def send(self, run: Run, destination: Place, directory: str) -> None:
        """Send them, from `directory` if they may be unpacked there, else from the root."""
        above = directory.rstrip("/") + "/"

        def inside(entry: Entry) -> bool:
            if not entry.name.startswith(above):
                return False
            return not leaves(directory, entry.name[len(above) :], entry.link)

        container = destination.container.id
        if not (
            all(inside(entry) for entry in self.links)
            or takes_far_links(run.engine, container, directory)
        ):
            directory, above = "/", "/"
        entries = [*self.links, *self._parents.values()]
        send(
            run.engine,
            destination.container.id,
            directory,
            (Item(replace(entry, name=entry.name[len(above) :])) for entry in entries),
            journal=run.journal,
            staged=False,
            copy_uid_gid=run.options.archive,
            cancel=run.cancel,
        )


def _relative(path: str, directory: str) -> str:
    return path[len(directory.rstrip("/")) + 1 :]


def _exactly(rel: str) -> Callable[[str], bool]:
    return lambda name: name == rel


def _renamed(first: Item, rest: Iterator[Item], strip: int) -> Iterator[Item]:
    yield _rename(first, strip)
    for item in rest:
        yield _rename(item, strip)


def _rename(item: Item, strip: int) -> Item:
    item.entry.name = item.entry.name[strip:]
    if item.entry.kind is Kind.HARDLINK:
        item.entry.link = item.entry.link[strip:]
    return item


def _close(item: Item) -> None:
    if item.open is not None:
        os.close(item.open()[0])


def _look_after(run: Run, destination: Place, placement: Placement, size: int) -> None:
    """What stands there now must be what was sent."""
    live = destination.reach.is_live(placement.path)
    user = ROOT_USER if live else None
    try:
        found: Stat | None = run.engine.stat(destination.container.id, placement.path, user=user)
    except NoSuchPath:
        found = None
    if found is None or found.kind is not Kind.FILE or found.size != size:
        raise EngineError(
            f"{destination.typed}: the engine said done, but "
            + ("nothing is there" if found is None else f"{found.size} bytes are there"),
            hint="something else writes there, or a mount hides the place",
        )


def sweep_container(run: Run, destination: Place) -> None:
    """Remove what an earlier, killed transfer of ours left in this container (safety F1)."""
    for left in run.journal.leftovers(run.journal.directory):
        if left.container != destination.container.id:
            continue
        try:
            clean_container(run.engine, left.container, left.directory, left.name)
        except NotFound:
            pass
        except VolcopyError:
            continue
        run.journal.forget(left)
