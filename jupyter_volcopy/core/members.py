"""What the members of a container's archive may be called (safety S1, S2, S5, R34).

A container can make the engine send anything. Here a member's name becomes a path below the top
that was asked for, or the copy is refused. That every parent is there, that no name comes twice and
that nothing is written through a link is seen to by `Stage`, which writes into an empty directory.
"""

from __future__ import annotations

from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import is_plain
from jupyter_volcopy.core.plan import Placement, leaves
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.errors import Conflict, UnsafeEntry

__all__ = ["Members", "bad_link"]

DEPTH = 512


class Members:
    """Turns names of one archive into paths below its top.

    Args:
        top: the first component every name must have: the base name asked for, `.` for `path/.`.
        placement: where it lands, for the rule on links that leave it.
        is_dir: what the engine's stat said the source is.
        keep_links: relative links that leave the tree are copied as they are.
        skip_bad_links: such links are left out.
    """

    def __init__(
        self,
        top: str,
        placement: Placement,
        is_dir: bool | None,
        *,
        keep_links: bool = False,
        skip_bad_links: bool = False,
    ) -> None:
        self._top = top
        self._prefix = top + "/"
        self._placement = placement
        self._is_dir = is_dir
        self._keep_links = keep_links
        self._skip_bad_links = skip_bad_links
        self._first = True
        self.notes: list[Note] = []

    def below(self, name: str) -> str:
        """`name` as a path below the top; "" is the top itself.

        Raises:
            UnsafeEntry: it is not below the top, or holds an empty, `.` or `..` component.
        """
        if name == self._top:
            return ""
        rel = name[len(self._prefix) :]
        if not name.startswith(self._prefix) or not rel:
            raise UnsafeEntry(
                f"refused: the archive holds {name!r}, which is not below {self._top!r}",
                hint="the container sent something nobody asked for; nothing was written",
                path=name,
            )
        if not is_plain(rel):
            raise UnsafeEntry(
                f"refused: the archive holds the name {name!r}",
                hint="no engine sends such a name; nothing was written",
                path=name,
            )
        if rel.count("/") >= DEPTH:
            raise UnsafeEntry(f"refused: {name[:80]!r}... is nested deeper than {DEPTH} levels")
        return rel

    def admit(self, entry: Entry) -> str | None:
        """The path below the top at which `entry` belongs; None where it is to be left out.

        Changes `entry.link` of a hard link into a path below the top.

        Raises:
            UnsafeEntry: see `below`; also a kind that does not fit what the engine said.
        """
        rel = self.below(entry.name)
        if self._first:
            self._first = False
            if rel:
                raise UnsafeEntry(f"refused: the archive begins with {entry.name!r}, not its top")
            is_dir = entry.kind is Kind.DIRECTORY
            if self._is_dir is not None and self._is_dir != is_dir:
                raise UnsafeEntry(
                    f"refused: {entry.name!r} was said to be a "
                    f"{'directory' if self._is_dir else 'file'}, the archive holds another kind",
                    hint="it changed while it was read; try again",
                )
            self._is_dir = is_dir
        elif not self._is_dir:
            raise UnsafeEntry(
                f"refused: one file was asked for, the archive also holds {entry.name!r}"
            )
        if entry.kind is Kind.HARDLINK:
            entry.link = self.below(entry.link)
        elif entry.kind is Kind.SYMLINK and not self._link_may(entry, rel):
            return None
        return rel

    def _link_may(self, entry: Entry, rel: str) -> bool:
        link = entry.link
        if link.startswith("/"):
            self.notes.append(
                Note(entry.name, f"link to {link}, outside of what was copied", "link")
            )
            return True
        name = f"{self._placement.name}/{rel}".strip("/")
        if not leaves(self._placement.directory, name, link):
            return True
        if self._keep_links:
            self.notes.append(
                Note(entry.name, f"link to {link}, outside of what was copied", "link")
            )
            return True
        if self._skip_bad_links:
            self.notes.append(
                Note(entry.name, f"left out: the link to {link} leaves the tree", "bad-link")
            )
            return False
        raise bad_link(entry.name, link)


def bad_link(name: str, link: str) -> Conflict:
    """The refusal of a relative link that leaves the tree; docker cp's text is in it."""
    return Conflict(
        f"invalid symlink {name!r} -> {link!r}: it leads out of the destination",
        hint="--keep-links copies such links as they are, --skip-bad-links leaves them out",
        path=name,
    )
