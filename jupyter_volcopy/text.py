"""How results are said to people: sizes, tables, summaries, progress, and reports as HTML.

Everything shown passes through `errors.show`, so no name can move a cursor, change a colour or
reverse the text; what becomes HTML is escaped as well. Machines get `to_dict()` instead.
"""

from __future__ import annotations

from jupyter_volcopy.errors import VolcopyError, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from jupyter_volcopy.core.control import Progress
    from jupyter_volcopy.core.report import Note, Report

__all__ = [
    "count",
    "duration",
    "error_lines",
    "failure",
    "local_time",
    "mode_text",
    "plan_html",
    "plan_lines",
    "progress_text",
    "report_html",
    "report_lines",
    "shorten",
    "size",
    "success",
    "table",
    "width",
]

_MOST = 100  # notes of one kind in a notebook's output


def size(number: int | float) -> str:
    """Bytes for people, in powers of 1000 as Docker counts: `98 B`, `1.2 MB`."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if value < 999.5 or unit == "PB":
            break
        value /= 1000
    if unit == "B":
        return f"{int(number)} B"
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """A length of time for people: `0.3 s`, `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for large, small, factor in (("min", "s", 60), ("h", "min", 3600), ("d", "h", 86400)):
        if whole < factor * (60 if large == "min" else 24) or large == "d":
            rest = whole % factor // (factor // 60 if large != "d" else 3600)
            return f"{whole // factor} {large}" + (f" {rest} {small}" if rest else "")
    raise AssertionError


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 file`, `3 files`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def local_time(seconds: float) -> str:
    """A time of a file in the local zone: `2025-05-31 18:00`; `?` where no calendar holds it."""
    import time

    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "?"


def mode_text(kind: str, mode: int) -> str:
    """Kind and permissions as `ls -l` writes them: `drwxr-xr-x`.

    Args:
        kind: value of a `Kind`.
        mode: permission bits with set-id and sticky.
    """
    import stat

    types = {
        "file": stat.S_IFREG,
        "hardlink": stat.S_IFREG,
        "directory": stat.S_IFDIR,
        "symlink": stat.S_IFLNK,
        "character device": stat.S_IFCHR,
        "block device": stat.S_IFBLK,
        "fifo": stat.S_IFIFO,
        "socket": stat.S_IFSOCK,
    }
    return stat.filemode(types.get(kind, 0) | mode & 0o7777)


def width(text: str) -> int:
    """Columns `text` takes on a terminal; Chinese and the like count twice, accents nothing."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def shorten(text: str, columns: int) -> str:
    """`text` escaped and cut in the middle, so that it takes `columns` at most; its end stays."""
    text = show(text)
    if width(text) <= columns:
        return text
    if columns < 4:
        return ""
    tail_room = (columns - 1) * 2 // 3
    tail = ""
    for char in reversed(text):
        if width(char + tail) > tail_room:
            break
        tail = char + tail
    head = ""
    for char in text:
        if width(head + char) + 1 + width(tail) > columns:
            break
        head += char
    return f"{head}…{tail}"


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str], *, right: str = "") -> list[str]:
    """Rows as lines of aligned columns under their headers.

    Args:
        rows: cells; anything is shown as its escaped text.
        headers: one for each column.
        right: headers of columns aligned to the right, separated by spaces.
    """
    cells = [[show(str(cell)) for cell in row] for row in rows]
    shown = [list(headers), *cells]
    widths = [max(width(row[at]) for row in shown) for at in range(len(headers))]
    flush = right.split()
    lines = []
    for row in shown:
        parts = []
        for at, cell in enumerate(row):
            space = " " * (widths[at] - width(cell))
            parts.append(space + cell if headers[at] in flush else cell + space)
        lines.append("  ".join(parts).rstrip())
    return lines


def error_lines(error: VolcopyError) -> list[str]:
    """The message of an error, then its hint if there is one."""
    return [error.message, error.hint] if error.hint else [error.message]


def _amount(report: Report) -> str:
    moved = size(report.bytes)
    return moved if report.files <= 1 else f"{count(report.files, 'file')}, {moved}"


def _skipped(notes: Sequence[Note]) -> str:
    """Why things were left out on request, counted: `2 equal, 1 excluded`."""
    words = {"filtered": "excluded", "equal": "the same already", "exists": "there already"}
    counts: dict[str, int] = {}
    for note in notes:
        word = words.get(note.code, note.code)
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{number} {word}" for word, number in counts.items())


def success(report: Report) -> str:
    """One line for a copy that arrived, beginning as docker cp's does; it counts contents."""
    line = f"Successfully copied {_amount(report)} to {show(report.destination)}"
    if report.verified is not None:
        line += f", {count(report.verified, 'file')} verified"
    if report.skipped:
        line += f" (left out: {_skipped(report.skipped)})"
    return line


def failure(report: Report) -> str:
    """One line for a copy of which something did not arrive."""
    return (
        f"{count(len(report.failed), 'item')} not copied to {show(report.destination)};"
        f" {_amount(report)} arrived"
    )


def report_lines(report: Report) -> list[str]:
    """A report in words: what failed, what is worth knowing, and the sum."""
    lines = [f"not copied: {note}" for note in report.failed]
    lines += [f"warning: {note}" for note in report.warnings]
    lines.append(success(report) if report.ok else failure(report))
    return lines


def plan_lines(plan: Any) -> list[str]:
    """A plan in words."""
    return [show(str(line)) for line in plan.lines()]


def progress_text(progress: Progress, columns: int) -> str:
    """A progress line of at most `columns`: bytes, rate, time left, the name being moved."""
    parts = [size(progress.bytes)]
    if progress.bytes_total:
        share = min(100, progress.bytes * 100 // progress.bytes_total)
        parts = [f"{share:3d} %", f"{size(progress.bytes)} of {size(progress.bytes_total)}"]
    parts.append(f"{size(progress.rate)}/s")
    left = progress.left
    if left is not None and progress.seconds > 1:
        parts.append(f"{duration(left)} left")
    if progress.entries > 1:
        total = progress.entries_total
        parts.append(
            f"{progress.entries} of {total}"
            if total
            else count(progress.entries, "entry", "entries")
        )
    line = "  ".join(parts)
    if width(line) > columns:
        return shorten(line, columns)
    room = columns - width(line) - 2
    return f"{line}  {shorten(progress.current, room)}".rstrip() if room > 8 else line


def _escape(text: str) -> str:
    """`text` for HTML: shown as text, whatever is in it."""
    from html import escape

    return escape(show(text), quote=True)


def _list_html(title: str, notes: Sequence[Note], opened: bool) -> str:
    if not notes:
        return ""
    items = []
    for note in notes[:_MOST]:
        path = f"<code>{_escape(note.path)}</code>: " if note.path else ""
        items.append(f"<li>{path}{_escape(note.text)}</li>")
    if len(notes) > _MOST:
        items.append(f"<li>and {len(notes) - _MOST} more</li>")
    return (
        f"<details{' open' if opened else ''}><summary>{_escape(title)} ({len(notes)})</summary>"
        f'<ul style="margin:0 0 .3em 1.5em">{"".join(items)}</ul></details>'
    )


def report_html(report: Report) -> str:
    """A report for a notebook: sources, destination, the sum, and every item to be named."""
    mark = "&#10003;" if report.ok else "&#10007;"
    sources = ", ".join(f"<code>{_escape(item)}</code>" for item in report.sources[:5])
    if len(report.sources) > 5:
        sources += f" and {len(report.sources) - 5} more"
    facts = [_amount(report)]
    if report.created or report.replaced:
        facts.append(f"{report.created} new, {report.replaced} replaced")
    if report.verified is not None:
        facts.append(f"{count(report.verified, 'file')} verified")
    facts.append(duration(report.seconds))
    return (
        f'<div class="volcopy-report">{mark} {sources} &#8594; <code>{_escape(report.destination)}'
        f"</code> <small>{_escape(' · '.join(facts))}</small>"
        + _list_html("Not copied", report.failed, True)
        + _list_html("Warnings", report.warnings, True)
        + _list_html("Left out", report.skipped, False)
        + "</div>"
    )


def plan_html(plan: Any) -> str:
    """A plan for a notebook: its lines."""
    lines = "\n".join(_escape(line) for line in plan_lines(plan))
    return f'<div class="volcopy-plan">Plan, nothing was copied:<pre>{lines}</pre></div>'
