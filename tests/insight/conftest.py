"""Images with VOLUME lines, volumes whose names are no names, and our engine beside the command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.docker_engine import DockerEngine
from tests.conftest import PREFIX, Docker


@pytest.fixture
def engine(docker: Docker) -> Iterator[DockerEngine]:
    with open_engine() as opened:
        yield opened


@pytest.fixture
def build_image(
    docker: Docker, image: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], str]]:
    """`build_image(lines) -> name`: an image with a shell and these lines of a Dockerfile."""
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    made: list[str] = []

    def build(lines: str) -> str:
        name = f"{PREFIX}-image-{os.urandom(3).hex()}"
        docker("build", "-q", "-t", name, "-", stdin=f"FROM {image}\n{lines}\n".encode())
        made.append(name)
        return name

    yield build
    for name in reversed(made):
        docker.raw("rmi", "-f", name)


@pytest.fixture
def nameless(docker: Docker) -> Iterator[list[str]]:
    """Volumes that a plain `docker rm` leaves behind: whatever is put in here is removed."""
    names: list[str] = []
    yield names
    for name in names:
        docker.raw("volume", "rm", "-f", name)


@pytest.fixture
def container(nameless: list[str], container: Callable[..., str]) -> Callable[..., str]:
    """The factory of all tests, set up after `nameless`: volumes go once nobody uses them."""
    return container


def volumes_of(docker: Docker, container: str) -> dict[str, str]:
    """Target to volume."""
    mounts = docker.inspect(container)["Mounts"]
    return {m["Destination"]: m["Name"] for m in mounts if m["Type"] == "volume"}


def exists(docker: Docker, volume: str) -> bool:
    return docker.raw("volume", "inspect", volume).returncode == 0
