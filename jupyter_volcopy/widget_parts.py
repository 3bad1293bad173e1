"""The parts of the panel: rows of a listing, a section that opens, the row of a transfer.

They hold widgets and no knowledge of engines. Rows are made once and used again for every page, so
turning a page costs two small messages a row. Whoever changes a part holds the panel's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, Box, Button, Checkbox, FloatProgress, HBox, Layout, VBox

from jupyter_volcopy.core.background import FINISHED
from jupyter_volcopy.core.model import Kind, ListedEntry
from jupyter_volcopy.errors import show
from jupyter_volcopy.text import progress_text
from jupyter_volcopy.widget_text import (
    Mark,
    entry_html,
    entry_title,
    escape,
    kind_icon,
    message_html,
    transfer_html,
)

if TYPE_CHECKING:
    from jupyter_volcopy.core.background import Transfer
    from jupyter_volcopy.widget_words import Words

__all__ = ["Crumbs", "Row", "Section", "TransferRow", "set_value"]

_WRAP: dict[str, Any] = {"flex_flow": "row wrap", "align_items": "center", "width": "100%"}


def set_value(widget: Any, **values: Any) -> None:
    """Set what differs, in one message."""
    changed = {key: value for key, value in values.items() if getattr(widget, key) != value}
    if changed:
        with widget.hold_sync():
            for key, value in changed.items():
                setattr(widget, key, value)


class Section(VBox):  # type: ignore[misc]
    """A heading that opens and closes what is below it; a button, so keyboards reach it.

    Args:
        say: the texts.
        title: of the section.
        children: what it holds.
        opened: at first.
    """

    def __init__(
        self, say: Words, title: str, children: Sequence[Any], *, opened: bool = False
    ) -> None:
        self._say = say
        self.heading = Button(description=title, layout=Layout(width="100%", margin="4px 0 0 0"))
        self.heading.add_class("volcopy-section")
        self.body = VBox(list(children), layout=Layout(width="100%", padding="0 0 0 4px"))
        super().__init__([self.heading, self.body], layout=Layout(width="100%"))
        self.heading.on_click(lambda _button: self.unfold(self.body.layout.display == "none"))
        self.unfold(opened)

    def unfold(self, opened: bool = True) -> None:
        """Open it, or close it."""
        self.body.layout.display = None if opened else "none"
        set_value(
            self.heading,
            icon="caret-down" if opened else "caret-right",
            tooltip=self._say("close this section" if opened else "open this section"),
        )


class Crumbs(Box):  # type: ignore[misc]
    """The directories above a path as buttons.

    Args:
        go: called with the path of a button that was pressed.
        say: the texts.
    """

    def __init__(self, go: Callable[[str], None], say: Words) -> None:
        super().__init__(layout=Layout(**_WRAP))
        self._go = go
        self._say = say
        self._pool: list[Button] = []
        self._paths: list[str] = []

    def show_path(self, path: str) -> None:
        """Show the way to a path; of a deep one, its beginning and end."""
        parts = [part for part in path.split("/") if part]
        self._paths = ["/"] + ["/" + "/".join(parts[: at + 1]) for at in range(len(parts))]
        names = ["/", *parts]
        if len(names) > 8:
            self._paths = [self._paths[0], self._paths[-7], *self._paths[-6:]]
            names = ["/", "…", *names[-6:]]
        while len(self._pool) < len(names):
            self._pool.append(self._button(len(self._pool)))
        for button, name, target in zip(self._pool, names, self._paths, strict=False):
            set_value(button, description=show(name), tooltip=self._say("go to {0}", show(target)))
        self.children = tuple(self._pool[: len(names)])

    def _button(self, at: int) -> Button:
        button = Button(layout=Layout(width="auto", min_width="28px", margin="1px"))
        button.add_class("volcopy-crumb")
        button.on_click(lambda _button: self._go(self._paths[at]))
        return button


class Row(HBox):  # type: ignore[misc]
    """One entry of a listing: a box to select it, its name to open it, and its facts.

    Args:
        pick: called with the name and whether it is selected now.
        enter: called with the entry whose name was pressed.
        say: the texts.
    """

    def __init__(
        self,
        pick: Callable[[str, bool], None],
        enter: Callable[[ListedEntry], None],
        say: Words,
    ) -> None:
        self._say = say
        self.entry: ListedEntry | None = None
        self.box = Checkbox(indent=False, layout=Layout(width="22px", margin="0 0 0 4px"))
        # 200 px: below that the facts go under the name.
        self.name = Button(layout=Layout(flex="1 1 150px", width="auto", min_width="0", margin="0"))
        self.name.add_class("volcopy-name")
        self.facts = HTML(layout=Layout(flex="0 1 auto", margin="0 6px 0 4px"))
        super().__init__(
            [self.box, self.name, self.facts],
            layout=Layout(**_WRAP, min_height="30px", flex="0 0 auto"),
        )

        def picked(change: Any) -> None:
            if self.entry is not None:
                pick(self.entry.name, bool(change.new))

        def pressed(_button: Any) -> None:
            if self.entry is not None:
                enter(self.entry)

        self.box.observe(picked, "value")
        self.name.on_click(pressed)

    def fill(self, entry: ListedEntry, selected: bool, mark: Mark | None) -> None:
        """Show an entry."""
        self.entry = entry
        name = show(entry.name)
        if entry.kind is Kind.DIRECTORY:
            name += "/"
        elif entry.kind is Kind.SYMLINK and entry.link_target:
            name += f" → {show(entry.link_target)}"
        set_value(
            self.name,
            description=name,
            icon=kind_icon(entry.kind),
            tooltip=f"{show(entry.name)}: {entry_title(self._say, entry)}",
        )
        set_value(self.facts, value=entry_html(self._say, entry, mark))
        set_value(self.box, value=selected, tooltip=self._say("select {0}", show(entry.name)))


class TransferRow(VBox):  # type: ignore[misc]
    """One transfer: what goes where, how far it is, and the way to stop it.

    Args:
        transfer: which.
        title: in words.
        stop: called when it is to be cancelled (a second time: at once).
        forget: called when it is over and its row is to go.
        say: the texts.
    """

    def __init__(
        self,
        transfer: Transfer,
        title: str,
        stop: Callable[[Transfer], None],
        forget: Callable[[TransferRow], None],
        say: Words,
    ) -> None:
        self._say = say
        self.over = False  # its end is shown
        self.transfer = transfer
        self.title = HTML(f"<strong>{escape(title)}</strong>", layout=Layout(width="100%"))
        self.bar = FloatProgress(
            min=0, max=1, layout=Layout(flex="1 1 100px", width="auto", min_width="60px")
        )
        self.button = Button(
            description=say("Cancel"), layout=Layout(width="auto", flex="0 0 auto")
        )
        self.text = HTML(layout=Layout(width="100%"))
        super().__init__(
            [self.title, HBox([self.bar, self.button], layout=Layout(**_WRAP)), self.text],
            layout=Layout(width="100%", margin="0 0 6px 0"),
        )

        def pressed(_button: Any) -> None:
            if self.over:
                forget(self)
            else:
                stop(self.transfer)

        self.button.on_click(pressed)
        self.draw()

    def draw(self) -> bool:
        """Show how it stands; returns whether it is over."""
        say, state = self._say, self.transfer.state
        if state in FINISHED:
            styles = {"done": "success", "failed": "danger", "cancelled": "warning"}
            set_value(self.bar, value=1.0, bar_style=styles[state])
            set_value(self.text, value=transfer_html(say, self.transfer))
            set_value(self.button, description=say("Remove"), tooltip=say("take this line away"))
            self.over = True
            return True
        progress = self.transfer.meter.snapshot()
        share = progress.bytes / progress.bytes_total if progress.bytes_total else 0.0
        if state == "queued":
            line = say("waiting for another transfer to end")
        elif self.transfer.cancel.asked:
            line = say("stopping; press again to stop at once")
        else:
            line = progress_text(progress, 100)
        set_value(self.bar, value=min(1.0, share), bar_style="info")
        set_value(self.text, value=message_html(line))
        return False
