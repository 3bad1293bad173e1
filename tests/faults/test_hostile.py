"""Archives a hostile container can send (safety S1 to S11, F3), each through the real `dcp`.

The engine double serves an archive of the corpus; `make_hostile.faults` judges what came of it: what
lies at the destination, what lies outside it, what was said, how long it took and how much memory.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from tests.faults import make_hostile
from tests.faults.conftest import NOBODY, run_as
from tests.faults.double import EngineDouble, go_mode

CASES = make_hostile.CASES
# Without `--safe` a person's own tool lands set-id bits and devices, as docker cp does (with a warning).
PLAIN = [name for name, case in CASES.items() if case["requirement"] != "S8"]
AS_NOBODY = [
    name
    for name, case in CASES.items()
    if case["requirement"] in ("S3", "S4", "S5", "S7", "S8")
    or name in ("dest_merge", "deep_100", "odd_names")
]
# What an ordinary start takes: machines differ, so the growth is counted from there.
SLACK_SECONDS = 60


def serve(double: EngineDouble, name: str) -> str:
    """Let the double send the case's archive; returns the path to copy."""
    case = CASES[name]
    source = "/home/7/src/." if case["root"] == "." else f"/home/7/{case['root']}"
    double.mkdir("/home/7/src" if case["root"] == "." else "/home/7")
    double.archives[source] = (
        (lambda: make_hostile.stream(name)) if case["stream"] else case["_data"]
    )
    target = {"linkTarget": "/home/canary"} if case["kind"] == "link" else {}
    mode = {"dir": 0o755, "file": 0o644, "link": 0o777}[case["kind"]]
    double.stats[source] = {"mode": go_mode(case["kind"], mode), **target}
    return f"{double.name}:{source}"


def limits(name: str) -> list[str]:
    """The case's limits as options."""
    given = CASES[name].get("limits", {})
    return list(
        itertools.chain.from_iterable(
            (f"--{key.replace('_', '-')}", str(value)) for key, value in given.items()
        )
    )


@pytest.fixture(scope="module")
def ordinary() -> float:
    """Peak memory (MiB) of a copy of one small file."""
    import tempfile

    with EngineDouble() as engine, tempfile.TemporaryDirectory() as place:
        engine.put("/home/7/a", b"small")
        run = run_as(
            "dcp",
            f"{engine.name}:/home/7/a",
            ".",
            cwd=Path(place),
            env=engine.env,
            timeout=120,
            measured=True,
        )
        assert run.code == 0, run.said
        return run.peak


def judge(
    name: str,
    double: EngineDouble,
    sandbox: Path,
    ordinary: float,
    *options: str,
    nobody: bool = False,
) -> None:
    case = CASES[name]
    dest = make_hostile.prepare(sandbox, case)
    if nobody:
        for where, directories, files in os.walk(sandbox):
            for item in (where, *(os.path.join(where, n) for n in (*directories, *files))):
                os.chown(item, NOBODY, NOBODY, follow_symlinks=False)
    source = serve(double, name)
    run = run_as(
        "dcp",
        *options,
        *limits(name),
        source,
        ".",
        cwd=dest,
        env=double.env
        if not nobody
        else {**double.env, "HOME": "/", "XDG_STATE_HOME": "/nonexistent"},
        timeout=case["seconds"] + SLACK_SECONDS,
        nobody=nobody,
        measured="memory_mb" in case,
    )
    wrong = make_hostile.faults(sandbox, case, run.code != 0, run.said)
    if run.code < 0 or "Traceback" in run.said:
        wrong.append("it crashed")
    if case.get("memory_mb") and run.peak - ordinary > case["memory_mb"]:
        wrong.append(f"memory grew by {run.peak - ordinary:.0f} MiB")
    assert not wrong, (
        f"{case['why']} ({case['requirement']}): {wrong}\nexit {run.code}: {run.said[-1500:]}"
    )


@pytest.mark.parametrize("name", CASES)
def test_corpus_safe(name: str, double: EngineDouble, sandbox: Path, ordinary: float) -> None:
    """With `--safe`, the whole corpus."""
    judge(name, double, sandbox, ordinary, "--safe")


@pytest.mark.parametrize("name", PLAIN)
def test_corpus_plain(name: str, double: EngineDouble, sandbox: Path, ordinary: float) -> None:
    """Without it, all about names, links, shape, limits and cut streams."""
    judge(name, double, sandbox, ordinary)


@pytest.mark.parametrize("name", AS_NOBODY)
def test_corpus_as_nobody(name: str, double: EngineDouble, sandbox: Path, ordinary: float) -> None:
    """As a user without any power."""
    if os.geteuid():
        pytest.skip("only root can become nobody")
    judge(name, double, sandbox, ordinary, "--safe", nobody=True)
