"""The panel for notebooks: see containers, browse them, move files, see what is kept or lost.

::

    from jupyter_volcopy import VolcopyPanel

    panel = VolcopyPanel()
    panel

It is made of plain ipywidgets, so it is there wherever those are: JupyterLab, Notebook 7, VS Code,
Voila. The traits `container`, `path` and `selection` may be read, set and observed.

How it works: this module holds the parts together; `widget_browsing` shows a directory,
`widget_asking` asks the engine in threads, `widget_moving` runs the copies, `widget_parts` are the
rows, `widget_text` what is said, and `widget_words` in which language.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ipywidgets import Layout
from traitlets import observe

from jupyter_volcopy.core.insight import mounts
from jupyter_volcopy.core.model import Container, Volume
from jupyter_volcopy.core.paths import join, parent
from jupyter_volcopy.core.removal import WAYS, Forecast, command, forecast
from jupyter_volcopy.errors import EngineUnreachable, NoSuchVolume, UsageError, VolcopyError, show
from jupyter_volcopy.widget_asking import VOLUME, Asking, Read, place
from jupyter_volcopy.widget_browsing import Browsing
from jupyter_volcopy.widget_moving import (
    named,
    options_for,
    pulling,
    pushing,
    pushing_uploaded,
    rescuing,
)
from jupyter_volcopy.widget_parts import Row, set_value
from jupyter_volcopy.widget_text import (
    Marker,
    VolumeMarker,
    error_html,
    forecast_html,
    message_html,
    mounts_html,
    no_engine_html,
    volume_html,
)
from jupyter_volcopy.widget_words import Words

if TYPE_CHECKING:
    from jupyter_volcopy.core.background import Transfer, Work
    from jupyter_volcopy.core.endpoint import ContainerPath, VolumePath
    from jupyter_volcopy.core.engine import Engine
    from jupyter_volcopy.core.mounts import Place

__all__ = ["VolcopyPanel"]


class VolcopyPanel(Browsing):
    """A panel that shows containers and moves files into and out of them.

    Args:
        container: name or id of the one to show first, `volume=NAME` for a volume, or "".
        path: directory to show first; "": the container's working directory.
        address: of the engine, as for `docker -H`; "": what is configured (see `docs/panel.md`).
        context: Docker context, instead of an address.
        service: address of a Hub service, instead of an engine.
        engine: an engine that is open already, instead of all of these.
        page_size: entries of a directory shown at a time.
        language: of its texts, `en` or `zh`; "": the locale's.
    """

    def __init__(
        self,
        container: str = "",
        path: str = "",
        *,
        address: str = "",
        context: str = "",
        service: str = "",
        engine: Engine | None = None,
        page_size: int = 50,
        language: str = "",
        **settings: Any,
    ) -> None:
        if page_size < 1:
            raise UsageError(f"a page of {page_size} entries shows nothing", hint="50 is usual")
        self._asking = Asking(address=address, context=context, service=service, engine=engine)
        self._words = Words(language)
        self._known: list[Container] = []
        self._volumes: dict[str, Volume] = {}
        self._read: Read | None = None
        self._marker: Marker | VolumeMarker | None = None
        self._page = 0
        self._page_size = page_size
        self._pool: list[Row] = []
        self._made = False
        super().__init__(**{"layout": Layout(width="100%", min_width="0"), **settings})
        self.add_class("volcopy-panel")
        self._build()
        self._connect()
        self._made = True
        with self._asking.quietly():
            self.container = container
            if path:
                self.path = path
        self.refresh(start=not path)

    def _connect(self) -> None:
        """Say what each part does when it is used."""
        self._choice.observe(self._when(lambda value: self._choose(value or "")), "value")
        self._where.observe(self._when(self._typed), "value")
        self._filter.observe(self._when(lambda _value: self._turn(0)), "value")
        self._upload.observe(self._when(lambda _value: self._ready()), "value")
        self._push_from.observe(self._when(lambda _value: self._ready()), "value")
        for button, act in (
            (self._again_button, self.refresh),
            (self._retry_button, self.refresh),
            (self._up_button, lambda: self.go(parent(self.path))),
            (self._back, lambda: self._turn(self._page - 1)),
            (self._next, lambda: self._turn(self._page + 1)),
            (self._every_button, self._select_all),
            (self._none_button, self._select_none),
            (self._pull, self._pull_pressed),
            (self._push, self._push_pressed),
            (self._foresee_button, self._forecast_pressed),
            (self._rescue_button, lambda: self.rescue(self._rescue_to.value)),
        ):
            button.on_click(self._pressed(cast("Callable[[], object]", act)))
        self._ready()

    def _when(self, act: Callable[[Any], object]) -> Callable[[Any], None]:
        """A handler for a widget's value that somebody changed."""

        def changed(change: Any) -> None:
            with self._asking.lock:
                if not self._asking.quiet and not self._asking.closed:
                    self._try(lambda: act(change.new))

        return changed

    def _pressed(self, act: Callable[[], object]) -> Callable[[Any], None]:
        def pressed(_button: Any) -> None:
            with self._asking.lock:
                if not self._asking.closed:
                    self._try(act)

        return pressed

    def _try(self, act: Callable[[], object]) -> None:
        set_value(self._message, value="")
        try:
            act()
        except VolcopyError as error:
            self._say(error)

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until nothing is being read or copied; whether that came in time.

        For code in a cell, after a trait was set or a copy started. The panel itself never waits.
        """
        return self._asking.wait(seconds)

    def _say(self, error: VolcopyError) -> None:
        """Show what went wrong; without an engine, that is all there is to show."""
        if not isinstance(error, EngineUnreachable):
            set_value(self._message, value=error_html(error))
            return
        set_value(self._nothing, value=no_engine_html(self._words, error))
        set_value(self._message, value="")
        self._without.layout.display = None
        self._work.layout.display = "none"
        set_value(self._facts, value="")
        if not self._known:
            with self._asking.quietly():
                self._choice.options = [(self._words("no engine"), "")]
                if self.container:
                    self._choice.options = [(show(self.container), self.container)]
                self._choice.value = self.container

    # --- containers

    def refresh(self, *, start: bool = False) -> None:
        """Read everything again: the containers, the directory, the mounts.

        Args:
            start: go to the container's working directory.
        """

        def containers() -> tuple[list[Container], list[Volume]]:
            engine = self._asking.engine()
            found, volumes = engine.containers(), engine.volumes()
            self._moves.transfers()
            return (
                sorted(found, key=lambda one: one.name),
                sorted(volumes, key=lambda one: (one.anonymous, one.name)),
            )

        with self._asking.lock:
            self._asking.later("containers", containers, self._show_containers, self._say)
            if self.container:
                self._load("" if start else self.path, asked=True)
                self._look()

    def _show_containers(self, answer: tuple[list[Container], list[Volume]]) -> None:
        found, volumes = answer
        self._known = found
        self._volumes = {VOLUME + one.name: one for one in volumes}
        self._without.layout.display = "none"
        say = self._words
        options = [(say("choose a container …" if found else "no containers"), "")]
        options += [(f"{one.name} · {say(one.state)}", one.name) for one in found]
        options += [(say("volume {0}", one.name), name) for name, one in self._volumes.items()]
        if self.container and self.container not in {value for _, value in options}:
            options.append((show(self.container), self.container))
        with self._asking.quietly():
            if tuple(options) != self._choice.options:
                self._choice.options = options
            self._choice.value = self.container
        if not found:
            set_value(
                self._facts,
                value=message_html(
                    say(
                        "The engine has no containers, or none that you may see. "
                        "`docker run` starts one; then read again."
                    )
                ),
            )
        elif not self.container:
            set_value(
                self._facts,
                value=message_html(say.count(len(found), "{0} container", "{0} containers")),
            )
        self._work.layout.display = None if self.container else "none"

    def _choose(self, name: str) -> None:
        if name != self.container:
            self.container = name

    @observe("container")
    def _container_changed(self, _change: Any) -> None:
        if not self._made:
            return
        with self._asking.lock:
            asked = not self._asking.quiet
            with self._asking.quietly():
                if self.container not in [value for _, value in self._choice.options]:
                    self._choice.options = [
                        *self._choice.options,
                        (show(self.container), self.container),
                    ]
                self._choice.value = self.container
                self.path = "/"
                self.selection = ()
            self._read = self._marker = None
            for widget in (self._facts, self._mounts, self._forecast, self._message):
                set_value(widget, value="")
            self._asking.drop("listing", "facts", "forecast")
            self._work.layout.display = None if self.container else "none"
            self._draw()
            if self.container and asked:
                self._load("", asked=True)
                self._look()

    # --- what is kept

    def _look(self) -> None:
        """Read mounts and writable layer: they make the marks. A volume has neither."""
        name = self.container
        of_volume = name.startswith(VOLUME)
        self._kept_section.layout.display = "none" if of_volume else None
        if of_volume:
            self._look_at_volume(name)
            return

        def facts() -> tuple[list[Place], Marker]:
            engine = self._asking.engine()
            container = engine.container(name)
            places = mounts(engine, container.id)
            try:
                changes = engine.changes(container.id)
            except EngineUnreachable:
                raise
            except VolcopyError:
                return places, Marker(places, None, self._words)
            return places, Marker(places, changes, self._words)

        def found(answer: tuple[list[Place], Marker]) -> None:
            places, self._marker = answer
            set_value(self._mounts, value=mounts_html(self._words, places))
            self._draw()

        def failed(error: VolcopyError) -> None:
            self._marker = None
            set_value(self._mounts, value=error_html(error))

        self._asking.later("facts", facts, found, failed)

    def _look_at_volume(self, name: str) -> None:
        def facts() -> Volume:
            for volume in self._asking.engine().volumes():
                if VOLUME + volume.name == name:
                    return volume
            raise NoSuchVolume(f"there is no {name}")

        def found(volume: Volume) -> None:
            self._marker = VolumeMarker(volume, self._words)
            set_value(self._facts, value=volume_html(self._words, volume))
            self._draw()

        self._asking.later("facts", facts, found, self._say)

    def _forecast_pressed(self) -> None:
        self.forecast(self._how.value)

    def forecast(self, how: str = "rm") -> None:
        """Show what a way of removal would lose; nothing is removed.

        Args:
            how: one of `core.removal.WAYS`.

        Raises:
            UsageError: no container is chosen, or no such way.
        """
        if how not in WAYS:
            raise UsageError(f"{how!r} is no way of removing", hint="one of " + ", ".join(WAYS))
        with self._asking.lock:
            name = self._needed_container()
            with self._asking.quietly():
                set_value(self._how, value=how)
            self._kept_section.unfold()
            set_value(self._forecast, value=message_html(self._words("looking …")))

            def found(answer: Forecast) -> None:
                set_value(self._forecast, value=forecast_html(self._words, answer, command(answer)))

            def failed(error: VolcopyError) -> None:
                set_value(self._forecast, value=error_html(error))

            self._asking.later(
                "forecast", lambda: forecast(self._asking.engine(), name, how), found, failed
            )

    def _needed(self) -> str:
        if not self.container:
            raise UsageError("no container is chosen", hint="choose one first")
        return self.container

    def _needed_container(self) -> str:
        name = self._needed()
        if name.startswith(VOLUME):
            raise UsageError(
                "a volume stays when a container is removed", hint="choose a container"
            )
        return name

    # --- copies

    def _pull_pressed(self) -> None:
        self.pull(self._pull_to.value, existing=self._pull_existing.value)

    def pull(self, destination: str = "", *, existing: str = "replace") -> Transfer:
        """Pull what is selected into a local directory; returns at once.

        Args:
            destination: an existing directory; "": the kernel's own.
            existing: `replace`, `keep` or `backup` files that are there already.

        Raises:
            UsageError: no container is chosen, nothing is selected.
        """
        with self._asking.lock:
            name, options = self._needed(), options_for(self._asking, existing)
            if not self.selection:
                raise UsageError("nothing is selected", hint="select entries of the listing")
            sources = [place(name, join(self._real(), one)) for one in self.selection]
            typed = destination.strip() or "."
            shown = [f"{name}:{join(self.path, one)}" for one in self.selection]
            return self._moves.start(
                pulling(self._asking, sources, typed, options),
                self._words("Pull {0} → {1}", named(self._words, shown), typed),
                shown,
                typed,
            )

    def _push_pressed(self) -> None:
        lines = [line for line in self._push_from.value.split("\n") if line.strip()]
        files = list(self._upload.value)
        if not lines and not files:
            raise UsageError("there is nothing to push", hint="choose files, or name paths")
        existing = self._push_existing.value
        if files:
            target, options = self._target(), options_for(self._asking, existing)
            work = pushing_uploaded(self._asking, files, target, options)
            self._start_push(work, [str(one["name"]) for one in files])
        if lines:
            self.push(lines, existing=existing)
        with self._asking.quietly():
            self._upload.value = ()
            set_value(self._push_from, value="")
        self._ready()

    def push(self, paths: str | Sequence[str], *, existing: str = "replace") -> Transfer:
        """Push local files and directories into the directory that is shown; returns at once.

        Args:
            paths: one or several; `~` and patterns are expanded, a literal name wins.
            existing: `replace`, `keep` or `backup` files that are there already.

        Raises:
            UsageError: no container is chosen, no path is named.
        """
        typed = [paths] if isinstance(paths, str) else [os.fspath(path) for path in paths]
        if not typed:
            raise UsageError("there is nothing to push", hint="name paths")
        with self._asking.lock:
            options = options_for(self._asking, existing)
            return self._start_push(pushing(self._asking, typed, self._target(), options), typed)

    def _target(self) -> ContainerPath | VolumePath:
        return place(self._needed(), self._real().rstrip("/") + "/")

    def _start_push(self, work: Work, shown: Sequence[str]) -> Transfer:
        name, path = self.container, self.path

        def after() -> None:
            if (self.container, self.path) == (name, path):
                self._load(path, asked=True)
            if self.container == name:
                self._look()

        where = f"{name}:{path}"
        return self._moves.start(
            work,
            self._words("Push {0} → {1}", named(self._words, shown), where),
            shown,
            where,
            after,
        )

    def rescue(self, destination: str) -> Transfer:
        """Save what the chosen way of removal would lose in a new local directory.

        Raises:
            UsageError: no container is chosen, or no directory named.
        """
        with self._asking.lock:
            name, how, typed = self._needed_container(), self._how.value, destination.strip()
            if not typed:
                raise UsageError("no directory is named", hint="name one that is not there yet")
            return self._moves.start(
                rescuing(self._asking, name, how, typed),
                self._words("Rescue {0} ({1}) → {2}", name, how, typed),
                [f"{name}:"],
                typed,
            )

    def close(self) -> None:
        """Cancel what runs, let go of the engine, and take the panel away."""
        asking = getattr(self, "_asking", None)
        if asking is not None and not asking.closed:
            asking.closed = True
            self._moves.cut()
            asking.close()
        super().close()
