"""Our engine beside the command, and trees as a container sees them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.model import HELPER_LABEL
from tests.conftest import Docker


@pytest.fixture
def engine(docker: Docker) -> Iterator[DockerEngine]:
    with open_engine() as opened:
        yield opened


def tree(docker: Docker, name: str, *paths: str) -> list[str]:
    """Everything below some paths of a running container, a line each: kind and mode, owner, group,
    name and link text; of files also links, size, time and the sha256 of their contents."""
    script = """for path in "$@"; do
        find "$path" | sort | while IFS= read -r one; do
            if [ -L "$one" ] || [ ! -f "$one" ]; then
                stat -c '%A %u %g %N' "$one"
            else
                echo "$(stat -c '%A %u %g %h %s %Y %N' "$one") $(sha256sum < "$one")"
            fi
        done
    done"""
    return docker("exec", "-u", "0", name, "sh", "-c", script, "sh", *paths).splitlines()


def helpers(docker: Docker, volume: str) -> list[str]:
    """Helper containers of ours that mount a volume."""
    return docker(
        "ps", "-aq", "--filter", f"label={HELPER_LABEL}", "--filter", f"volume={volume}"
    ).split()


FILL = r"""
set -e
mkdir -p "$1/w/sub" "$1/w/empty"; cd "$1/w"
echo data > f; chmod 640 f; ln f sub/hard; ln -s ../../../../far away; ln -s f near
head -c 300000 /dev/urandom > big; : > zero; echo odd > 'odd name "quoted"'
touch -d '2001-02-03 04:05:06' f big; chown -R 1000:50 .; chown -h 1000:50 away near
chown 7:8 zero; chmod 2770 sub; chmod 1777 "$1/w"; touch -d '2002-02-02 02:02:02' sub empty .
"""
"""A tree with owners, modes, times and links of every kind; `$1` is where."""
