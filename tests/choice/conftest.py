"""What the tests of options share: every state a container can be in, filled from a local tree."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.discovery import open_engine
from tests.conftest import Docker

STATES = ("created", "running", "paused", "stopped", "no program")


@pytest.fixture
def copier(docker: Docker) -> Iterator[Copier]:
    engine = open_engine()
    yield Copier(engine)
    engine.close()


@pytest.fixture(params=STATES)
def any_state(
    request: pytest.FixtureRequest, container: Callable[..., str], empty_image: str
) -> str:
    """A container in each of the states; the last is of an image without any program."""
    if request.param == "no program":
        return container("created", image=empty_image, command=("/none",))
    return container(request.param)


@pytest.fixture(params=("running", "no program"))
def some_state(
    request: pytest.FixtureRequest, container: Callable[..., str], empty_image: str
) -> str:
    """A container where programs list, and one where only the archive tells."""
    if request.param == "no program":
        return container("created", image=empty_image, command=("/none",))
    return container(request.param)


def make(root: Path, files: dict[str, str | bytes | None]) -> Path:
    """A local tree: text of files, None for directories, `-> target` for links."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, str) and content.startswith("-> "):
            path.symlink_to(content[3:])
        elif isinstance(content, str):
            path.write_text(content)
        else:
            path.write_bytes(content)
        if not path.is_symlink():
            os.utime(path, (1_600_000_000, 1_600_000_000))
    return root


def fill(docker: Docker, name: str, root: Path) -> None:
    """The content of a local directory into the container's root, in any state."""
    docker("cp", f"{root}/.", f"{name}:/")


def members(docker: Docker, name: str, path: str) -> dict[str, tarfile.TarInfo]:
    """What stands below a path of a container, in any state, as the engine's archive says."""
    data = docker.bytes("cp", f"{name}:{path}", "-")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {item.name.rstrip("/"): item for item in archive}


def texts(docker: Docker, name: str, path: str) -> dict[str, str]:
    """The files below a path of a container and what they hold; of links `-> target`."""
    data = docker.bytes("cp", f"{name}:{path}", "-")
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for item in archive:
            if item.isfile() or item.islnk():
                file = archive.extractfile(item)
                assert file is not None
                found[item.name] = file.read().decode()
            elif item.issym():
                found[item.name] = f"-> {item.linkname}"
    return found


def local_texts(root: Path) -> dict[str, str]:
    """The files below a local directory and what they hold; of links `-> target`."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_text()
    return found
