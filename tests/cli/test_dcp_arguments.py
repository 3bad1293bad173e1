"""The grammar of `dcp` (rule R1), the table of its options, and its help."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

import pytest

from jupyter_volcopy.cli.dcp_arguments import OPTIONS, help_text, parse, parse_size, parse_time
from jupyter_volcopy.core.options import CopyOptions
from jupyter_volcopy.errors import BadOption, UsageError

GOOD: list[tuple[list[str], list[str], dict[str, Any]]] = [
    (["a", "b"], ["a", "b"], {}),
    (["a", "b", "c"], ["a", "b", "c"], {}),
    (["-a", "a", "b"], ["a", "b"], {"archive": True}),
    (["a", "-a", "b"], ["a", "b"], {"archive": True}),
    (["a", "b", "--archive"], ["a", "b"], {"archive": True}),
    (["-aL", "a", "b"], ["a", "b"], {"archive": True, "follow_link": True}),
    (["-aLq", "a", "b"], ["a", "b"], {"archive": True, "follow_link": True}),
    (["-aL=false", "a", "b"], ["a", "b"], {"archive": True, "follow_link": False}),
    (["--follow-link=T", "a", "b"], ["a", "b"], {"follow_link": True}),
    (["--archive=false", "a", "b"], ["a", "b"], {"archive": False}),
    (["--archive", "false", "b"], ["false", "b"], {"archive": True}),
    (["--", "-a", "b"], ["-a", "b"], {}),
    (["-L", "--", "-a", "--", "b"], ["-a", "--", "b"], {"follow_link": True}),
    (["-", "b:/"], ["-", "b:/"], {}),
    (["a:/", "-", "-a"], ["a:/", "-"], {"archive": True}),
    (["", "b"], ["", "b"], {}),
    (["--exclude", "*.a", "x", "--exclude=*.b", "y"], ["x", "y"], {"exclude": ["*.a", "*.b"]}),
    (["--exclude=", "x", "y"], ["x", "y"], {"exclude": [""]}),
    (["--chown", "-x", "a", "b"], ["a", "b"], {"chown": "-x"}),
    (["--max-size=10M", "a", "b"], ["a", "b"], {"max_size": 10 << 20}),
    (["--max-entries", "7", "a", "b"], ["a", "b"], {"max_entries": 7}),
    (["--newer", "@5", "a", "b"], ["a", "b"], {"newer": 5.0}),
    (["--access", "direct", "a", "b"], ["a", "b"], {"access": "direct"}),
]

BAD = [
    (["-z", "a", "b"], "unknown shorthand flag: 'z' in -z"),
    (["-azL", "a", "b"], "unknown shorthand flag: 'z' in -zL"),
    (["--zzz"], "unknown flag: --zzz"),
    (["--zzz=1", "a", "b"], "unknown flag: --zzz"),
    (["--arch", "a", "b"], "unknown flag: --arch"),
    (["--=x", "a", "b"], "bad flag syntax: --=x"),
    (["---a", "a", "b"], "bad flag syntax: ---a"),
    (["a", "b", "--chown"], "flag needs an argument: --chown"),
    (["a", "b", "-H"], "flag needs an argument: 'H' in -H"),
    (["--archive=maybe", "a", "b"], 'invalid argument "maybe" for "-a, --archive" flag'),
    (["-a=", "a", "b"], 'invalid argument "" for "-a, --archive" flag'),
    (["--max-size=big", "a", "b"], 'invalid argument "big" for "--max-size" flag'),
    (["--max-entries=0", "a", "b"], 'invalid argument "0" for "--max-entries" flag'),
    (["--newer=soon", "a", "b"], 'invalid argument "soon" for "--newer" flag'),
    (["--access=magic", "a", "b"], 'invalid argument "magic" for "--access" flag'),
    (["--progress=fast", "a", "b"], 'invalid argument "fast" for "--progress" flag'),
]


@pytest.mark.parametrize(("argv", "paths", "options"), GOOD)
def test_good(argv: list[str], paths: list[str], options: dict[str, Any]) -> None:
    found = parse(argv)
    assert found.paths == paths
    assert found.options == options
    assert found.sources == paths[:-1] and found.destination == paths[-1]


@pytest.mark.parametrize(("argv", "message"), BAD)
def test_bad_option(argv: list[str], message: str) -> None:
    with pytest.raises(BadOption) as caught:
        parse(argv)
    assert caught.value.message == message
    assert caught.value.exit_code == 125


@pytest.mark.parametrize("argv", [[], ["a"], ["-a", "a"], ["--"], ["-"]])
def test_wrong_count(argv: list[str]) -> None:
    with pytest.raises(UsageError, match="'dcp' requires 2 arguments") as caught:
        parse(argv)
    assert caught.value.exit_code == 1


def test_engine_options() -> None:
    assert parse(["-H", "unix:///x", "a", "b"]).host == "unix:///x"
    assert parse(["-aHunix:///x", "a", "b"]).host == "unix:///x"
    assert parse(["-H=unix:///x", "a", "b"]).host == "unix:///x"
    assert parse(["a", "b", "--context", "far"]).context == "far"
    with pytest.raises(UsageError, match="conflicting"):
        parse(["a", "b", "--context", "far", "--host", "x"])


def test_talk_options() -> None:
    assert parse(["a", "b"]).quiet is None
    assert parse(["-q", "a", "b"]).quiet is True
    assert parse(["-q=false", "a", "b"]).quiet is False
    found = parse(["--plan", "--json", "--progress=none", "a", "b"])
    assert (found.plan, found.json, found.progress) == (True, True, "none")
    assert parse(["--help"]).help and parse(["-h"]).help and parse(["--version"]).version


def test_table_and_core_agree() -> None:
    known = {item.name for item in fields(CopyOptions)}
    assert {option.field for option in OPTIONS if option.copying} == known


def test_help() -> None:
    text = help_text()
    assert max(len(line) for line in text.splitlines()) <= 80
    for option in OPTIONS:
        assert f"--{option.name}" in text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1k", 1024),
        ("10M", 10 << 20),
        ("10MiB", 10 << 20),
        ("10MB", 10**7),
        ("1.5K", 1536),
        ("2kb", 2000),
        ("5B", 5),
        ("1G", 1 << 30),
        ("1TB", 10**12),
    ],
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "x", "-5", "10X", "MiB", "B", "iB", "nan", "inf", "1e3", "5iB"]
)
def test_bad_size(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_size(text)


def test_time() -> None:
    assert parse_time("2025-05-31T18:00:00Z") == 1748714400
    assert parse_time("2025-05-31T20:00:00+02:00") == 1748714400
    assert parse_time("@17") == 17
    assert parse_time("2025-05-31") == time.mktime((2025, 5, 31, 0, 0, 0, 0, 0, -1))
    assert abs(time.time() - 2 * 86400 - parse_time("2d")) < 60
    assert abs(time.time() - 5400 - parse_time("1.5h")) < 60


@pytest.mark.parametrize("text", ["", "soon", "d", "@", "@x", "2y", "-2d", "2025-13-01", "²d"])
def test_bad_time(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_time(text)
