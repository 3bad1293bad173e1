"""The archive of a path made by `tar` in the running container, as a given user.

For two needs the engine's own archive cannot serve: with the rights of a user (the engine always
acts as root), and as a process in the container sees its files (tmpfs, mounts made inside). `tar`
is started with a fixed argument list, in the parent directory, so that the first component is the
base name, the shape of the engine's archives; a path is never an option. That `tar` is the
container's own and may lie: its output is treated like every archive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_volcopy.core.docker_engine import DockerArchive
from jupyter_volcopy.core.execute import Program, program_error
from jupyter_volcopy.core.listing import stat_by_program
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.paths import base_name, clean, parent
from jupyter_volcopy.errors import EngineError, NotADirectory, SourceChanged

if TYPE_CHECKING:
    from jupyter_volcopy.core.docker_engine import DockerEngine
    from jupyter_volcopy.core.model import Stat

__all__ = ["ProgramArchive", "open_by_program"]


class ProgramArchive(DockerArchive):
    """An archive coming from `tar` in a container.

    Args:
        program: the `tar` that was started; closing the archive ends it.
        stat: of the path asked for, as the user sees it, or None where no program can tell.
        path: for messages.
    """

    def __init__(self, program: Program, stat: Stat | None, path: str) -> None:
        super().__init__(program, program, stat)
        self._program = program
        self._path = path

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of `buffer`; 0 at the end, once `tar` has ended well.

        Raises:
            CutStream, EngineStalled, EngineError: the stream broke, or `tar` failed.
            AccessDenied: the user may not read something.
            SourceChanged: a file changed while it was read.
        """
        count = super().readinto(buffer)
        if not count:
            self._judge()
        return count

    def _judge(self) -> None:
        code = self._program.exit_code()
        if not code:
            return
        said = self._program.errors()
        if code == 1 and ("changed as we read it" in said or "removed before we read it" in said):
            raise SourceChanged(said, hint="copy again when nobody writes there", path=self._path)
        raise program_error(code, said, f"reading {self._path}")


def open_by_program(engine: DockerEngine, container: str, path: str, user: str) -> ProgramArchive:
    """The archive of `path`; see `Engine.open_archive` with `user` or `live`.

    Raises:
        Conflict: the container is not running.
        NoSuchPath, NotADirectory, AccessDenied: as the user sees it.
        EngineError: there is no `tar` in the container, or the name cannot be given to it.
    """
    cleaned = clean(path)
    contents = path.endswith("/.") or cleaned == "/"
    through = contents or path.endswith("/")
    stat: Stat | None = None
    try:
        stat = stat_by_program(engine, container, cleaned, user)
    except EngineError:
        engine.execute(container, ["true"], user=user)  # not running is said at once
    if through and stat is not None:
        real = stat
        if stat.kind is Kind.SYMLINK:
            real = stat_by_program(engine, container, stat.link_target, user)
            if not contents:
                cleaned = stat.link_target
        if real.kind is not Kind.DIRECTORY:
            raise NotADirectory(f"{path} is not a directory", container=container, path=path)
    argv = ["tar", "-c", "-f", "-"]
    if cleaned == "/":  # the kernel's own trees are no files to anybody
        argv += ["--exclude=./proc", "--exclude=./sys"]
    if contents:
        argv += ["-C", cleaned, "--", "."]
    else:
        argv += ["-C", parent(cleaned), "--", base_name(cleaned)]
    program = engine.start_program(container, argv, user=user)
    return ProgramArchive(program, stat, path)
