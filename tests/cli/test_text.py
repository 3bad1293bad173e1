"""How results are said: sizes, tables, reports; nothing shown can act."""

from __future__ import annotations

import pytest

from jupyter_volcopy.core.control import Progress
from jupyter_volcopy.core.report import Note, Report
from jupyter_volcopy.errors import NoSuchPath
from jupyter_volcopy.text import (
    duration,
    error_lines,
    mode_text,
    progress_text,
    report_html,
    report_lines,
    shorten,
    size,
    success,
    table,
    width,
)

EVIL = "<img src=x onerror=alert(1)>\x1b[2J\u202e\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (98, "98 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1234567, "1.2 MB"),
        (123456, "123 kB"),
        (999999, "1.0 MB"),
        (5000000000, "5.0 GB"),
    ],
)
def test_size(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.34, "0.3 s"),
        (42, "42 s"),
        (59.7, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_mode() -> None:
    assert mode_text("directory", 0o755) == "drwxr-xr-x"
    assert mode_text("file", 0o4755) == "-rwsr-xr-x"
    assert mode_text("symlink", 0o777) == "lrwxrwxrwx"
    assert mode_text("socket", 0o600) == "srw-------"


def test_table_lines_up_whatever_the_script() -> None:
    lines = table([("a", 1), ("教程", 22)], ("NAME", "SIZE"), right="SIZE")
    assert lines == ["NAME  SIZE", "a        1", "教程    22"]
    assert table([("x\n\x1b[1m", 1)], ("N", "S"))[1].startswith("x\\x0a\\x1b[1m")


def test_shorten_keeps_the_end_and_the_width() -> None:
    name = "数据/" * 20 + "notebook.ipynb"
    cut = shorten(name, 30)
    assert width(cut) <= 30 and cut.endswith("notebook.ipynb") and "…" in cut
    assert shorten("short", 30) == "short"


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_progress_fits(columns: int) -> None:
    progress = Progress(12, 100, 5_000_000, 20_000_000, "d/教程-研究功能介绍.ipynb" + EVIL, 2.0)
    line = progress_text(progress, columns)
    assert width(line) <= columns
    assert not set(line) & {"\x1b", "\n", "\u202e"}
    if columns >= 80:
        assert "25 %" in line and "2.5 MB/s" in line and "6.0 s left" in line


def test_report() -> None:
    report = Report("pull", ["c:/x"], ".", files=1, bytes=98)
    assert success(report) == "Successfully copied 98 B to ."
    report.failed.append(Note(EVIL, "unreadable", "unreadable"))
    report.warnings.append(Note("s", "a socket", "socket"))
    lines = report_lines(report)
    assert "not copied" in lines[0] and "warning: s: a socket" in lines
    assert not any("\x1b" in line or "\n" in line for line in lines)
    assert "Successfully" not in "".join(lines)


def test_report_html_escapes_every_name() -> None:
    report = Report("pull", [EVIL], EVIL, landed=[EVIL])
    for notes in (report.failed, report.warnings, report.skipped):
        notes.append(Note(EVIL, EVIL, EVIL))
    text = report_html(report)
    assert "<img" not in text and "\x1b" not in text and "\u202e" not in text
    assert "&lt;img" in text


def test_error_lines() -> None:
    assert error_lines(NoSuchPath("gone\x1b", hint="look")) == ["gone\\x1b", "look"]
    assert error_lines(NoSuchPath("gone")) == ["gone"]
