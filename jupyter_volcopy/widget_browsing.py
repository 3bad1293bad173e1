"""The part of the panel that shows a directory: pages, filter, selection, and their traits."""

from __future__ import annotations

from typing import Any

from ipywidgets.widgets.trait_types import TypedTuple
from traitlets import Unicode, observe, validate

from jupyter_volcopy.core.model import Kind, ListedEntry
from jupyter_volcopy.core.paths import clean, join
from jupyter_volcopy.errors import VolcopyError, show
from jupyter_volcopy.text import size
from jupyter_volcopy.widget_asking import Read, look_into
from jupyter_volcopy.widget_layout import PanelParts
from jupyter_volcopy.widget_parts import Row, set_value
from jupyter_volcopy.widget_text import Marker, VolumeMarker, container_html, escape, message_html

__all__ = ["Browsing"]


class Browsing(PanelParts):
    """The panel as far as it shows a directory; `VolcopyPanel` is the whole."""

    container = Unicode(
        "", help="Name or id of the container that is shown, or volume=NAME; empty: none."
    )
    path = Unicode("/", help="The directory that is shown.")
    selection = TypedTuple(trait=Unicode(), help="Names in that directory that are selected.")

    _read: Read | None
    _marker: Marker | VolumeMarker | None
    _page: int
    _page_size: int
    _pool: list[Row]
    _made: bool

    def _say(self, error: VolcopyError) -> None:
        raise NotImplementedError

    def _status_line(self, text: str) -> None:
        set_value(self._status, value=message_html(text))

    def _real(self) -> str:
        """The directory that is shown, links resolved: where a safe copy may go."""
        return self._read.real if self._read is not None else self.path

    # --- the directory

    @validate("path")
    def _clean_path(self, proposal: Any) -> str:
        return clean(proposal["value"])

    @observe("path")
    def _path_changed(self, _change: Any) -> None:
        if not self._made:
            return
        with self._asking.lock:
            with self._asking.quietly():
                self.selection = ()
                set_value(self._filter, value="")
            if self._asking.quiet:
                return
            self._read = None
            self._draw()
            if self.container:
                self._load(self.path, asked=True)

    def go(self, path: str) -> None:
        """Show another directory of the container; what cannot be listed is said, not shown.

        Args:
            path: absolute, or relative to the directory that is shown.
        """
        with self._asking.lock:
            if self.container:
                self._load(clean(path if path.startswith("/") else join(self.path, path)))

    def _typed(self, text: str) -> None:
        if text and text != show(self.path):
            self.go(text)

    def _load(self, path: str, *, asked: bool = False) -> None:
        """Read a directory ("": where the container works).

        Args:
            path: absolute.
            asked: it is `self.path` already, or will be whatever comes.
        """
        name = self.container
        self._status_line(self._words("reading {0} …", path) if path else self._words("reading …"))

        def listing() -> Read:
            asking = self._asking
            return look_into(asking.engine(), name, path, asking.settings.listing_budget)

        def failed(error: VolcopyError) -> None:
            if asked:
                self._read = None
            self._draw()
            with self._asking.quietly():
                set_value(self._where, value=show(self.path))
            self._say(error)

        self._asking.later("listing", listing, self._show_listing, failed)

    def _show_listing(self, found: Read) -> None:
        before = self.path
        with self._asking.quietly():
            self._read = found
            self.path = found.path
            if before != found.path:
                self._page = 0
            else:
                names = {entry.name for entry in found.entries}
                self.selection = tuple(name for name in self.selection if name in names)
        if found.container is not None:
            set_value(self._facts, value=container_html(self._words, found.container))
        self._without.layout.display = "none"
        self._work.layout.display = None
        self._draw()

    def _shown(self) -> list[ListedEntry]:
        """The entries that the filter lets through."""
        entries = self._read.entries if self._read is not None else []
        wanted = self._filter.value.strip().casefold()
        if not wanted:
            return list(entries)
        return [entry for entry in entries if wanted in show(entry.name).casefold()]

    def _turn(self, page: int) -> None:
        self._page = page
        self._draw()

    def _draw(self) -> None:
        """Show the page of the directory, and what depends on it."""
        shown = self._shown()
        pages = max(1, -(-len(shown) // self._page_size))
        self._page = min(max(self._page, 0), pages - 1)
        first = self._page * self._page_size
        page = shown[first : first + self._page_size]
        while len(self._pool) < len(page):
            self._pool.append(Row(self._pick, self._enter, self._words))
        selected = set(self.selection)
        real = self._read.real if self._read is not None else self.path
        for row, entry in zip(self._pool, page, strict=False):
            mark = self._marker.mark(join(real, entry.name)) if self._marker else None
            row.fill(entry, entry.name in selected, mark)
        rows = tuple(self._pool[: len(page)])
        if self._list.children != rows:
            self._list.children = rows
        self._list.layout.display = None if rows else "none"
        self._crumbs.show_path(self.path)
        with self._asking.quietly():
            set_value(self._where, value=show(self.path))
        set_value(self._back, disabled=self._page == 0)
        set_value(self._next, disabled=self._page >= pages - 1)
        several = None if pages > 1 else "none"
        self._back.layout.display = self._next.layout.display = several
        self._tell(len(shown), first, len(page))
        self._ready()

    def _tell(self, shown: int, first: int, page: int) -> None:
        """The line below the listing."""
        if self._read is None:
            return
        say, every = self._words, len(self._read.entries)
        words = say.count(every, "{0} entry", "{0} entries") if every else say("nothing here")
        if shown != every:
            words = say("{0} of {1}", shown, words)
        if page < shown:
            words = say("{0} to {1} of {2}", first + 1, first + page, words)
        if not self._read.complete:
            more = say("more is there, but the container runs no program that lists it")
            words = f"{words}; {more}"
        chosen = [entry for entry in self._read.entries if entry.name in set(self.selection)]
        if chosen:
            amount = sum(entry.size for entry in chosen if entry.kind is Kind.FILE)
            picked = say("{0} selected", len(chosen))
            if amount:
                picked = say("{0} selected, {1} of files", len(chosen), size(amount))
            words = f"{words} · {picked}"
        self._status_line(words)

    # --- selecting

    def _pick(self, name: str, selected: bool) -> None:
        with self._asking.lock:
            if (name in self.selection) == selected:
                return
            if selected:
                self.selection = (*self.selection, name)
            else:
                self.selection = tuple(other for other in self.selection if other != name)

    def _enter(self, entry: ListedEntry) -> None:
        """The name of an entry was pressed: go there, or select it."""
        with self._asking.lock:
            if entry.kind in (Kind.DIRECTORY, Kind.SYMLINK):
                set_value(self._message, value="")
                self.go(join(self.path, entry.name))
            else:
                self._pick(entry.name, entry.name not in self.selection)

    def _select_all(self) -> None:
        self.selection = tuple(entry.name for entry in self._shown())

    def _select_none(self) -> None:
        self.selection = ()

    @observe("selection")
    def _selection_changed(self, _change: Any) -> None:
        if self._made:
            with self._asking.lock:
                if not self._asking.quiet:
                    self._draw()

    def _ready(self) -> None:
        """Which buttons can be pressed, and what they say."""
        say, number = self._words, len(self.selection)
        set_value(
            self._pull,
            disabled=not number,
            description=say.count(number, "Pull {0} entry", "Pull {0} entries")
            if number
            else say("Pull"),
        )
        chosen = len(self._upload.value) + len(self._push_from.value.split("\n"))
        if not self._push_from.value.strip():
            chosen = len(self._upload.value)
        set_value(self._push, disabled=not chosen)
        where = f"{self.container}:{self.path}" if self.container else ""
        set_value(self._push_into, value=say("into {0}", f"<code>{escape(where)}</code>"))
