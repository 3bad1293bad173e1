"""The parts of the panel and their places: nothing here knows what they do.

Sizes are in pixels only where a finger or an eye needs them; everything else gives way, so that the
panel is usable from 220 pixels on: what does not fit beside goes below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipywidgets import HTML, Button, Dropdown, FileUpload, HBox, Layout, Text, Textarea, VBox

from jupyter_volcopy.core.removal import WAYS
from jupyter_volcopy.widget_asking import Asking
from jupyter_volcopy.widget_moving import TransferSection
from jupyter_volcopy.widget_parts import Crumbs, Section
from jupyter_volcopy.widget_text import STYLE
from jupyter_volcopy.widget_words import Words

__all__ = ["PanelParts"]

# Labels as wide as their words; they name the fields for screen readers, too.
_STYLE = {"description_width": "auto"}


def _wide(**more: Any) -> Layout:
    return Layout(**{"width": "auto", "flex": "1 1 140px", "min_width": "60px", **more})


def _line(*children: Any) -> HBox:
    """Widgets beside one another, below one another where it is narrow."""
    return HBox(
        list(children), layout=Layout(flex_flow="row wrap", align_items="center", width="100%")
    )


def _button(text: str, tooltip: str = "", **more: Any) -> Button:
    # Without an icon: its character would be part of the name that screen readers say.
    return Button(
        description=text,
        tooltip=tooltip or text,
        layout=Layout(width="auto", min_width="34px", flex="0 0 auto"),
        **more,
    )


def _existing(say: Words) -> Dropdown:
    return Dropdown(
        description=say("Existing files"),
        style=_STYLE,
        options=[
            (say("are replaced"), "replace"),
            (say("are left alone"), "keep"),
            (say("are replaced, the old kept as NAME~"), "backup"),
        ],
        layout=_wide(),
    )


class PanelParts(VBox):  # type: ignore[misc]
    """The widgets of the panel, as attributes."""

    _asking: Asking
    _words: Words

    def go(self, path: str) -> None:
        """Show another directory."""
        raise NotImplementedError

    def _try(self, act: Callable[[], object]) -> None:
        raise NotImplementedError

    def _build(self) -> None:
        """Make the parts and put them in their places."""
        say = self._words
        self._choice = Dropdown(
            description=say("Container"),
            style=_STYLE,
            options=[(say("reading the containers …"), "")],
            layout=_wide(flex="1 1 200px"),
        )
        self._again_button = _button(say("Refresh"), say("read everything again"))
        self._facts = HTML()
        self._message = HTML()
        self._nothing = HTML()
        self._retry_button = _button(say("Try again"))
        self._without = VBox(
            [self._nothing, self._retry_button],
            layout=Layout(display="none", align_items="flex-start"),
        )

        self._crumbs = Crumbs(self.go, say)
        self._up_button = _button(say("Up"), tooltip=say("go to the directory above"))
        self._where = Text(
            description=say("Path"),
            style=_STYLE,
            placeholder="/path",
            continuous_update=False,
            layout=_wide(),
        )
        self._filter = Text(
            description=say("Filter"),
            style=_STYLE,
            placeholder=say("part of a name"),
            layout=_wide(),
        )
        self._list = VBox(layout=Layout(width="100%", max_height="420px", overflow="auto"))
        self._list.add_class("volcopy-rows")
        self._status = HTML(layout=Layout(flex="1 1 120px", width="auto"))
        self._back = _button(say("Previous"), tooltip=say("the page before"))
        self._next = _button(say("Next"), tooltip=say("the page after"))
        self._every_button = _button(say("All"), tooltip=say("select all that the filter shows"))
        self._none_button = _button(say("None"), tooltip=say("select nothing"))

        self._pull_to = Text(
            description=say("Into"),
            style=_STYLE,
            placeholder=say("directory here (empty: the notebook's)"),
            layout=_wide(),
        )
        self._pull_existing = _existing(say)
        self._pull = _button(say("Pull"), button_style="primary")
        self._pull_section = Section(
            say,
            say("Pull what is selected"),
            [_line(self._pull_to), _line(self._pull_existing, self._pull)],
            opened=True,
        )

        self._upload = FileUpload(
            multiple=True, description=say("Choose files"), layout=Layout(width="auto")
        )
        self._push_from = Textarea(
            description=say("Paths"),
            style=_STYLE,
            placeholder=say("paths on this machine, one a line; patterns such as *.csv"),
            rows=2,
            layout=_wide(),
        )
        self._push_existing = _existing(say)
        self._push = _button(say("Push"), button_style="primary")
        self._push_into = HTML(layout=Layout(width="100%"))
        self._push_section = Section(
            say,
            say("Push into this directory"),
            [
                self._push_into,
                _line(self._upload),
                _line(self._push_from),
                _line(self._push_existing, self._push),
            ],
        )

        self._mounts = HTML(layout=Layout(width="100%"))
        self._how = Dropdown(
            description=say("Removed by"),
            style=_STYLE,
            options=[(way, way) for way in WAYS],
            value="rm",
            layout=_wide(),
        )
        self._foresee_button = _button(say("Forecast"), say("what that would lose"))
        self._forecast = HTML(layout=Layout(width="100%"))
        self._rescue_to = Text(
            description=say("Save it in"),
            style=_STYLE,
            placeholder=say("new directory here"),
            layout=_wide(),
        )
        self._rescue_button = _button(say("Rescue"), say("save what that would lose"))
        self._kept_section = Section(
            say,
            say("Kept or lost"),
            [
                self._mounts,
                _line(self._how, self._foresee_button),
                self._forecast,
                _line(self._rescue_to, self._rescue_button),
            ],
        )
        self._moves = TransferSection(self._asking, self._try, say)

        self._work = VBox(
            [
                self._crumbs,
                _line(self._up_button, self._where, self._filter),
                self._list,
                _line(self._status, self._back, self._next, self._every_button, self._none_button),
                self._pull_section,
                self._push_section,
                self._kept_section,
            ],
            layout=Layout(width="100%", display="none"),
        )
        self.children = (
            HTML(STYLE, layout=Layout(display="none")),
            _line(self._choice, self._again_button),
            self._facts,
            self._without,
            self._message,
            self._work,
            self._moves,
        )
