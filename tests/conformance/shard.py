"""Runs one share of the conformance cases with the `dcp` of this environment.

The shares are test files of their own so that the suite runs them side by side.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.conftest import PREFIX, ROOT, command_line

SHARES = 3


def assert_equal(share: int, busybox: str, access: str, *, random: int = 0, seed: str = "") -> None:
    """Every case of the share gives what `docker cp` gives; else the failure lists those that differ.

    Args:
        share: 1 to `SHARES`.
        busybox: path of a static one.
        access: for `--access`.
        random: how many random cases of `seed` there are instead of the table's.
    """
    drawn = ["--random", str(random), "--seed", seed] if random else []
    env = {
        **os.environ,
        "BUSYBOX": busybox,
        "CANDIDATE": shlex.join([*command_line("dcp"), "--access", access]),
        "CONFORMANCE_TAG": f"{PREFIX}-conf{share}{seed}-{access}",
        "PYTHONPATH": str(ROOT),
    }
    # The harness must not stand in for our own modules: it runs in a directory of its own.
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("conformance.py")),
            *("--shard", f"{share}/{SHARES}", "--jobs", "2", *drawn),
        ],
        env=env,
        capture_output=True,
        timeout=540,
        check=False,
    )
    said = done.stdout.decode("utf-8", "backslashreplace")
    counted = re.search(r"^(\d+)/(\d+) cases equal$", said, re.MULTILINE)
    problems = "\n".join(line for line in said.splitlines() if line.startswith("DIFFERS"))
    assert counted and counted[1] == counted[2] and not done.returncode, (
        f"exit {done.returncode}, {counted[0] if counted else 'no count'}\n{problems}\n"
        + done.stderr.decode("utf-8", "backslashreplace")[-3000:]
    )
    least = random // SHARES or 80
    if random and os.environ.get("CONFORMANCE_WITHOUT"):
        least //= 2  # of every state of a container there are as many
    assert int(counted[2]) >= least, "a share of the table is missing"
