"""What `scripts/demo --lab` runs: a JupyterLab with two containers, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Docker
from tests.ui.lab import HOME_SCRIPT, TOKEN, running_lab

NAMES = ("jupyter-lin", "jupyter-wang")
VOLUME = "jupyter-team-data"


@contextmanager
def demo_containers(image: str) -> Iterator[None]:
    """Two containers that share a volume, for as long as the block runs."""
    docker = Docker()
    for name in NAMES:
        label = docker.raw("inspect", "-f", '{{index .Config.Labels "jupyter-volcopy.demo"}}', name)
        if label.returncode == 0:
            if label.stdout.strip() != b"lab":
                raise SystemExit(f"demo: there is a container {name} that is not the demo's")
            docker("rm", "-fv", name)
    mine = ("--label", "jupyter-volcopy.demo=lab", "--network", "none")
    try:
        docker("volume", "create", VOLUME)
        docker("run", "-d", "--init", "--name", NAMES[0], *mine, "-v", f"{VOLUME}:/srv/shared",
               "--tmpfs", "/scratch", image, "sleep", "86400")  # fmt: skip
        docker.sh(
            NAMES[0],
            HOME_SCRIPT.replace("printf 'team", ": 'team").replace("> /srv/team/notes.md", ""),
        )
        docker("create", "--name", NAMES[1], *mine, "-v", f"{VOLUME}:/srv/shared",
               "-v", "/srv/own", image, "sleep", "86400")  # fmt: skip
        yield
    finally:
        docker.raw("rm", "-fv", *NAMES)
        docker.raw("volume", "rm", "-f", VOLUME)


def main() -> None:
    """Run until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    patterns = [*NAMES, VOLUME]
    with (
        tempfile.TemporaryDirectory(prefix="volcopy-lab-") as home,
        demo_containers(sys.argv[1]),
        running_lab(Path(home), names=patterns) as lab,
    ):
        (lab.root / "Dockerfile").write_text("FROM scratch\nVOLUME /data\n")
        print(
            f"\nJupyterLab with two containers: the box in the left rail.\n\n  {lab.url}/lab?token={TOKEN}\n"
        )
        print("Ctrl-C ends it and removes everything it made.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
