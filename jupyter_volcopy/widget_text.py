"""What the panel shows as HTML, and the kept or lost mark of an entry: pure, no widgets here.

Every name, path and message goes through `escape`: it is text, whatever is in it. Colours are the
theme's variables or the surroundings' own, so light, dark and high contrast need nothing more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape as _html
from shlex import quote
from typing import TYPE_CHECKING

from jupyter_volcopy.core.model import Change, Container, Kind, ListedEntry, Volume
from jupyter_volcopy.core.paths import clean, parent
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.core.rescue import RescueReport
from jupyter_volcopy.errors import EngineUnreachable, VolcopyError, show
from jupyter_volcopy.text import local_time, mode_text, report_html, size

if TYPE_CHECKING:
    from jupyter_volcopy.core.background import Transfer
    from jupyter_volcopy.core.mounts import Place
    from jupyter_volcopy.core.removal import Forecast, Item
    from jupyter_volcopy.widget_words import Words

__all__ = [
    "STYLE",
    "Mark",
    "Marker",
    "VolumeMarker",
    "container_html",
    "entry_html",
    "entry_title",
    "error_html",
    "escape",
    "forecast_html",
    "kind_icon",
    "message_html",
    "mounts_html",
    "no_engine_html",
    "transfer_html",
    "volume_html",
]

_MOST = 200  # lines of a forecast

# A notebook takes keys for its own commands wherever the focus is not in a text field: "x" in a
# list would cut the cell. What has the focus in the panel says so in Lumino's own way
# (https://lumino.readthedocs.io, CommandRegistry.processKeydownEvent).
_KEYS = """const panel = this.closest('.volcopy-panel');
if (panel && !panel.dataset.volcopyKeys) { panel.dataset.volcopyKeys = 'own';
  panel.addEventListener('focusin',
    event => event.target.setAttribute('data-lm-suppress-shortcuts', 'true')); }"""

# Only layout, and colours of the theme; in what has none of these variables, the text's own colour.
STYLE = (
    f'<style onload="{_html(_KEYS)}">'
    + """
.volcopy-panel { --volcopy-line: var(--jp-border-color2, currentColor);
  container-type: inline-size; min-width: 0; }
.volcopy-panel .jupyter-widgets { min-width: 0; box-sizing: border-box; }
.volcopy-panel .widget-html { margin-left: 0; margin-right: 0; }
.volcopy-panel .widget-html-content { width: 100%; }
.volcopy-panel .widget-html-content { line-height: 1.5; overflow-wrap: anywhere; }
.volcopy-panel h3 { margin: 0; font-size: 1em; font-weight: 600; }
.volcopy-panel button:focus-visible, .volcopy-panel input:focus-visible,
.volcopy-panel select:focus-visible, .volcopy-panel textarea:focus-visible {
  outline: 2px solid var(--jp-brand-color1, currentColor); outline-offset: -2px; }
.volcopy-panel .volcopy-name { text-align: left; background: transparent;
  color: var(--jp-content-font-color1, inherit); }
.volcopy-panel .volcopy-name:hover { background: var(--jp-layout-color2, transparent); }
.volcopy-panel .volcopy-crumb { padding: 0 4px; max-width: 14em; }
.volcopy-panel .volcopy-section { text-align: left; font-weight: 600; background: transparent;
  color: var(--jp-content-font-color1, inherit); border-top: 1px solid var(--volcopy-line); }
.volcopy-panel .volcopy-rows { border: 1px solid var(--volcopy-line); }
.volcopy-panel .volcopy-rows > * { border-bottom: 1px solid var(--jp-border-color3, transparent); }
.volcopy-facts { display: flex; gap: 0 8px; justify-content: flex-end; white-space: nowrap;
  font-size: 0.92em; color: var(--jp-content-font-color2, inherit); }
.volcopy-facts > :nth-child(1) { width: 6em; text-align: right; }
.volcopy-facts > :nth-child(2) { width: 9.5em; }
.volcopy-facts > :nth-child(3) { width: 5.2em; }
.volcopy-mark { display: inline-block; border: 1px solid currentColor; border-radius: 3px;
  padding: 0 4px; font-size: 0.9em; line-height: 1.35; }
.volcopy-mark-lost { color: var(--jp-error-color1, inherit); font-weight: 600; }
.volcopy-mark-kept { color: var(--jp-success-color1, inherit); }
.volcopy-mark-shared { color: var(--jp-info-color1, inherit); }
.volcopy-mark-unsure { color: var(--jp-warn-color1, inherit); font-weight: 600; }
.volcopy-mark-image { border-color: transparent; padding: 0; }
.volcopy-note { border-left: 3px solid var(--jp-info-color1, currentColor); padding: 2px 8px;
  margin: 4px 0; }
.volcopy-error { border-left-color: var(--jp-error-color1, currentColor); }
.volcopy-quiet { color: var(--jp-content-font-color2, inherit); }
.volcopy-list { margin: 2px 0 6px 0; padding: 0; list-style: none; }
.volcopy-long { max-height: 300px; overflow: auto; }
.volcopy-list > li { padding: 2px 0; }
.volcopy-panel code, .volcopy-panel pre { font-size: 0.92em; white-space: pre-wrap;
  overflow-wrap: anywhere; background: transparent; color: inherit; padding: 0; }
@container (max-width: 420px) {
  .volcopy-facts { justify-content: flex-start; padding-left: 30px; flex-wrap: wrap; }
  .volcopy-facts > :nth-child(n) { width: auto; text-align: left; }
}
</style>"""
)


def escape(text: str) -> str:
    """`text` for HTML: shown as text, whatever is in it."""
    return _html(show(text), quote=True)


class Mark(Value):
    """What becomes of an entry when its container is removed.

    Attributes:
        word: `kept`, `shared`, `lost`, `partly lost`, `no name`, `image`, or "" where unknown.
        why: a sentence.
    """

    word: str
    why: str


class Marker:
    """Marks the entries of one container.

    Args:
        places: its mounts.
        changes: its writable layer, as `Engine.changes` says; None where nobody said.
        say: the texts.
    """

    def __init__(
        self, places: Iterable[Place], changes: Sequence[Change] | None, say: Words
    ) -> None:
        self._say = say
        self._known = changes is not None
        changes = changes or ()
        self._places = {clean(place.target): place for place in places}
        above = {up for target in self._places for up in _above(target)}
        written = {
            change.path: change.kind
            for change in changes
            if change.kind in ("A", "C") and self._place(change.path) is None
        }
        # A directory is named as changed because something in it is, too.
        holding = {up for path in written for up in _above(path)}
        for change in changes:
            holding.update(_above(change.path))
        self._written = {
            path: kind
            for path, kind in written.items()
            if path not in above and (kind == "A" or path not in holding)
        }
        self._holding = {up for path in self._written for up in _above(path)}

    def _place(self, path: str) -> Place | None:
        for at in (path, *_above(path)):
            if at in self._places:
                return self._places[at]
        return None

    def mark(self, path: str) -> Mark:
        """The mark of a path in which no link is to be followed."""
        place, say = self._place(path), self._say
        if place is not None:
            if place.kind == "tmpfs":
                return Mark("lost", place.why)
            if place.shared_with:
                seen = ", ".join(place.shared_with)
                return Mark("shared", say("{0}; {1} sees the same data", place.why, seen))
            return Mark("no name" if place.kind == "anonymous" else "kept", place.why)
        if not self._known:
            return Mark("", "")
        if path in self._written:
            return Mark("lost", say("written outside every mount: it goes with the container"))
        if path in self._holding:
            return Mark("partly lost", say("something in it was written outside every mount"))
        return Mark("image", say("as in the image: a new container has it again"))


class VolumeMarker:
    """Marks the entries of a volume: all of them share its fate."""

    def __init__(self, volume: Volume, say: Words) -> None:
        users = ", ".join(dict.fromkeys(use.container for use in volume.used_by))
        if len(volume.used_by) > 1:
            self._mark = Mark("shared", say("in the volume; {0} see the same data", users))
        elif volume.anonymous:
            self._mark = Mark(
                "no name", say("a volume without a name: some ways of removal delete it")
            )
        else:
            self._mark = Mark("kept", say("in a volume: it stays when a container is removed"))

    def mark(self, path: str) -> Mark:
        """The mark of any path in it."""
        return self._mark


def _above(path: str) -> list[str]:
    """Every directory above a path, the nearest first."""
    found = []
    while path != "/":
        path = parent(path)
        found.append(path)
    return found


_CLASSES = {
    "kept": "kept",
    "shared": "shared",
    "lost": "lost",
    "partly lost": "lost",
    "no name": "unsure",
    "image": "image",
}


def _badge(say: Words, word: str, why: str) -> str:
    if not word:
        return ""
    kind = _CLASSES.get(word, "image")
    classes = f"volcopy-mark volcopy-mark-{kind}"
    return f'<span class="{classes}" title="{escape(why)}">{escape(say(word))}</span>'


_ICONS = {Kind.DIRECTORY: "folder", Kind.FILE: "file", Kind.HARDLINK: "file", Kind.SYMLINK: "link"}


def kind_icon(kind: Kind) -> str:
    """The name of the icon of a kind of entry."""
    return _ICONS.get(kind, "cog")


def entry_title(say: Words, entry: ListedEntry) -> str:
    """What is said of an entry beside its name: kind, permissions, owner."""
    owner = entry.owner or str(entry.uid)
    facts = (say(entry.kind.value), mode_text(entry.kind.value, entry.mode), owner)
    if entry.link_target:
        return show(say("{0}, {1}, owner {2}, leads to {3}", *facts, entry.link_target))
    return show(say("{0}, {1}, owner {2}", *facts))


def entry_html(say: Words, entry: ListedEntry, mark: Mark | None) -> str:
    """Size (or kind), time and mark of an entry."""
    kinds = {Kind.DIRECTORY: "folder", Kind.SYMLINK: "link"}
    if entry.kind in (Kind.FILE, Kind.HARDLINK):
        amount = size(entry.size)
    else:
        amount = say(kinds.get(entry.kind, entry.kind.value))
    return (
        f'<div class="volcopy-facts"><span>{escape(amount)}</span>'
        f"<span>{escape(local_time(entry.mtime_ns / 1e9))}</span>"
        f"<span>{_badge(say, mark.word, mark.why) if mark else ''}</span></div>"
    )


def container_html(say: Words, container: Container) -> str:
    """State, image and user of a container."""
    facts = (say(container.state), container.image, container.user or "root")
    return f"<div>{escape(say('{0} · image {1} · user {2}', *facts))}</div>"


def volume_html(say: Words, volume: Volume) -> str:
    """Driver and users of a volume."""
    users = ", ".join(dict.fromkeys(use.container for use in volume.used_by))
    used = say("used by {0}", users) if users else say("used by no container")
    return f"<div>{escape(say('volume · driver {0} · {1}', volume.driver, used))}</div>"


def message_html(text: str) -> str:
    """One line that a screen reader says when it changes."""
    return f'<div role="status" aria-live="polite" class="volcopy-quiet">{escape(text)}</div>'


def error_html(error: VolcopyError) -> str:
    """What went wrong, and what to do."""
    hint = f"<div>{escape(error.hint)}</div>" if error.hint else ""
    return (
        f'<div role="alert" class="volcopy-note volcopy-error"><strong>{escape(error.message)}'
        f"</strong>{hint}</div>"
    )


def _with_code(say: Words, text: str, *codes: str) -> str:
    """A sentence of ours with what is to be typed in it."""
    return say(text, *(f"<code>{escape(code)}</code>" for code in codes))


def no_engine_html(say: Words, error: VolcopyError, environ: Mapping[str, str] = os.environ) -> str:
    """The state without an engine: what is missing, and how to get it."""
    if not isinstance(error, EngineUnreachable):
        return error_html(error)
    ways = [
        _with_code(
            say,
            "on your own machine: start Docker, and see that you may use it ({0} must work as the "
            "user of this kernel)",
            "docker ps",
        ),
        _with_code(
            say,
            "an engine elsewhere: set {0}, or choose a context with {1}, and start the kernel "
            "again",
            "DOCKER_HOST",
            "docker context use NAME",
        ),
        _with_code(
            say,
            "in a container: mount the socket ({0}); it makes whoever has it root on the host",
            "-v /var/run/docker.sock:/var/run/docker.sock",
        ),
        _with_code(
            say,
            "on a JupyterHub: let the site run the Volcopy service; the container then needs only "
            "its address in {0}",
            "VOLCOPY_SERVICE_URL",
        ),
    ]
    where = ""
    if any(name.startswith("BINDER_") for name in environ):
        text = say(
            "This is Binder: it gives no Docker engine to its sessions, so there are no containers "
            "to show here. Install the package where your containers are."
        )
        where = f"<p>{text}</p>"
    items = "".join(f"<li>{way}</li>" for way in ways)
    needs = say(
        "The panel shows containers and moves files of a Docker engine. It needs one of these:"
    )
    return (
        f'<div class="volcopy-state"><h3>{say("No Docker engine here")}</h3>{error_html(error)}'
        f'{where}<p>{needs}</p><ul style="margin: 0 0 6px 1.4em; padding: 0">{items}</ul></div>'
    )


def mounts_html(say: Words, places: Sequence[Place]) -> str:
    """Every mount of a container: where, what, from where, who else sees it."""
    if not places:
        text = "No mounts: all it writes is gone when it is removed. {0} would keep PATH."
        return (
            f'<div class="volcopy-quiet">{_with_code(say, text, "docker run -v NAME:PATH")}</div>'
        )
    words = {"named": "kept", "bind": "kept", "anonymous": "no name", "tmpfs": "lost"}
    lines = []
    for place in places:
        word = "shared" if place.shared_with else words.get(place.kind, "")
        what = place.volume or place.source
        kind = say(place.kind)
        facts = [say("{0} (one file)", kind) if place.single_file else kind]
        if what:
            facts.append(what)
        facts += [place.origin, say("read-only" if place.read_only else "read-write")]
        line = (
            f"<li>{_badge(say, word, place.why)} <strong>{escape(place.target)}</strong> "
            f'<span class="volcopy-quiet">{escape(" · ".join(facts))}</span>'
        )
        if place.shared_with:
            others = ", ".join(place.shared_with)
            line += f"<div>{escape(say('also seen by {0}', others))}</div>"
        for other in place.hides:
            line += f"<div>{escape(say('covers a part of {0}', other))}</div>"
        if place.keep:
            line += (
                f"<div>{_with_code(say, 'would keep it: {0}', f'docker run {place.keep}')}</div>"
            )
        lines.append(line + "</li>")
    return f'<ul class="volcopy-list">{"".join(lines)}</ul>'


def _items(say: Words, title: str, word: str, items: Sequence[Item]) -> str:
    if not items:
        return ""
    lines = []
    for item in items[:_MOST]:
        what = say("volume {0} at {1}", item.volume, item.target) if item.volume else item.path
        amount = "?" if item.bytes is None else size(item.bytes)
        when = item.modified.replace("T", " ").rstrip("Z")[:16]
        facts = " · ".join(filter(None, (amount, when)))
        lines.append(
            f'<li title="{escape(item.why)}">{escape(what)} '
            f'<span class="volcopy-quiet">{escape(facts)}</span></li>'
        )
    if len(items) > _MOST:
        more = say("and {0} more (volcopy forecast lists them)", len(items) - _MOST)
        lines.append(f"<li>{escape(more)}</li>")
    return (
        f"<h3>{_badge(say, word, title)} {escape(title)}</h3>"
        f'<ul class="volcopy-list volcopy-long">{"".join(lines)}</ul>'
    )


def forecast_html(say: Words, found: Forecast, command: str) -> str:
    """What a way of removal would lose, keep, and what cannot be known."""
    parts = [f"<div><code>{escape(command)}</code></div>"]
    if found.lost:
        lost = say.count(
            len(found.lost),
            "would lose {0} thing, {1}",
            "would lose {0} things, {1}",
            size(found.bytes_lost),
        )
        parts.append(_items(say, lost, "lost", found.lost))
        for why in dict.fromkeys(item.why for item in found.lost):
            parts.append(f'<div class="volcopy-quiet">{escape(why)}</div>')
    else:
        parts.append(f"<div>{say('would lose no file that can be seen')}</div>")
    if found.caches:
        cached = say.count(
            found.caches,
            "and {0} file in caches, not listed",
            "and {0} files in caches, not listed",
        )
        parts.append(f"<div>{cached}</div>")
    parts.append(_items(say, say("cannot be known"), "no name", found.unknown))
    parts.append(_items(say, say("would keep"), "kept", found.kept))
    flags = found.flags()
    if flags:
        command = f"docker run {' '.join(flags)} …"
        parts.append(f"<div>{_with_code(say, 'would have been kept by: {0}', command)}</div>")
    return "".join(parts)


def _rescued_html(say: Words, report: RescueReport) -> str:
    command = f"volcopy restore {quote(report.destination)} CONTAINER"
    return f"{report_html(report)}<div>{_with_code(say, 'to put it back: {0}', command)}</div>"


def transfer_html(say: Words, transfer: Transfer) -> str:
    """How a transfer ended."""
    error, report = transfer.error, transfer.report
    if error is not None and transfer.state == "cancelled":
        return message_html(say("cancelled; what was there before is still there"))
    said = error_html(error) if error is not None else ""
    if isinstance(report, RescueReport):
        said += _rescued_html(say, report)
    elif report is not None:
        said += report_html(report)
    return f'<div role="status">{said}</div>'
