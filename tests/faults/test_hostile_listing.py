"""The hostile corpus through `volcopy ls`: an answer in time, nothing written, nothing unescaped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import make_hostile
from tests.faults.conftest import run_as
from tests.faults.double import EngineDouble
from tests.faults.test_hostile import CASES, SLACK_SECONDS, serve


# A listing reads to the end; the endless ones have none, and are left to the budget of the web doors.
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case["stream"]])
def test_corpus_listed(name: str, double: EngineDouble, sandbox: Path) -> None:
    """`volcopy ls` of the same archives: an answer in time, nothing written, no raw control characters."""
    case = CASES[name]
    dest = make_hostile.prepare(sandbox, {**case, "pre": {}})
    run = run_as(
        "volcopy",
        "ls",
        serve(double, name),
        cwd=dest,
        env=double.env,
        timeout=case["seconds"] + SLACK_SECONDS,
    )
    assert "Traceback" not in run.said and run.code >= 0, run.said
    assert not set(run.said) & set("\x1b\x07\x00\r\u202e"), "raw control characters"
    assert os.listdir(dest) == [] and sorted(os.listdir(sandbox)) == ["canary", "dest"]
    if case["outcome"] == "extract" and not case["also_ok"] and case["kind"] == "dir":
        assert run.code == 0, run.said
